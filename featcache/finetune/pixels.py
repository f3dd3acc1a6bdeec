"""Batches of training and validation images; their order and content depend on seed and epoch alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.backbones import Preprocessing
from featcache.datasets import Sample, read_bytes
from featcache.errors import DataError, ImageError
from featcache.hashing import digest_bytes
from featcache.images import decode
from featcache.views import View, parse_views

AHEAD = 2
"""Batches that are decoded while the network works on one."""


@dataclass(frozen=True)
class Batch:
    """Some images with their labels.

    Parameters
    ----------
    pixels : ndarray of shape (N, size, size, 3), uint8
    labels : ndarray of shape (N,), float32
        0 real, 1 fake.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.float32]


def view_of(augment: str, epoch: int, seed: int) -> View:
    """Return what is done to the training images in an epoch: its own draw of the augmentation."""
    name = augment if augment == "clean" else f"{augment}#{epoch}"
    return parse_views(name, seed=seed)[0]


def shuffled(samples: Sequence[Sample], epoch: int, seed: int) -> list[Sample]:
    """Return the samples in the order of an epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(len(samples))
    return [samples[position] for position in order]


def load_batches(
    samples: Sequence[Sample],
    view: View,
    preprocessing: Preprocessing,
    size: int,
    pool: ThreadPoolExecutor,
) -> Iterator[Batch]:
    """Yield the samples in order, ``size`` at a time, a few batches decoded ahead.

    Raises
    ------
    DataError
        If a file cannot be used: training does not go on without it in silence.
    """
    waiting: deque[tuple[Sequence[Sample], list[Future[NDArray[np.uint8]]]]] = deque()
    try:
        for start in range(0, len(samples), size):
            rows = samples[start : start + size]
            waiting.append((rows, [pool.submit(load, row, view, preprocessing) for row in rows]))
            if len(waiting) > AHEAD:
                yield _wait(*waiting.popleft())
        while waiting:
            yield _wait(*waiting.popleft())
    finally:
        for _, futures in waiting:
            for future in futures:
                future.cancel()


def load(sample: Sample, view: View, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return the pixels (size, size, 3) of one sample, as extraction makes them."""
    try:
        data = read_bytes(sample.path)
    except OSError as error:
        raise _refusal(sample, f"cannot be read: {error.strerror or error}") from error
    if digest_bytes(data) != sample.sample_id:
        raise _refusal(sample, "changed since it was scanned")
    try:
        return preprocessing(view(decode(data), sample.sample_id))
    except ImageError as error:
        raise _refusal(sample, str(error)) from error


def _wait(rows: Sequence[Sample], futures: list[Future[NDArray[np.uint8]]]) -> Batch:
    labels = np.array([row.label for row in rows], np.float32)
    return Batch(np.stack([future.result() for future in futures]), labels)


def _refusal(sample: Sample, why: str) -> DataError:
    return DataError(
        f"{sample.path!r}: {why}. Mend or remove the file and run the same command again; "
        "it goes on after the last finished epoch."
    )
