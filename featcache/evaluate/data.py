"""Which samples a probe is fitted and tested on, and their features joined by sample id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.backbones.names import canonical, parse_name
from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest, Sample
from featcache.datasets.groups import CONTROL
from featcache.errors import DataError, MissingFeaturesError, SettingsError, unknown_name
from featcache.evaluate.options import ProbeOptions
from featcache.probes.kinds import BOTH, lacks_class
from featcache.results import TrainResult


def find_keys(store: FeatureStore, options: ProbeOptions, view: str = "clean") -> list[FeatureKey]:
    """Return the one key of each feature that was named, seen through a view."""
    if not options.features:
        raise SettingsError("No feature was named. Say which: featcache probe --features NAME")
    names = [canonical(name) for name in options.features]
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
    """Return the samples that no feature rejects; the others become a note."""
    rejected = {name for key in keys for name in store.rejects(key)}
    samples = [sample for sample in manifest.usable() if sample.sample_id not in rejected]
    notes += [
        f"{key.name!r} comes from a network with random weights: a test, not a finding."
        for key in keys
        if str(key.fields["weights"]).startswith("random:")
    ]
    if n_bad := len(manifest) - len(samples):
        notes.append(
            f"{n_bad:,} files gave no feature and are left out ('featcache extract' lists them)."
        )
    return samples


def joinable(
    manifest: Manifest, store: FeatureStore, keys: list[FeatureKey], options: ProbeOptions
) -> tuple[list[Sample], list[str]]:
    """Return the samples that have every feature, and notes about those that were left out."""
    notes: list[str] = []
    samples = usable(manifest, store, keys, notes)
    return complete(samples, store, keys, notes, options.intersection), notes


def join(
    store: FeatureStore, keys: list[FeatureKey], samples: Sequence[Sample]
) -> NDArray[np.float32]:
    """Return the features of samples side by side, joined by sample id."""
    return np.asarray(store.read(keys, [sample.sample_id for sample in samples]))


def complete(
    samples: list[Sample],
    store: FeatureStore,
    keys: Iterable[FeatureKey],
    notes: list[str],
    intersection: bool,
) -> list[Sample]:
    """Return the samples that have every feature.

    Raises
    ------
    MissingFeaturesError
        If one lacks a feature, unless ``intersection`` leaves it out with a note.
    """
    for key in keys:
        have = store.samples(key)
        lacking = [sample for sample in samples if sample.sample_id not in have]
        if lacking and not intersection:
            raise _lacking(key, lacking, len(samples))
        if lacking:
            notes.append(f"{len(lacking):,} samples without {key.name!r} are left out.")
            samples = [sample for sample in samples if sample.sample_id in have]
    return samples


def _lacking(key: FeatureKey, lacking: list[Sample], n_all: int) -> MissingFeaturesError:
    view = key.fields["view"].get("name", "clean")
    option = "" if view == "clean" else f" --view {view}"
    return MissingFeaturesError(
        f"{len(lacking):,} of {n_all:,} samples have no feature {key.name!r} "
        f"(first: {lacking[0].path!r}). "
        f"Run 'featcache extract --backbone {key.name}{option}' on the same data, "
        "or leave these samples out with --intersection."
    )


def training_set(
    samples: list[Sample], wanted: list[str], classes: Collection[int] = BOTH
) -> list[Sample]:
    """Return the training samples of the wanted generators, each content once; see :func:`training_rows`."""
    return each_once(training_rows(samples, wanted, classes))


def each_once(samples: list[Sample]) -> list[Sample]:
    """Return the samples, the first of each content."""
    return list({sample.sample_id: sample for sample in reversed(samples)}.values())[::-1]


def serving(rows: list[Sample]) -> dict[str, list[str]]:
    """Return for each content the generators that it serves: reals may serve several."""
    found: dict[str, set[str]] = defaultdict(set)
    for sample in rows:
        found[sample.sample_id].add(sample.serves)
    return {sample_id: sorted(names) for sample_id, names in found.items()}


def training_rows(
    samples: list[Sample], wanted: list[str], classes: Collection[int] = BOTH
) -> list[Sample]:
    """Return the training samples of the wanted generators, a row for each that one serves.

    Raises
    ------
    DataError
        If one of ``classes`` is not among them.
    """
    rows = [sample for sample in samples if sample.split == "train" and sample.group != CONTROL]
    if not rows:
        raise DataError(
            "There are no training samples: no image lies under a folder named train. "
            "Add one, e.g. <root>/train/<generator>/{0_real,1_fake}."
        )
    known = sorted({sample.serves for sample in rows})
    for name in wanted:
        if name not in known:
            raise unknown_name("generator with training samples", name, known)
    chosen = [sample for sample in rows if sample.serves in (wanted or known)]
    if missing := set(classes) - {sample.label for sample in chosen}:
        raise lacks_class(missing)
    return chosen


def test_sets(samples: list[Sample], notes: list[str]) -> dict[str, list[Sample]]:
    """Return the test samples of every generator that has both classes, sorted by name."""
    sets: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.split == "test":
            sets[sample.serves].append(sample)
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
    """Return the labels of samples: 0 real, 1 fake."""
    return np.array([sample.label for sample in samples], dtype=np.int64)


def unit(sample: Sample) -> str:
    """Return the unit of independence; names captured from paths hold within their dataset only."""
    if sample.source == sample.sample_id:
        return sample.source
    return f"{sample.dataset}/{sample.source}"


def leak_notes(train: list[Sample], test: list[Sample]) -> list[str]:
    """Say where the test set is not independent of the training set."""
    contents = {sample.sample_id for sample in train} & {sample.sample_id for sample in test}
    if contents:
        return [f"Leak: {len(contents):,} test images are also in the training set."]
    units = {unit(sample) for sample in train} & {unit(sample) for sample in test}
    return (
        [f"Leak: {len(units):,} photographs are in the training and the test set."] if units else []
    )


def describe_training(train: list[Sample], views: Sequence[str] = ("clean",)) -> TrainResult:
    """Return what a head was fitted on."""
    label = labels(train)
    return TrainResult(
        generators=sorted({sample.serves for sample in train}),
        datasets=sorted({sample.dataset for sample in train}),
        n_real=int((label == 0).sum()),
        n_fake=int((label == 1).sum()),
        n_sources=len({unit(sample) for sample in train}),
        views=list(views),
    )
