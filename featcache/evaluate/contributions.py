"""What each feature adds to mAP, averaged over all orders of adding: its Shapley value.

How alike features are: linear centred kernel alignment on training samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import factorial

import numpy as np
from numpy.typing import NDArray

from featcache.evaluate.scoring import Evaluation
from featcache.evaluate.task import ProbeTask
from featcache.metrics import percentile_ci
from featcache.results import Contribution

Set = tuple[int, ...]


def contributions(
    features: Sequence[str], evaluations: Mapping[Set, Evaluation]
) -> list[Contribution]:
    """Return the contribution of each feature; none where a subset is missing.

    Parameters
    ----------
    features : sequence of str
    evaluations : mapping of positions of features to Evaluation
        Of every non-empty subset, on the same resamples.

    Returns
    -------
    list[Contribution]
        The contribution of each feature.

    Notes
    -----
    No feature at all has the AP of chance, the share of fakes. The values then add up to the mAP of
    all features minus chance.
    """
    n = len(features)
    if len(evaluations) < 2**n - 1:
        return []
    values = {frozenset(s): _values(evaluation) for s, evaluation in evaluations.items()}
    generators = next(iter(evaluations.values())).generators.values()
    values[frozenset()] = np.full_like(
        values[frozenset(range(n))],
        float(
            np.mean(
                [
                    generator.n_fake / (generator.n_real + generator.n_fake)
                    for generator in generators
                ]
            )
        ),
    )
    out = []
    for i, name in enumerate(features):
        total = np.zeros_like(values[frozenset()])
        for without, value in values.items():
            if i not in without:
                k = len(without)
                weight = factorial(k) * factorial(n - k - 1) / factorial(n)
                total += weight * (values[without | {i}] - value)
        replicates = total
        everything = frozenset(range(n))
        out.append(
            Contribution(
                feature=name,
                shapley=float(replicates[0]),
                ci=percentile_ci(replicates[1:]),
                alone=float(values[frozenset({i})][0]),
                last=float(values[everything][0] - values[everything - {i}][0]),
            )
        )
    return out


def _values(evaluation: Evaluation) -> NDArray[np.float64]:
    """Return the mAP, and behind it the mAP of every resample."""
    replicates = np.mean([evaluation.values[name]["ap"] for name in evaluation.generators], axis=0)
    return np.append(evaluation.mean("ap").value, replicates)


MAX_SAMPLES = 1000
"""CKA compares kernels of samples; so many, evenly spread, are enough for two digits."""


def similarity(study: ProbeTask) -> dict[str, dict[str, float]]:
    """Return the linear CKA between every two features, in [0, 1].

    Parameters
    ----------
    study : ProbeTask
        Prepared task: samples, features and folds.

    Returns
    -------
    dict[str, dict[str, float]]
        The linear CKA between every two features, in [0, 1].
    """
    names = study.options.features
    ids = [sample.sample_id for sample in study.train]
    subset = ids[:: max(-(-len(ids) // MAX_SAMPLES), 1)]
    kernels = [_kernel(study.store.read(key, subset)) for key in study.train_keys[0]]
    return {
        a: {b: float(np.sum(x * y)) for b, y in zip(names, kernels, strict=True)}
        for a, x in zip(names, kernels, strict=True)
    }


def _kernel(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the centred kernel of standardised samples, of Frobenius norm 1."""
    x = features.astype(np.float64)
    x -= x.mean(axis=0)
    kernel = x @ x.T
    return np.asarray(kernel / max(float(np.linalg.norm(kernel)), 1e-300))
