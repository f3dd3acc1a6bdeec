"""From the path of a sample to the pixels of every stream, or a reason why not; runs in worker threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.errors import ImageError
from featcache.extract.requests import Request
from featcache.hashing import digest_bytes
from featcache.images import decode

AHEAD = 2
"""Batches that are decoded while the backbone works on one."""


@dataclass(frozen=True)
class Loaded:
    """One sample after loading.

    Parameters
    ----------
    sample_id, path : str
    pixels : dict of str to ndarray of shape (size, size, 3), uint8
        By stream; empty where the file cannot be used.
    padded : set of str
        Streams for which the image was padded with black.
    reason : str
        Why there are no pixels.
    lasting : bool
        Whether the reason lies in the bytes, so that it will hold for ever, or in the disk.
    """

    sample_id: str
    path: str
    pixels: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    padded: set[str] = field(default_factory=set)
    reason: str = ""
    lasting: bool = False


def load(sample: tuple[str, str], streams: Sequence[Request]) -> Loaded:
    """Read, check and decode one sample, once, and make its pixels for every stream.

    Parameters
    ----------
    sample : (str, str)
        Sample id and path.
    streams : sequence of Request
        One request of each stream.
    """
    name, path = sample
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        return Loaded(name, path, reason=f"cannot be read: {error.strerror or error}")
    if digest_bytes(data) != name:
        return Loaded(name, path, reason="the file changed while featcache was at work; run again")
    loaded = Loaded(name, path)
    try:
        image = decode(data)
    except ImageError as error:
        return Loaded(name, path, reason=str(error), lasting=True)
    for request in streams:
        loaded.pixels[request.stream], padded = request.prepare(image, name)
        if padded:
            loaded.padded.add(request.stream)
    return loaded


def load_batches(
    batches: Iterable[tuple[tuple[str, str], ...]],
    streams: Sequence[Request],
    pool: ThreadPoolExecutor,
) -> Iterator[list[Loaded]]:
    """Yield loaded batches in order, a few of them decoded ahead."""
    waiting: deque[list[Future[Loaded]]] = deque()
    for batch in batches:
        waiting.append([pool.submit(load, sample, streams) for sample in batch])
        if len(waiting) > AHEAD:
            yield _wait(waiting.popleft())
    while waiting:
        yield _wait(waiting.popleft())


def _wait(futures: list[Future[Loaded]]) -> list[Loaded]:
    return [future.result() for future in futures]
