"""Which samples a probe is fitted and tested on, and their features by sample id."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.backbones.names import canonical_name, is_foreign, parse_name
from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest, Sample, resolve_pairs
from featcache.datasets.columns import TextList, Texts, group_rows
from featcache.datasets.families import CONTROL
from featcache.datasets.layouts import PAIRED_SEPARATOR
from featcache.datasets.pairings import (
    GeneratorRows,
    families_of,
    generator_names,
    has_shared_reals,
    members,
    restrict,
    with_pairs,
)
from featcache.errors import DataError, MissingFeaturesError, SettingsError, unknown_name
from featcache.evaluate.options import ProbeOptions
from featcache.probes.base import BOTH, lacks_class
from featcache.results import TrainResult

MAX_SCORES = 20_000_000
"""Scores of test samples, one for each generator that a sample is paired with."""


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
) -> Manifest:
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
    Manifest
        In the same order; shared reals name their generators.
    """
    if has_shared_reals(manifest):
        manifest = resolve_pairs(manifest)
    rejected = np.array([name for key in keys for name in store.rejects(key)], "S32")
    both = manifest.has_both_labels()
    samples = manifest.subset(manifest.is_text("problem", "") & ~both)
    samples = samples.subset(~samples.has_id(np.unique(rejected)))
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
    if both.any():
        conflicts = manifest.subset(both).conflicts()
        n_both = len({sample.sample_id for sample in conflicts})
        notes.append(
            f"{n_both:,} images are real in one place and fake in another ({conflicts[0].path!r} "
            f"and {conflicts[1].path!r}); they are left out of training and testing."
        )
    if n_bad := len(manifest) - len(samples) - int(both.sum()):
        notes.append(
            f"{n_bad:,} files gave no feature and are left out ('featcache extract' lists them)."
        )
    return samples


def complete_samples(
    samples: Manifest,
    store: FeatureStore,
    keys: Iterable[FeatureKey],
    notes: list[str],
    intersection: bool,
) -> Manifest:
    """Return the samples that have every feature.

    Parameters
    ----------
    samples : Manifest
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
    Manifest
        In the same order.

    Raises
    ------
    MissingFeaturesError
        If a sample lacks a feature, unless ``intersection`` is set.
    """
    for key in keys:
        present = samples.has_id(store.index(key).ids)
        n_missing = int((~present).sum())
        if n_missing and not intersection:
            view = key.fields["view"].get("name", "clean")
            option = "" if view == "clean" else f" --view {view}"
            first = samples.subset(np.flatnonzero(~present)[:1]).strings("path")[0]
            if is_foreign(key.name):
                raise MissingFeaturesError(
                    f"{n_missing:,} of {len(samples):,} samples have no feature {key.name!r} "
                    f"(first: {first!r}), and featcache cannot compute it. Name the data "
                    "set of the import (--data NAME; 'featcache datasets ls'), or leave these "
                    "samples out with --intersection."
                )
            raise MissingFeaturesError(
                f"{n_missing:,} of {len(samples):,} samples have no feature {key.name!r} "
                f"(first: {first!r}). "
                f"Run 'featcache extract --backbone {key.name}{option}' on the same data, "
                "or leave these samples out with --intersection."
            )
        if n_missing:
            notes.append(f"{n_missing:,} samples without {key.name!r} are left out.")
            samples = samples.subset(present)
    return samples


def select_samples(
    manifest: Manifest, store: FeatureStore, keys: list[FeatureKey], options: ProbeOptions
) -> tuple[Manifest, list[str]]:
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
    samples : Manifest
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
    samples: Manifest, generators: list[str], classes: Collection[int] = BOTH
) -> Manifest:
    """Return the training samples of generators.

    Parameters
    ----------
    samples : Manifest
        Samples of all splits; controls are never trained on.
    generators : list of str
        Names of training generators; empty for all.
    classes : collection of int
        Labels that the head needs.

    Returns
    -------
    Manifest
        A real that is paired with several generators names those that are trained on.

    Raises
    ------
    DataError
        If there are no training samples, or one of ``classes`` is missing.
    UnknownNameError
        If a generator has no training samples.
    """
    rows = samples.subset(samples.is_text("split", "train"))
    families = families_of(rows)
    known = sorted(name for name in generator_names(rows) if families[name] != CONTROL)
    rows = restrict(rows, known)
    if not len(rows):
        raise DataError(
            "There are no training samples: no image lies under a folder named train. "
            "Add one, e.g. <root>/train/<generator>/{0_real,1_fake}."
        )
    for name in generators:
        if name not in known:
            raise unknown_name("generator with training samples", name, known)
    rows = restrict(rows, generators or known)
    if missing := set(classes) - set(np.unique(rows.labels).tolist()):
        raise lacks_class(missing)
    return rows


def training_set(
    samples: Manifest, generators: list[str], classes: Collection[int] = BOTH
) -> Manifest:
    """Return the training samples of generators, each content once.

    Parameters
    ----------
    samples : Manifest
        Samples of all splits.
    generators : list of str
        Names of training generators; empty for all.
    classes : collection of int
        Labels that the head needs.

    Returns
    -------
    Manifest
        The rows of :func:`training_rows` without repetitions, sorted by sample id.
    """
    return unique_samples(training_rows(samples, generators, classes))[0]


def unique_samples(rows: Manifest) -> tuple[Manifest, Texts]:
    """Return samples without repetitions of the same content.

    Parameters
    ----------
    rows : Manifest
        Samples; equal content has equal ``sample_id``.

    Returns
    -------
    samples : Manifest
        The first of each content, sorted by id; each paired with its first generator.
    paired : Texts
        All generators that each content is paired with, sorted, with ``|`` between them.
    """
    ids, lists = rows.codes("sample_id"), rows.texts("paired_with")
    _, first, content = np.unique(ids, return_index=True, return_inverse=True)
    # Contents that occur with several lists of generators have the union of them.
    content = content.reshape(-1)
    pair_first, _ = group_rows(content, lists.codes)
    n_lists = np.bincount(content[pair_first], minlength=len(first))
    text = {code: members(value) for code, value in lists.values().items()}
    number_of: dict[frozenset[str], int] = {}

    def number(names: Iterable[str]) -> int:
        return number_of.setdefault(frozenset(names), len(number_of))

    single = np.zeros(len(lists.table), np.int32)
    single[list(text)] = [number(names) for names in text.values()]
    codes = single[lists.codes[first]]
    several = np.flatnonzero(n_lists > 1)
    if len(several):
        unions: dict[int, set[str]] = {int(i): set() for i in several}
        for row in pair_first[np.isin(content[pair_first], several)]:
            unions[int(content[row])].update(text[int(lists.codes[row])])
        codes[several] = [number(unions[int(i)]) for i in several]
    samples = rows.subset(first)
    if any(len(names) > 1 for names in text.values()):
        paired = samples.texts("paired_with").map(lambda value: members(value)[0])
        samples = with_pairs(samples, paired)
    joined = [PAIRED_SEPARATOR.join(sorted(names)) for names in number_of]
    return samples, Texts(codes, TextList(joined))


class TestSets(Mapping[str, Manifest]):
    """The test samples of every generator; shared reals are held once.

    Parameters
    ----------
    samples : Manifest
        Test samples, paired with generators that have both classes.
    """

    __test__ = False  # no test of pytest

    def __init__(self, samples: Manifest) -> None:
        self.samples = samples
        self.rows = GeneratorRows(samples)
        self.families = families_of(samples)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> Manifest:
        """Return the test samples of a generator."""
        return self.samples.subset(self.rows[name])


def test_sets(samples: Manifest, notes: list[str]) -> TestSets:
    """Return the test samples of every generator that has both classes.

    Parameters
    ----------
    samples : Manifest
        Samples of all splits.
    notes : list of str
        Notes on generators that are left out are appended to it.

    Returns
    -------
    TestSets
        By generator, sorted by name.

    Raises
    ------
    DataError
        If no generator has reals and fakes to test on, or there are more than
        :data:`MAX_SCORES` pairs of a test sample and a generator.
    """
    tested = samples.subset(samples.is_text("split", "test"))
    sets, label = GeneratorRows(tested), tested.numbers("label")
    classes = {code: set(np.unique(label[rows]).tolist()) for code, rows in sets.groups.items()}
    complete = []
    for name in sets:
        present = set().union(*(classes[code] for code in sets.groups_of(name)))
        if present == {0, 1}:
            complete.append(name)
        else:
            missing = "fakes" if present == {0} else "reals"
            notes.append(f"{name!r} has no {missing} to test on and is left out.")
    if not complete:
        reason = " ".join(notes) or "No image lies under a folder named test."
        raise DataError(f"There is no test set with reals and fakes. {reason}")
    n_pairs = sum(sum(len(sets.groups[code]) for code in sets.groups_of(name)) for name in complete)
    if n_pairs > MAX_SCORES:
        raise DataError(
            f"{len(complete):,} generators share so many reals that there are {n_pairs:,} scores, "
            f"and {MAX_SCORES:,} can be evaluated. Take a part of the reals (--max-per-class 500: "
            "of each generator, split and class, chosen by content), or name generators: "
            "--generators A,B."
        )
    return TestSets(restrict(tested, complete))


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
        dataset only. For many samples there is
        :meth:`~featcache.datasets.Manifest.source_names`.
    """
    if sample.source == sample.sample_id:
        return sample.source
    return f"{sample.dataset}/{sample.source}"


def validation_leaks(train: Manifest, val: Manifest, test: Manifest) -> list[str]:
    """Report validation samples that are also, or share a source with, training or test samples.

    Parameters
    ----------
    train : Manifest
        Training samples.
    val : Manifest
        Validation samples, of the same table.
    test : Manifest
        Test samples, of the same table.

    Returns
    -------
    list of str
        Notes; if there is one, nothing may be chosen on these validation samples.
    """
    notes = []
    for name, samples in (("test", test), ("training", train)):
        contents, sources = _n_common(val, samples)
        if contents:
            notes.append(f"Leak: {contents:,} validation images are also {name} images.")
        elif sources:
            notes.append(f"Leak: {sources:,} photographs are in the validation and the {name} set.")
    return notes


def leak_notes(train: Manifest, test: Manifest) -> list[str]:
    """Report test samples that are not independent of the training set.

    Parameters
    ----------
    train : Manifest
        Training samples.
    test : Manifest
        Test samples, of the same table.

    Returns
    -------
    list of str
        One note, or none.
    """
    contents, sources = _n_common(train, test)
    if contents:
        return [f"Leak: {contents:,} test images are also in the training set."]
    if sources:
        return [f"Leak: {sources:,} photographs are in the training and the test set."]
    return []


def _n_common(a: Manifest, b: Manifest) -> tuple[int, int]:
    """Return how many contents and how many sources two parts of one table have in common."""
    contents = np.intersect1d(a.codes("sample_id"), b.codes("sample_id"))
    return len(contents), len(np.intersect1d(a.source_codes(), b.source_codes()))


def describe_training(train: Manifest, views: Sequence[str] = ("clean",)) -> TrainResult:
    """Describe what a head was fitted on.

    Parameters
    ----------
    train : Manifest
        Training samples, each content once.
    views : sequence of str
        Names of the training views.

    Returns
    -------
    TrainResult
        Names and counts.
    """
    return TrainResult(
        generators=sorted(generator_names(train)),
        datasets=sorted(train.texts("dataset").values().values()),
        n_real=int((train.labels == 0).sum()),
        n_fake=int((train.labels == 1).sum()),
        n_sources=len(np.unique(train.source_codes())),
        views=list(views),
    )
