"""Which samples a probe is fitted and tested on, and their features joined by sample id.

Features of samples as the solver reads them: joined by id, in memory or in chunks from the store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.backbones.names import canonical_name, parse_name
from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest, Sample
from featcache.datasets.families import CONTROL
from featcache.errors import DataError, MissingFeaturesError, SettingsError, unknown_name
from featcache.evaluate.options import ProbeOptions
from featcache.probes.base import BOTH, lacks_class
from featcache.probes.solver import Arrays, Source
from featcache.probes.solver.problem import Chunk
from featcache.results import TrainResult


def find_keys(store: FeatureStore, options: ProbeOptions, view: str = "clean") -> list[FeatureKey]:
    """Return the one key of each feature that was named, seen through a view.

    Parameters
    ----------
    store : FeatureStore
        Feature store.
    options : ProbeOptions
        Settings; their own documentation names every field.
    view : str
        View whose features are used.

    Returns
    -------
    list[FeatureKey]
        The one key of each feature that was named, seen through a view.

    Raises
    ------
    SettingsError
        If a setting or a flag is not valid.
    """
    if not options.features:
        raise SettingsError("No feature was named. Say which: featcache probe --features NAME")
    names = [canonical_name(name) for name in options.features]
    if len(set(names)) < len(names):
        raise SettingsError(f"A feature is named twice: {', '.join(options.features)}.")
    return [
        store.find(name, **{**options.wanted, "view": view, "weights": _weights(name, options)})
        for name in names
    ]


def _weights(name: str, options: ProbeOptions) -> str | None:
    """Return the weights that a feature must come from; None means any."""
    parsed = parse_name(name)
    if parsed.seed is not None:  # its name says its weights
        return None
    return options.weights.get(parsed.base) or options.wanted.get("weights")


def usable(
    manifest: Manifest, store: FeatureStore, keys: Collection[FeatureKey], notes: list[str]
) -> list[Sample]:
    """Return the samples that no feature rejects; the others become a note.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.
    store : FeatureStore
        Feature store.
    keys : Collection[FeatureKey]
        Feature keys, one for each feature.
    notes : list[str]
        Notes of the result; the function may append to them.

    Returns
    -------
    list[Sample]
        The samples that no feature rejects.
    """
    rejected = {name for key in keys for name in store.rejects(key)}
    samples = [sample for sample in manifest.usable() if sample.sample_id not in rejected]
    notes += [
        f"{key.name!r} comes from a network with random weights: a test, not a finding."
        for key in keys
        if str(key.fields["weights"]).startswith("random:")
    ]
    conflicts = manifest.conflicts()
    if n_both := len({sample.sample_id for sample in conflicts}):
        notes.append(
            f"{n_both:,} images are real in one place and fake in another ({conflicts[0].path!r} "
            f"and {conflicts[1].path!r}); they are left out of training and testing."
        )
    if n_bad := len(manifest) - len(samples) - len(conflicts):
        notes.append(
            f"{n_bad:,} files gave no feature and are left out ('featcache extract' lists them)."
        )
    return samples


def select_samples(
    manifest: Manifest, store: FeatureStore, keys: list[FeatureKey], options: ProbeOptions
) -> tuple[list[Sample], list[str]]:
    """Return the samples that have every feature, and notes about those that were left out.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.
    store : FeatureStore
        Feature store.
    keys : list[FeatureKey]
        Feature keys, one for each feature.
    options : ProbeOptions
        Settings; their own documentation names every field.

    Returns
    -------
    tuple[list[Sample], list[str]]
        The samples that have every feature, and notes about those that were left out.
    """
    notes: list[str] = []
    samples = usable(manifest, store, keys, notes)
    return complete(samples, store, keys, notes, options.intersection), notes


def load_features(
    store: FeatureStore, keys: list[FeatureKey], samples: Sequence[Sample]
) -> NDArray[np.float32]:
    """Return the features of samples side by side, joined by sample id.

    Parameters
    ----------
    store : FeatureStore
        Feature store.
    keys : list[FeatureKey]
        Feature keys, one for each feature.
    samples : Sequence[Sample]
        Samples, in the order of the rows.

    Returns
    -------
    ndarray of float32
        The features of samples side by side, joined by sample id.
    """
    return np.asarray(store.read(keys, [sample.sample_id for sample in samples]))


def complete(
    samples: list[Sample],
    store: FeatureStore,
    keys: Iterable[FeatureKey],
    notes: list[str],
    intersection: bool,
) -> list[Sample]:
    """Return the samples that have every feature.

    Parameters
    ----------
    samples : list[Sample]
        Samples, in the order of the rows.
    store : FeatureStore
        Feature store.
    keys : Iterable[FeatureKey]
        Feature keys, one for each feature.
    notes : list[str]
        Notes of the result; the function may append to them.
    intersection : bool
        Whether samples that lack a feature are left out.

    Returns
    -------
    list[Sample]
        The samples that have every feature.

    Raises
    ------
    MissingFeaturesError
        If one lacks a feature, unless ``intersection`` leaves it out with a note.
    """
    for key in keys:
        have = store.samples(key)
        lacking = [sample for sample in samples if sample.sample_id not in have]
        if lacking and not intersection:
            n_all = len(samples)
            view = key.fields["view"].get("name", "clean")
            option = "" if view == "clean" else f" --view {view}"
            raise MissingFeaturesError(
                f"{len(lacking):,} of {n_all:,} samples have no feature {key.name!r} "
                f"(first: {lacking[0].path!r}). "
                f"Run 'featcache extract --backbone {key.name}{option}' on the same data, "
                "or leave these samples out with --intersection."
            )
        if lacking:
            notes.append(f"{len(lacking):,} samples without {key.name!r} are left out.")
            samples = [sample for sample in samples if sample.sample_id in have]
    return samples


def training_set(
    samples: list[Sample], generators: list[str], classes: Collection[int] = BOTH
) -> list[Sample]:
    """Return the training samples of the wanted generators, each content once; see
    :func:`training_rows`.

    Parameters
    ----------
    samples : list[Sample]
        Samples, in the order of the rows.
    generators : list[str]
        Names of generators; empty for all.
    classes : Collection[int]
        Labels that the head needs.

    Returns
    -------
    list[Sample]
        The training samples of the wanted generators, each content once.
    """
    return unique_samples(training_rows(samples, generators, classes))


def unique_samples(samples: list[Sample]) -> list[Sample]:
    """Return the samples, the first of each content.

    Parameters
    ----------
    samples : list[Sample]
        Samples, in the order of the rows.

    Returns
    -------
    list[Sample]
        The samples, the first of each content.
    """
    return list({sample.sample_id: sample for sample in reversed(samples)}.values())[::-1]


def paired_generators(rows: list[Sample]) -> dict[str, list[str]]:
    """Return for each content the generators that it serves: reals may serve several.

    Parameters
    ----------
    rows : list[Sample]
        Rows, in order.

    Returns
    -------
    dict[str, list[str]]
        For each content the generators that it serves.
    """
    paired: dict[str, set[str]] = defaultdict(set)
    for sample in rows:
        paired[sample.sample_id].add(sample.paired_with)
    return {sample_id: sorted(names) for sample_id, names in paired.items()}


def training_rows(
    samples: list[Sample], generators: list[str], classes: Collection[int] = BOTH
) -> list[Sample]:
    """Return the training samples of the wanted generators, a row for each that one serves.

    Parameters
    ----------
    samples : list[Sample]
        Samples, in the order of the rows.
    generators : list[str]
        Names of generators; empty for all.
    classes : Collection[int]
        Labels that the head needs.

    Returns
    -------
    list[Sample]
        The training samples of the wanted generators, a row for each that one serves.

    Raises
    ------
    DataError
        If one of ``classes`` is not among them.
    """
    rows = [sample for sample in samples if sample.split == "train" and sample.family != CONTROL]
    if not rows:
        raise DataError(
            "There are no training samples: no image lies under a folder named train. "
            "Add one, e.g. <root>/train/<generator>/{0_real,1_fake}."
        )
    known = sorted({sample.paired_with for sample in rows})
    for name in generators:
        if name not in known:
            raise unknown_name("generator with training samples", name, known)
    chosen = [sample for sample in rows if sample.paired_with in (generators or known)]
    if missing := set(classes) - {sample.label for sample in chosen}:
        raise lacks_class(missing)
    return chosen


def test_sets(samples: list[Sample], notes: list[str]) -> dict[str, list[Sample]]:
    """Return the test samples of every generator that has both classes, sorted by name.

    Parameters
    ----------
    samples : list[Sample]
        Samples, in the order of the rows.
    notes : list[str]
        Notes of the result; the function may append to them.

    Returns
    -------
    dict[str, list[Sample]]
        The test samples of every generator that has both classes, sorted by name.

    Raises
    ------
    DataError
        If the data are not as expected; the message names the file or the samples.
    """
    sets: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.split == "test":
            sets[sample.paired_with].append(sample)
    complete = {}
    for name in sorted(sets):
        classes = {sample.label for sample in sets[name]}
        if classes == {0, 1}:
            complete[name] = sets[name]
        else:
            lacks = "fakes" if classes == {0} else "reals"
            notes.append(f"{name!r} has no {lacks} to test on and is left out.")
    if not complete:
        why = " ".join(notes) or "No image lies under a folder named test."
        raise DataError(f"There is no test set with reals and fakes. {why}")
    return complete


def labels(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Return the labels of samples: 0 real, 1 fake.

    Parameters
    ----------
    samples : Sequence[Sample]
        Samples, in the order of the rows.

    Returns
    -------
    ndarray of int64
        The labels of samples.
    """
    return np.array([sample.label for sample in samples], dtype=np.int64)


def source_of(sample: Sample) -> str:
    """Return the unit of independence; names captured from paths hold within their dataset only.

    Parameters
    ----------
    sample : Sample
        Sample.

    Returns
    -------
    str
        The unit of independence.
    """
    if sample.source == sample.sample_id:
        return sample.source
    return f"{sample.dataset}/{sample.source}"


def validation_leaks(
    train: list[Sample], val: list[Sample], test: list[Sample]
) -> tuple[list[str], bool]:
    """Return notes on validation samples that are also training or test samples.

    Parameters
    ----------
    train : list of Sample
        Training samples.
    val : list of Sample
        Validation samples.
    test : list of Sample
        Test samples.

    Returns
    -------
    (list of str, bool)
        Notes, and whether nothing may be chosen on these validation samples.
    """
    notes = []
    for name, others in (("test", test), ("training", train)):
        contents = {s.sample_id for s in val} & {s.sample_id for s in others}
        sources = {source_of(s) for s in val} & {source_of(s) for s in others}
        if contents:
            notes.append(f"Leak: {len(contents):,} validation images are also {name} images.")
        elif sources:
            notes.append(
                f"Leak: {len(sources):,} photographs are in the validation and the {name} set."
            )
    return notes, bool(notes)


def leak_notes(train: list[Sample], test: list[Sample]) -> list[str]:
    """Return notes on test samples that are not independent of the training samples.

    Parameters
    ----------
    train : list[Sample]
        Training samples.
    test : list[Sample]
        Test samples.

    Returns
    -------
    list[str]
    """
    contents = {sample.sample_id for sample in train} & {sample.sample_id for sample in test}
    if contents:
        return [f"Leak: {len(contents):,} test images are also in the training set."]
    shared = {source_of(sample) for sample in train} & {source_of(sample) for sample in test}
    return (
        [f"Leak: {len(shared):,} photographs are in the training and the test set."]
        if shared
        else []
    )


def describe_training(train: list[Sample], views: Sequence[str] = ("clean",)) -> TrainResult:
    """Return what a head was fitted on.

    Parameters
    ----------
    train : list[Sample]
        Training samples.
    views : Sequence[str]
        Names of views.

    Returns
    -------
    TrainResult
        What a head was fitted on.
    """
    label = labels(train)
    return TrainResult(
        generators=sorted({sample.paired_with for sample in train}),
        datasets=sorted({sample.dataset for sample in train}),
        n_real=int((label == 0).sum()),
        n_fake=int((label == 1).sum()),
        n_sources=len({source_of(sample) for sample in train}),
        views=list(views),
    )


CHUNK_BYTES = 64 << 20
"""Features that are read at once when they are streamed."""


@dataclass(frozen=True)
class StoreRows:
    """Rows of the store: every sample in every training view, block by feature.

    Parameters
    ----------
    store : FeatureStore
    keys : list of list of FeatureKey
        For each view the key of each feature.
    ids : list of str
        Samples, sorted: shards hold ranges of them. The rows of the second view follow all of the
        first.
    widths : list of int
    chunk_bytes : int
    """

    store: FeatureStore
    keys: list[list[FeatureKey]]
    ids: list[str]
    widths: list[int]
    chunk_bytes: int = CHUNK_BYTES

    @property
    def n_rows(self) -> int:
        """Samples times views."""
        return len(self.ids) * len(self.keys)

    @property
    def dtype(self) -> Any:
        """What the store gives."""
        return np.dtype(np.float32)

    def chunks(self, blocks: Sequence[int]) -> Iterator[Chunk]:
        """Yield the rows in order, as many at once as fit in ``chunk_bytes``.

        Parameters
        ----------
        blocks : Sequence[int]
            Indices of the feature blocks.

        Yields
        ------
        Chunk
            The rows in order, as many at once as fit in ``chunk_bytes``.
        """
        step = max(self.chunk_bytes // (4 * sum(self.widths)), 1)
        empty = np.empty((0, 0), dtype=np.float32)
        for v, keys in enumerate(self.keys):
            chunk_keys = [keys[b] for b in blocks]
            stops = np.cumsum([self.widths[b] for b in blocks])[:-1]
            for chunk_rows, joined in self.store.iter_blocks(chunk_keys, self.ids, rows=step):
                arrays: list[Any] = [empty] * len(keys)
                for b, part in zip(blocks, np.split(joined, stops, axis=1), strict=True):
                    arrays[b] = part
                first = v * len(self.ids)
                yield slice(first + chunk_rows.start, first + chunk_rows.stop), arrays

    def parts(self, n: int) -> list[tuple[Source, NDArray[np.intp]]]:
        """Cut the samples into ranges, as shards hold them; each part has all views of its own.

        Parameters
        ----------
        n : int
            Number of items.

        Returns
        -------
        list[tuple[Source, ndarray of intp]]
        """
        cuts = np.array_split(np.arange(len(self.ids)), min(n, len(self.ids)))
        views = np.arange(len(self.keys))[:, None] * len(self.ids)
        return [
            (replace(self, ids=[self.ids[i] for i in cut]), (views + cut).ravel()) for cut in cuts
        ]


def open_rows(
    store: FeatureStore,
    keys: list[list[FeatureKey]],
    ids: list[str],
    memory: int | None,
    parted: bool = False,
) -> Source:
    """Return the rows in memory, or streamed: where they need more than half of ``memory`` bytes,
    or ``parted``.

    Parameters
    ----------
    store : FeatureStore
        Feature store.
    keys : list[list[FeatureKey]]
        Feature keys, one for each feature.
    ids : list[str]
        Sample ids.
    memory : int | None
        Upper bound of the memory in bytes.
    parted : bool
        Whether rows are read in parts by workers.

    Returns
    -------
    Source
        The rows in memory, or streamed.
    """
    widths = [store.summary(key).n_features for key in keys[0]]
    chunk = CHUNK_BYTES if memory is None else min(CHUNK_BYTES, max(memory // 16, 1 << 16))
    rows = StoreRows(store, keys, ids, widths, chunk)
    if parted or (memory is not None and 4 * rows.n_rows * sum(widths) > memory // 2):
        return rows
    arrays = [
        np.concatenate([store.read(view[b], ids) for view in keys]) for b in range(len(widths))
    ]
    return Arrays(list(arrays))


def chunked(source: Source) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield all rows of a source joined side by side, in pieces of bounded size.

    Parameters
    ----------
    source : Source
        Feature rows, read in chunks.

    Yields
    ------
    tuple[slice, ndarray of float32]
        All rows of a source joined side by side, in pieces of bounded size.
    """
    step = max(CHUNK_BYTES // (8 * sum(source.widths)), 1)
    for rows, blocks in source.chunks(range(len(source.widths))):
        for start in range(0, rows.stop - rows.start, step):
            part = [block[start : start + step] for block in blocks]
            first = rows.start + start
            yield slice(first, first + len(part[0])), np.concatenate(part, axis=1)
