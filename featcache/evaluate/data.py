"""Which samples a probe is fitted and tested on, and their features by sample id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.backbones.names import canonical_name, is_foreign, parse_name
from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest, Sample
from featcache.datasets.families import CONTROL
from featcache.errors import DataError, MissingFeaturesError, SettingsError, unknown_name
from featcache.evaluate.options import ProbeOptions
from featcache.probes.base import BOTH, lacks_class
from featcache.results import TrainResult


def find_keys(store: FeatureStore, options: ProbeOptions, view: str = "clean") -> list[FeatureKey]:
    """Find the key of each feature of a probe, seen through a view.

    Parameters
    ----------
    store : FeatureStore
        Store to look in.
    options : ProbeOptions
        ``features`` names the features; ``weights`` and ``wanted`` choose among several keys.
    view : str
        Name of the view.

    Returns
    -------
    list of FeatureKey
        One for each feature, in the order of ``options.features``.

    Raises
    ------
    SettingsError
        If no feature is named, or one is named twice.
    MissingFeaturesError
        If the store has no such feature, or several.
    """
    if not options.features:
        raise SettingsError("No feature was named. Say which: featcache probe --features NAME")
    names = [canonical_name(name) for name in options.features]
    if len(set(names)) < len(names):
        raise SettingsError(f"A feature is named twice: {', '.join(options.features)}.")
    keys = []
    for name in names:
        parsed = parse_name(name)
        weights = None  # a name with a seed determines the weights
        if parsed.seed is None:
            weights = options.weights.get(parsed.base) or options.wanted.get("weights")
        keys.append(store.find(name, **{**options.wanted, "view": view, "weights": weights}))
    return keys


def mark_foreign(names: Sequence[str], keys: Sequence[FeatureKey]) -> list[str]:
    """Return the names of features as results show them.

    Parameters
    ----------
    names : sequence of str
        As the user typed them.
    keys : sequence of FeatureKey
        What was found.

    Returns
    -------
    list of str
        Features of another program under their full name, ``NAME#foreign``.
    """
    pairs = zip(names, keys, strict=True)
    return [key.name if is_foreign(key.name) else name for name, key in pairs]


def usable_samples(
    manifest: Manifest, store: FeatureStore, keys: Collection[FeatureKey], notes: list[str]
) -> list[Sample]:
    """Return the samples that are usable and that extraction did not reject.

    Parameters
    ----------
    manifest : Manifest
        All samples.
    store : FeatureStore
        Store of the features.
    keys : collection of FeatureKey
        Keys of all features.
    notes : list of str
        Notes on what is left out are appended to it.

    Returns
    -------
    list of Sample
        In the order of the manifest.
    """
    rejected = {sample_id for key in keys for sample_id in store.rejects(key)}
    samples = [sample for sample in manifest.usable() if sample.sample_id not in rejected]
    notes += [
        f"{key.name!r} comes from a network with random weights: a test, not a finding."
        for key in keys
        if str(key.fields["weights"]).startswith("random:")
    ]
    notes += [
        f"{key.name!r} was computed by another program: by which network and preprocessing is not "
        "known to featcache."
        for key in {key.name: key for key in keys if is_foreign(key.name)}.values()
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


def complete_samples(
    samples: list[Sample],
    store: FeatureStore,
    keys: Iterable[FeatureKey],
    notes: list[str],
    intersection: bool,
) -> list[Sample]:
    """Return the samples that have every feature.

    Parameters
    ----------
    samples : list of Sample
        Samples that should have them.
    store : FeatureStore
        Store of the features.
    keys : iterable of FeatureKey
        Keys of the features.
    notes : list of str
        Notes on what is left out are appended to it.
    intersection : bool
        Leave out samples that lack a feature, instead of raising an error.

    Returns
    -------
    list of Sample
        In the same order.

    Raises
    ------
    MissingFeaturesError
        If a sample lacks a feature, unless ``intersection`` is set.
    """
    for key in keys:
        ids = store.samples(key)
        missing = [sample for sample in samples if sample.sample_id not in ids]
        if missing and not intersection:
            view = key.fields["view"].get("name", "clean")
            option = "" if view == "clean" else f" --view {view}"
            if is_foreign(key.name):
                raise MissingFeaturesError(
                    f"{len(missing):,} of {len(samples):,} samples have no feature {key.name!r} "
                    f"(first: {missing[0].path!r}), and featcache cannot compute it. Name the data "
                    "set of the import (--data NAME; 'featcache datasets ls'), or leave these "
                    "samples out with --intersection."
                )
            raise MissingFeaturesError(
                f"{len(missing):,} of {len(samples):,} samples have no feature {key.name!r} "
                f"(first: {missing[0].path!r}). "
                f"Run 'featcache extract --backbone {key.name}{option}' on the same data, "
                "or leave these samples out with --intersection."
            )
        if missing:
            notes.append(f"{len(missing):,} samples without {key.name!r} are left out.")
            samples = [sample for sample in samples if sample.sample_id in ids]
    return samples


def select_samples(
    manifest: Manifest, store: FeatureStore, keys: list[FeatureKey], options: ProbeOptions
) -> tuple[list[Sample], list[str]]:
    """Return the usable samples that have every feature.

    Parameters
    ----------
    manifest : Manifest
        All samples.
    store : FeatureStore
        Store of the features.
    keys : list of FeatureKey
        Key of each feature.
    options : ProbeOptions
        ``intersection`` leaves out samples that lack a feature, instead of raising an error.

    Returns
    -------
    samples : list of Sample
        In the order of the manifest.
    notes : list of str
        What is left out.

    Raises
    ------
    MissingFeaturesError
        If a sample lacks a feature, unless ``options.intersection`` is set.
    """
    notes: list[str] = []
    samples = usable_samples(manifest, store, keys, notes)
    return complete_samples(samples, store, keys, notes, options.intersection), notes


def load_features(
    store: FeatureStore, keys: list[FeatureKey], samples: Sequence[Sample]
) -> NDArray[np.float32]:
    """Read the features of samples, joined side by side.

    Parameters
    ----------
    store : FeatureStore
        Store of the features.
    keys : list of FeatureKey
        Key of each feature.
    samples : sequence of Sample
        Samples that have all of them.

    Returns
    -------
    ndarray of shape (n_samples, n_features), float32
        A row for each sample, in order.
    """
    return np.asarray(store.read(keys, [sample.sample_id for sample in samples]))


def training_rows(
    samples: list[Sample], generators: list[str], classes: Collection[int] = BOTH
) -> list[Sample]:
    """Return the training samples of generators.

    Parameters
    ----------
    samples : list of Sample
        Samples of all splits; controls are never trained on.
    generators : list of str
        Names of training generators; empty for all.
    classes : collection of int
        Labels that the head needs.

    Returns
    -------
    list of Sample
        A real that is paired with several generators has a row for each of them.

    Raises
    ------
    DataError
        If there are no training samples, or one of ``classes`` is missing.
    UnknownNameError
        If a generator has no training samples.
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
    rows = [sample for sample in rows if sample.paired_with in (generators or known)]
    if missing := set(classes) - {sample.label for sample in rows}:
        raise lacks_class(missing)
    return rows


def unique_samples(samples: list[Sample]) -> list[Sample]:
    """Return the samples without repetitions of the same content.

    Parameters
    ----------
    samples : list of Sample
        Samples; equal content has equal ``sample_id``.

    Returns
    -------
    list of Sample
        The first of each content, in order of their last appearance.
    """
    return list({sample.sample_id: sample for sample in reversed(samples)}.values())[::-1]


def training_set(
    samples: list[Sample], generators: list[str], classes: Collection[int] = BOTH
) -> list[Sample]:
    """Return the training samples of generators, each content once.

    Parameters
    ----------
    samples : list of Sample
        Samples of all splits.
    generators : list of str
        Names of training generators; empty for all.
    classes : collection of int
        Labels that the head needs.

    Returns
    -------
    list of Sample
        The rows of :func:`training_rows` without repetitions.
    """
    return unique_samples(training_rows(samples, generators, classes))


def paired_generators(rows: list[Sample]) -> dict[str, list[str]]:
    """Return the generators that each content is paired with.

    Parameters
    ----------
    rows : list of Sample
        A sample for each pair of content and generator.

    Returns
    -------
    dict of str to list of str
        By sample id the names of generators, sorted; several for shared reals.
    """
    generators: dict[str, set[str]] = defaultdict(set)
    for sample in rows:
        generators[sample.sample_id].add(sample.paired_with)
    return {sample_id: sorted(names) for sample_id, names in generators.items()}


def test_sets(samples: list[Sample], notes: list[str]) -> dict[str, list[Sample]]:
    """Return the test samples of every generator that has both classes.

    Parameters
    ----------
    samples : list of Sample
        Samples of all splits.
    notes : list of str
        Notes on generators that are left out are appended to it.

    Returns
    -------
    dict of str to list of Sample
        By generator, sorted by name.

    Raises
    ------
    DataError
        If no generator has reals and fakes to test on.
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
            missing = "fakes" if classes == {0} else "reals"
            notes.append(f"{name!r} has no {missing} to test on and is left out.")
    if not complete:
        reason = " ".join(notes) or "No image lies under a folder named test."
        raise DataError(f"There is no test set with reals and fakes. {reason}")
    return complete


def labels(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Return the labels of samples.

    Parameters
    ----------
    samples : sequence of Sample
        Samples, in order.

    Returns
    -------
    ndarray of shape (n_samples,), int64
        0 real, 1 fake.
    """
    return np.array([sample.label for sample in samples], dtype=np.int64)


def source_of(sample: Sample) -> str:
    """Return the source of a sample, the unit of independence, under a name that is unique.

    Parameters
    ----------
    sample : Sample
        A sample.

    Returns
    -------
    str
        Its sample id, or ``dataset/source``: a source captured from a path is a name within its
        dataset only.
    """
    if sample.source == sample.sample_id:
        return sample.source
    return f"{sample.dataset}/{sample.source}"


def validation_leaks(train: list[Sample], val: list[Sample], test: list[Sample]) -> list[str]:
    """Report validation samples that are also, or share a source with, training or test samples.

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
    list of str
        Notes; if there is one, nothing may be chosen on these validation samples.
    """
    notes = []
    for name, samples in (("test", test), ("training", train)):
        contents = {s.sample_id for s in val} & {s.sample_id for s in samples}
        sources = {source_of(s) for s in val} & {source_of(s) for s in samples}
        if contents:
            notes.append(f"Leak: {len(contents):,} validation images are also {name} images.")
        elif sources:
            notes.append(
                f"Leak: {len(sources):,} photographs are in the validation and the {name} set."
            )
    return notes


def leak_notes(train: list[Sample], test: list[Sample]) -> list[str]:
    """Report test samples that are not independent of the training set.

    Parameters
    ----------
    train : list of Sample
        Training samples.
    test : list of Sample
        Test samples.

    Returns
    -------
    list of str
        One note, or none.
    """
    contents = {sample.sample_id for sample in train} & {sample.sample_id for sample in test}
    if contents:
        return [f"Leak: {len(contents):,} test images are also in the training set."]
    sources = {source_of(sample) for sample in train} & {source_of(sample) for sample in test}
    if sources:
        return [f"Leak: {len(sources):,} photographs are in the training and the test set."]
    return []


def describe_training(train: list[Sample], views: Sequence[str] = ("clean",)) -> TrainResult:
    """Describe what a head was fitted on.

    Parameters
    ----------
    train : list of Sample
        Training samples, each content once.
    views : sequence of str
        Names of the training views.

    Returns
    -------
    TrainResult
        Names and counts.
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
