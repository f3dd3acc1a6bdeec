"""Batches of training and validation images; their order and content depend on seed and epoch
alone.

Which samples train, which choose the epoch and which test; photographs are never divided.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache.backbones import Preprocessing
from featcache.datasets import Manifest, Sample, expand, read_bytes
from featcache.errors import DataError, ImageError
from featcache.evaluate.data import source_of, training_set
from featcache.files import digest_bytes, digest_json
from featcache.images import decode
from featcache.views import View, parse_views


@dataclass(frozen=True)
class Splits:
    """The samples of one run.

    Parameters
    ----------
    train, val : tuple of Sample
        Both from the training split; no photograph is in both.
    test : tuple of Sample
    """

    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @property
    def manifest(self) -> Manifest:
        """All samples, those held out marked as validation data: what both heads are evaluated
        on.
        """
        held_out = (replace(sample, split="val") for sample in self.val)
        return Manifest((*self.train, *held_out, *self.test))

    @property
    def digest(self) -> str:
        """Digest of the training and validation samples with their labels and photographs."""
        rows = [
            [(s.sample_id, s.label, source_of(s)) for s in part] for part in (self.train, self.val)
        ]
        return digest_json(rows)


def split_manifest(manifest: Manifest, generators: list[str], fraction: float, seed: int) -> Splits:
    """Return the parts of a manifest.

    Parameters
    ----------
    manifest : Manifest
        Without files that cannot be used.
    generators : list of str
        Generators to train on; empty means all.
    fraction : float
        Share of the training photographs that is held out, at least one of each role.
    seed : int

    Returns
    -------
    Splits
        The parts of a manifest.

    Raises
    ------
    DataError
        If a part would lack a class.
    """
    # By content, so that neither folds nor batches depend on the order of the files.
    rows = sorted(training_set(manifest, generators).samples, key=lambda s: s.sample_id)
    held_out = _held_out(rows, fraction, seed)
    tested = expand(manifest.subset(manifest.is_text("split", "test")))
    train = tuple(sample for sample in rows if source_of(sample) not in held_out)
    val = tuple(sample for sample in rows if source_of(sample) in held_out)
    for part, name in ((train, "train on"), (val, "choose the epoch by")):
        if len({sample.label for sample in part}) < 2:
            raise DataError(
                f"After holding out photographs there are not both reals and fakes to {name}: "
                f"the training split has {len(rows)} images of {len({*map(source_of, rows)})} "
                "photographs. Add training images."
            )
    return Splits(train, val, tested.samples)


def _held_out(rows: Sequence[Sample], fraction: float, seed: int) -> set[str]:
    """Return the photographs to hold out: in each role, those whose digests come first."""
    roles: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for sample in rows:
        roles[source_of(sample)].add((sample.paired_with, sample.label))
    strata: dict[tuple[tuple[str, int], ...], list[str]] = defaultdict(list)
    for name, played in roles.items():
        strata[tuple(sorted(played))].append(name)
    held_out: set[str] = set()
    for names in strata.values():
        names.sort(key=lambda name: digest_bytes(f"{seed}/{name}".encode("utf-8", "replace")))
        if len(names) > 1:
            held_out.update(names[: max(1, round(fraction * len(names)))])
    return held_out


AHEAD = 2
"""Batches that are decoded while the network works on one."""


@dataclass(frozen=True)
class TuningBatch:
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
    """Return what is done to the training images in an epoch: its own draw of the augmentation.

    Parameters
    ----------
    augment : str
        Augmentation of the training images.
    epoch : int
        Epoch, from 0.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    View
        What is done to the training images in an epoch.
    """
    name = augment if augment == "clean" else f"{augment}#{epoch}"
    return parse_views(name, seed=seed)[0]


def shuffled(samples: Sequence[Sample], epoch: int, seed: int) -> list[Sample]:
    """Return the samples in the order of an epoch.

    Parameters
    ----------
    samples : Sequence[Sample]
        Samples, in the order of the rows.
    epoch : int
        Epoch, from 0.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    list[Sample]
        The samples in the order of an epoch.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(samples))
    return [samples[position] for position in order]


def load_batches(
    samples: Sequence[Sample],
    view: View,
    preprocessing: Preprocessing,
    size: int,
    pool: ThreadPoolExecutor,
) -> Iterator[TuningBatch]:
    """Yield the samples in order, ``size`` at a time, a few batches decoded ahead.

    Parameters
    ----------
    samples : Sequence[Sample]
        Samples, in the order of the rows.
    view : View
        View whose features are used.
    preprocessing : Preprocessing
        Preprocessing of the backbone.
    size : int
        Side of the input in pixels.
    pool : ThreadPoolExecutor
        Threads that load images.

    Yields
    ------
    TuningBatch
        The samples in order, ``size`` at a time, a few batches decoded ahead.

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
    """Return the pixels (size, size, 3) of one sample, as extraction makes them.

    Parameters
    ----------
    sample : Sample
        Sample.
    view : View
        View whose features are used.
    preprocessing : Preprocessing
        Preprocessing of the backbone.

    Returns
    -------
    ndarray of uint8
        Pixels of shape (size, size, 3).

    Raises
    ------
    DataError
        If the file cannot be read or decoded.
    """
    try:
        data = read_bytes(sample.path)
    except OSError as error:
        raise _refusal(sample, f"cannot be read: {error.strerror or error}") from error
    if digest_bytes(data) != sample.sample_id:
        raise _refusal(sample, "changed since it was scanned")
    try:
        image = preprocessing.orient(decode(data))
        return preprocessing(view(image, sample.sample_id))
    except ImageError as error:
        raise _refusal(sample, str(error)) from error


def _wait(rows: Sequence[Sample], futures: list[Future[NDArray[np.uint8]]]) -> TuningBatch:
    labels = np.array([row.label for row in rows], np.float32)
    return TuningBatch(np.stack([future.result() for future in futures]), labels)


def _refusal(sample: Sample, why: str) -> DataError:
    return DataError(
        f"{sample.path!r}: {why}. Repair or remove the file and run the same command again; "
        "it goes on after the last finished epoch."
    )
