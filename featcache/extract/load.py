"""From the path of a sample to the pixels of a backbone, or a reason why not; runs in worker threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.backbones import Preprocessing
from featcache.errors import ImageError
from featcache.hashing import digest_bytes
from featcache.images import decode

AHEAD = 2
"""Batches that are decoded while the backbone works on one."""


@dataclass(frozen=True)
class Loaded:
    """One sample after loading: pixels (size, size, 3) uint8, or the reason why there are none.

    ``lasting`` says whether the reason lies in the bytes, so that it will hold for ever, or in the disk.
    """

    sample_id: str
    path: str
    pixels: NDArray[np.uint8] | None = None
    reason: str = ""
    lasting: bool = False
    padded: bool = False


def load(sample: tuple[str, str], preprocessing: Preprocessing) -> Loaded:
    """Read, check, decode and preprocess one sample."""
    name, path = sample
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        return Loaded(name, path, reason=f"cannot be read: {error.strerror or error}")
    if digest_bytes(data) != name:
        return Loaded(name, path, reason="the file changed while featcache was at work; run again")
    try:
        image = decode(data)
    except ImageError as error:
        return Loaded(name, path, reason=str(error), lasting=True)
    return Loaded(name, path, preprocessing(image), padded=preprocessing.pads(*image.size))


def load_batches(
    batches: Iterable[tuple[tuple[str, str], ...]],
    preprocessing: Preprocessing,
    pool: ThreadPoolExecutor,
) -> Iterator[list[Loaded]]:
    """Yield loaded batches in order, a few of them decoded ahead."""
    waiting: deque[list[Future[Loaded]]] = deque()
    for batch in batches:
        waiting.append([pool.submit(load, sample, preprocessing) for sample in batch])
        if len(waiting) > AHEAD:
            yield _wait(waiting.popleft())
    while waiting:
        yield _wait(waiting.popleft())


def _wait(futures: list[Future[Any]]) -> list[Loaded]:
    return [future.result() for future in futures]
