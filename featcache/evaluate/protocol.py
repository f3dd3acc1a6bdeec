"""One probe run: fit on the training samples, score and judge every generator's test samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest, Sample
from featcache.evaluate import data
from featcache.evaluate.judge import group_results, judge, unseen_result
from featcache.evaluate.options import ProbeOptions
from featcache.hashing import digest_json
from featcache.probes import Head, SavedHead, fit_logistic
from featcache.results import EvalResult, Scores


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What one run made: the result, the score of every test sample, and the head."""

    result: EvalResult
    scores: Scores
    head: SavedHead


def evaluate(
    manifest: Manifest, store: FeatureStore, options: ProbeOptions
) -> tuple[EvalResult, Scores]:
    """Fit a probe and judge it; :func:`run_probe` without the head."""
    probed = run_probe(manifest, store, options)
    return probed.result, probed.scores


def run_probe(manifest: Manifest, store: FeatureStore, options: ProbeOptions) -> Probed:
    """Fit a probe on the training samples and judge it on every generator's test samples.

    Parameters
    ----------
    manifest : Manifest
    store : FeatureStore
        Must hold the features of all usable samples.
    options : ProbeOptions

    Returns
    -------
    Probed

    Raises
    ------
    MissingFeaturesError
        If a feature or a sample of it is not in the store.
    DataError
        If the training set, or every test set, lacks a class.
    """
    keys = data.find_keys(store, options)
    samples, notes = data.joinable(manifest, store, keys, options)
    train = data.training_set(samples, options.train)
    head = fit_logistic(data.join(store, keys, train), data.labels(train), options.C)
    tests = data.test_sets(samples, notes)
    scores = score(tests, head, store, keys)
    notes += data.leak_notes(train, [sample for rows in tests.values() for sample in rows])
    result = describe(options, keys, train, tests, scores, notes, len(head.weight))
    result = replace(result, digest=_digest(options, keys, train, tests))
    return Probed(result=result, scores=scores, head=_saved(head, result, store, keys))


def describe(
    options: ProbeOptions,
    keys: list[FeatureKey],
    train: list[Sample],
    tests: dict[str, list[Sample]],
    scores: Scores,
    notes: list[str],
    n_features: int,
) -> EvalResult:
    """Judge the scores and return the result, but for what only the caller knows."""
    groups = {name: rows[0].group for name, rows in tests.items()}
    judged = judge(
        scores,
        groups,
        threshold=options.threshold,
        n_resamples=options.n_resamples,
        seed=options.seed,
    )
    training = data.describe_training(train)
    means = judged.means()
    return EvalResult(
        features=options.features,
        n_features=n_features,
        train=training,
        C=options.C,
        threshold=options.threshold,
        mAP=means["ap"].value,
        mean_acc=means["acc"].value,
        mAP_ci=means["ap"].ci,
        mean_acc_ci=means["acc"].ci,
        groups=group_results(judged, training.generators),
        unseen=unseen_result(judged, training.generators),
        means=means,
        generators=judged.generators,
        controls=judged.controls,
        keys=[dict(key.fields) for key in keys],
        notes=notes,
        versions={"featcache": __version__, "numpy": np.__version__},
    )


def _saved(
    head: Head, result: EvalResult, store: FeatureStore, keys: list[FeatureKey]
) -> SavedHead:
    return SavedHead(
        weight=head.weight,
        bias=head.bias,
        feature_keys=[dict(key.fields) for key in keys],
        widths=[store.summary(key).n_features for key in keys],
        threshold=result.threshold,
        meta={
            "head": result.head,
            "scaling": result.scaling,
            "C": result.C,
            "features": result.features,
            "train": asdict(result.train),
            "versions": result.versions,
            "result": result.digest,
        },
    )


def _digest(
    options: ProbeOptions,
    keys: list[FeatureKey],
    train: list[Sample],
    tests: dict[str, list[Sample]],
) -> str:
    """Return the digest of all that determines the result."""
    rows = [(s.sample_id, s.label, s.serves, data.unit(s)) for s in train]
    asked = [(name, s.sample_id, s.label, data.unit(s)) for name, ss in tests.items() for s in ss]
    return digest_json(
        {
            "protocol": __version__,
            "options": {**asdict(options), "wanted": dict(options.wanted)},
            "keys": [key.fingerprint for key in keys],
            "train": digest_json(sorted(rows)),
            "test": digest_json(sorted(asked)),
        }
    )


def score(
    tests: dict[str, list[Sample]],
    head: Head | SavedHead,
    store: FeatureStore,
    keys: list[FeatureKey],
) -> Scores:
    """Score every test sample once per generator that it serves."""
    rows = [(name, sample) for name, samples in tests.items() for sample in samples]
    samples = [sample for _, sample in rows]
    unique = list({sample.sample_id: sample for sample in samples}.values())
    values = head.logits(data.join(store, keys, unique))
    by_id = dict(zip((sample.sample_id for sample in unique), values.tolist(), strict=True))
    logit = np.array([by_id[sample.sample_id] for sample in samples])
    return _scores([name for name, _ in rows], samples, logit)


def _scores(names: list[str], samples: Sequence[Sample], logit: NDArray[np.float64]) -> Scores:
    return Scores(
        generator=_texts(names),
        split=_texts([sample.split for sample in samples]),
        path=_texts([sample.path for sample in samples]),
        sample_id=_texts([sample.sample_id for sample in samples]),
        source=_texts([data.unit(sample) for sample in samples]),
        label=data.labels(samples),
        score=np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit))),
        logit=logit,
    )


def _texts(values: list[str]) -> NDArray[np.object_]:
    return np.array(values, dtype=object)
