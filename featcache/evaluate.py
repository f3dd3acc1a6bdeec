"""The protocol: fit on the training samples, score every generator's test samples, report with intervals.

It ends in one :class:`~featcache.results.EvalResult`; reports only summarise it.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest, Sample
from featcache.datasets.groups import CONTROL
from featcache.errors import DataError, MissingFeaturesError, SettingsError, unknown_name
from featcache.files import printable, write_atomic
from featcache.metrics import METRICS, Resamples, Sorted, bootstrap, interval, point_metrics
from featcache.probes import Head, fit_logistic
from featcache.results import (
    EvalResult,
    GeneratorResult,
    GroupResult,
    Interval,
    Scores,
    TrainResult,
)

__all__ = [
    "EvalResult",
    "GeneratorResult",
    "GroupResult",
    "ProbeOptions",
    "Scores",
    "TrainResult",
    "evaluate",
    "export_npz",
]


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """What to fit and how to judge it.

    Parameters
    ----------
    features : list of str
        Feature names, joined side by side in this order.
    train : list of str
        Generators whose training samples are used; empty means all.
    C : float > 0
        Inverse strength of the penalty.
    threshold : float in [0, 1]
        Fake probability above which a sample is called fake.
    intersection : bool
        Leave out samples that lack one of the features, instead of an error.
    wanted : dict of str to str or None
        Further leaves of the feature keys, where the store has several kinds; None means any.
    n_resamples, seed : int
        Of the bootstrap.
    """

    features: list[str]
    train: list[str] = field(default_factory=list)
    C: float = 1.0
    threshold: float = 0.5
    intersection: bool = False
    wanted: Mapping[str, str | None] = field(default_factory=dict)
    n_resamples: int = 1000
    seed: int = 0


def evaluate(
    manifest: Manifest, store: FeatureStore, options: ProbeOptions
) -> tuple[EvalResult, Scores]:
    """Fit a probe on the training samples and judge it on every generator's test samples.

    Parameters
    ----------
    manifest : Manifest
    store : FeatureStore
        Must hold the features of all usable samples.
    options : ProbeOptions

    Returns
    -------
    EvalResult, Scores

    Raises
    ------
    MissingFeaturesError
        If a feature or a sample of it is not in the store.
    DataError
        If the training set, or every test set, lacks a class.
    """
    keys = _find_keys(store, options)
    samples, notes = _joinable(manifest, store, keys, options)
    train = _training_set(samples, options.train)
    head = fit_logistic(_join(store, keys, train), _labels(train), options.C)
    tests = _test_sets(samples, notes)
    scores = _score(tests, head, store, keys)
    notes += _leak_notes(train, [sample for rows in tests.values() for sample in rows])
    per_generator, ci = _judge(tests, scores, options)
    generators = {name: r for name, r in per_generator.items() if r.group != CONTROL}
    if not generators:
        raise DataError("The test set holds controls only, and no generator's fakes.")
    result = EvalResult(
        features=options.features,
        n_features=len(head.weight),
        train=_describe_training(train),
        C=options.C,
        threshold=options.threshold,
        mAP=_mean(generators, "ap"),
        mean_acc=_mean(generators, "acc"),
        mAP_ci=_mean_interval(ci, list(generators), "ap"),
        mean_acc_ci=_mean_interval(ci, list(generators), "acc"),
        groups=_group_results(generators),
        generators=generators,
        controls={name: r for name, r in per_generator.items() if r.group == CONTROL},
        keys=[dict(key.fields) for key in keys],
        notes=notes,
        versions={"featcache": __version__, "numpy": np.__version__},
    )
    return result, scores


def _find_keys(store: FeatureStore, options: ProbeOptions) -> list[FeatureKey]:
    if not options.features:
        raise SettingsError("No feature was named. Say which: featcache probe --features NAME")
    if len(set(options.features)) < len(options.features):
        raise SettingsError(f"A feature is named twice: {', '.join(options.features)}.")
    return [store.find(name, **options.wanted) for name in options.features]


def _joinable(
    manifest: Manifest, store: FeatureStore, keys: list[FeatureKey], options: ProbeOptions
) -> tuple[list[Sample], list[str]]:
    """Return the samples that have every feature, and notes about those that were left out."""
    usable = manifest.usable()
    rejected = {name for key in keys for name in store.rejects(key)}
    samples = [sample for sample in usable if sample.sample_id not in rejected]
    notes = []
    if n_bad := len(manifest) - len(samples):
        notes.append(
            f"{n_bad:,} files gave no feature and are left out ('featcache extract' lists them)."
        )
    for key in keys:
        have = store.samples(key)
        lacking = [sample for sample in samples if sample.sample_id not in have]
        if lacking and not options.intersection:
            raise _lacking(key, lacking, len(samples))
        if lacking:
            notes.append(f"{len(lacking):,} samples without {key.name!r} are left out.")
            samples = [sample for sample in samples if sample.sample_id in have]
    return samples, notes


def _lacking(key: FeatureKey, lacking: list[Sample], n_all: int) -> MissingFeaturesError:
    return MissingFeaturesError(
        f"{len(lacking):,} of {n_all:,} samples have no feature {key.name!r} "
        f"(first: {lacking[0].path!r}). Run 'featcache extract --backbone {key.name}' on the same data, "
        "or leave these samples out with --intersection."
    )


def _training_set(samples: list[Sample], wanted: list[str]) -> list[Sample]:
    """Return the training samples of the wanted generators, each content once."""
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
    return list({sample.sample_id: sample for sample in reversed(chosen)}.values())[::-1]


def _test_sets(samples: list[Sample], notes: list[str]) -> dict[str, list[Sample]]:
    """Return the test samples of every generator that has both classes, sorted by name."""
    sets: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.split == "test":
            sets[sample.serves].append(sample)
    complete = {}
    for name in sorted(sets):
        labels = {sample.label for sample in sets[name]}
        if labels == {0, 1}:
            complete[name] = sets[name]
        else:
            lacks = "fakes" if labels == {0} else "reals"
            notes.append(f"{name!r} has no {lacks} to test on and is left out.")
    if not complete:
        why = " ".join(notes) or "No image lies under a folder named test."
        raise DataError(f"There is no test set with reals and fakes. {why}")
    return complete


def _labels(samples: Sequence[Sample]) -> NDArray[np.int64]:
    return np.array([sample.label for sample in samples], dtype=np.int64)


def _join(
    store: FeatureStore, keys: list[FeatureKey], samples: Sequence[Sample]
) -> NDArray[np.float32]:
    """Return the features of the samples side by side, joined by sample id."""
    ids = [sample.sample_id for sample in samples]
    return np.concatenate([store.read(key, ids) for key in keys], axis=1)


def _score(
    tests: dict[str, list[Sample]], head: Head, store: FeatureStore, keys: list[FeatureKey]
) -> Scores:
    """Score every test sample once per generator that it serves."""
    rows = [(name, sample) for name, samples in tests.items() for sample in samples]
    samples = [sample for _, sample in rows]
    unique = list({sample.sample_id: sample for sample in samples}.values())
    values = head.logits(_join(store, keys, unique))
    by_id = dict(zip((sample.sample_id for sample in unique), values.tolist(), strict=True))
    logit = np.array([by_id[sample.sample_id] for sample in samples])
    return Scores(
        generator=_texts([name for name, _ in rows]),
        split=_texts([sample.split for sample in samples]),
        path=_texts([sample.path for sample in samples]),
        sample_id=_texts([sample.sample_id for sample in samples]),
        source=_texts([_unit(sample) for sample in samples]),
        label=_labels(samples),
        score=_sigmoid(logit),
        logit=logit,
    )


def _texts(values: list[str]) -> NDArray[np.object_]:
    return np.array(values, dtype=object)


def _unit(sample: Sample) -> str:
    """Return the unit of independence; names captured from paths hold within their dataset only."""
    if sample.source == sample.sample_id:
        return sample.source
    return f"{sample.dataset}/{sample.source}"


def _sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)))


def _judge(
    tests: dict[str, list[Sample]], scores: Scores, options: ProbeOptions
) -> tuple[dict[str, GeneratorResult], dict[str, dict[str, NDArray[np.float64]]]]:
    """Return the result of every generator, and the bootstrap values behind its intervals."""
    units, unit_of = np.unique(scores.source.astype(str), return_inverse=True)
    rows = {name: np.flatnonzero(scores.generator == name) for name in tests}
    ranked = {
        name: Sorted.of(scores.label[at], scores.score[at], options.threshold)
        for name, at in rows.items()
    }
    resamples = Resamples(_strata(scores, unit_of, len(units)), options.n_resamples, options.seed)
    values = bootstrap(ranked, {name: unit_of[at] for name, at in rows.items()}, resamples)
    results = {}
    for name, at in rows.items():
        points: dict[str, Any] = point_metrics(ranked[name])
        intervals: dict[str, Any] = {
            f"{metric}_ci": interval(values[name][metric]) for metric in METRICS
        }
        results[name] = GeneratorResult(
            group=tests[name][0].group,
            n_real=int((scores.label[at] == 0).sum()),
            n_fake=int((scores.label[at] == 1).sum()),
            n_sources=len(np.unique(unit_of[at])),
            **points,
            **intervals,
        )
    return results, values


def _strata(scores: Scores, unit_of: NDArray[np.intp], n_units: int) -> NDArray[np.int64]:
    """Return the stratum of each unit: the set of roles (generator, label) that its samples play."""
    roles: list[set[tuple[str, int]]] = [set() for _ in range(n_units)]
    for unit, generator, label in zip(unit_of, scores.generator, scores.label, strict=True):
        roles[unit].add((generator, int(label)))
    numbers: dict[frozenset[tuple[str, int]], int] = {}
    return np.array([numbers.setdefault(frozenset(role), len(numbers)) for role in roles])


def _mean(generators: dict[str, GeneratorResult], metric: str) -> float:
    return float(np.mean([getattr(result, metric) for result in generators.values()]))


def _mean_interval(
    values: dict[str, dict[str, NDArray[np.float64]]], names: list[str], metric: str
) -> Interval:
    """Return the interval of the mean over generators, resampled jointly."""
    return interval(np.mean([values[name][metric] for name in names], axis=0))


def _group_results(generators: dict[str, GeneratorResult]) -> dict[str, GroupResult]:
    members: dict[str, dict[str, GeneratorResult]] = defaultdict(dict)
    for name, result in generators.items():
        members[result.group][name] = result
    return {
        group: GroupResult(
            mAP=_mean(inside, "ap"),
            mean_acc=_mean(inside, "acc"),
            mean_auroc=_mean(inside, "auroc"),
            generators=list(inside),
        )
        for group, inside in sorted(members.items())
    }


def _describe_training(train: list[Sample]) -> TrainResult:
    labels = _labels(train)
    return TrainResult(
        generators=sorted({sample.serves for sample in train}),
        datasets=sorted({sample.dataset for sample in train}),
        n_real=int((labels == 0).sum()),
        n_fake=int((labels == 1).sum()),
        n_sources=len({_unit(sample) for sample in train}),
    )


def _leak_notes(train: list[Sample], test: list[Sample]) -> list[str]:
    """Say where the test set is not independent of the training set."""
    contents = {sample.sample_id for sample in train} & {sample.sample_id for sample in test}
    if contents:
        return [f"Leak: {len(contents):,} test images are also in the training set."]
    units = {_unit(sample) for sample in train} & {_unit(sample) for sample in test}
    return (
        [f"Leak: {len(units):,} photographs are in the training and the test set."] if units else []
    )


def export_npz(
    manifest: Manifest, store: FeatureStore, key: FeatureKey, path: Path
) -> tuple[int, int]:
    """Write one feature and its samples as row-aligned arrays.

    Parameters
    ----------
    manifest : Manifest
    store : FeatureStore
    key : FeatureKey
    path : Path
        Arrays ``features`` (N, D) float32, ``label`` (N,) int64, and as plain strings ``sample_id``,
        ``path``, ``generator``, ``split``, ``source``, ``serves`` (the generator whose set a real
        belongs to). One row per file that has a feature.

    Returns
    -------
    (int, int)
        Rows and features.
    """
    have = store.samples(key)
    samples = [sample for sample in manifest if sample.sample_id in have]
    if not samples:
        raise MissingFeaturesError(f"No image of the manifests has the feature {key.name!r}.")
    features = store.read(key, [sample.sample_id for sample in samples])
    names = ("sample_id", "path", "generator", "split", "source", "serves")
    texts = {name: np.array([printable(getattr(s, name)) for s in samples]) for name in names}
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"features": features, "label": _labels(samples), **texts}
    np.savez(buffer, **arrays)
    write_atomic(path, buffer.getvalue())
    return features.shape[0], features.shape[1]
