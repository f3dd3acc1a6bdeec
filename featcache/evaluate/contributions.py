"""What each feature contributes to mAP (Shapley values), and how similar features are (CKA)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from math import factorial

import numpy as np
from numpy.typing import NDArray

from featcache.evaluate.fitting import FeatureSet
from featcache.evaluate.scoring import Evaluation
from featcache.evaluate.task import ProbeTask
from featcache.metrics import difference_ci
from featcache.results import Contribution

MAX_SAMPLES = 1000
"""CKA compares kernels of samples; this many, evenly spaced, suffice for two digits."""


def contributions(
    features: Sequence[str], evaluations: Mapping[FeatureSet, Evaluation]
) -> list[Contribution]:
    """Return the Shapley value of each feature: its mean contribution over all orders of adding.

    Parameters
    ----------
    features : sequence of str
        Names of all n features.
    evaluations : mapping of tuple of int to Evaluation
        Evaluation of each feature set (positions of features), on the same resamples.

    Returns
    -------
    list of Contribution
        One for each feature, with interval; empty where a non-empty subset is missing.

    Notes
    -----
    φ_i = Σ_{S not containing i} |S|! (n - |S| - 1)! / n! (mAP(S + i) - mAP(S)) (Shapley 1953). The
    empty set has the AP of chance, the share of fakes, so the values add up to the mAP of all
    features minus chance.
    """
    n = len(features)
    if len(evaluations) < 2**n - 1:
        return []
    # Position 0 of each array is the mAP on the test samples, the rest are its replicates.
    values = {
        frozenset(positions): np.append(
            evaluation.mean("ap").value, evaluation.estimates.mean_replicates("ap")
        )
        for positions, evaluation in evaluations.items()
    }
    complete = frozenset(range(n))
    results = next(iter(evaluations.values())).generators.values()
    chance = float(np.mean([r.n_fake / (r.n_real + r.n_fake) for r in results]))
    values[frozenset()] = np.full_like(values[complete], chance)
    estimates = next(iter(evaluations.values())).estimates
    n_sources = estimates.n_sources(list(estimates.values))
    shapley_values = []
    for i, name in enumerate(features):
        shapley = np.zeros_like(values[complete])
        for subset, value in values.items():
            if i not in subset:
                k = len(subset)
                weight = factorial(k) * factorial(n - k - 1) / factorial(n)
                shapley += weight * (values[subset | {i}] - value)
        shapley_values.append(
            Contribution(
                feature=name,
                shapley=float(shapley[0]),
                ci=difference_ci(float(shapley[0]), shapley[1:], n_sources)[0],
                alone=float(values[frozenset({i})][0]),
                last=float(values[complete][0] - values[complete - {i}][0]),
            )
        )
    return shapley_values


def similarity(task: ProbeTask) -> dict[str, dict[str, float]]:
    """Return the debiased linear CKA between every two features.

    Parameters
    ----------
    task : ProbeTask
        Samples and keys; training samples in the first training view are compared.

    Returns
    -------
    dict of str to dict of str to float
        At most 1; about 0 for unrelated features, whatever their numbers of columns and rows.
    """
    names = task.options.features
    ids = task.train.strings("sample_id")
    subset = ids[:: max(-(-len(ids) // MAX_SAMPLES), 1)]
    features = [task.store.read(key, subset) for key in task.train_keys[0]]
    return {
        name_x: {name_y: debiased_cka(x, y) for name_y, y in zip(names, features, strict=True)}
        for name_x, x in zip(names, features, strict=True)
    }


def debiased_cka(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """Return the linear CKA of two features with the unbiased estimator of HSIC.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_columns_x), float
        First feature.
    y : ndarray of shape (n_samples, n_columns_y), float
        Second feature of the same samples.

    Returns
    -------
    float
        At most 1; NaN for fewer than four samples or a constant feature.

    Notes
    -----
    With kernels K = x xᵀ and L = y yᵀ of centred rows whose diagonals are set to 0,

    HSIC(K, L) = [tr(K L) + 1ᵀK1 1ᵀL1 / ((n-1)(n-2)) - 2 1ᵀK L 1 / (n-2)] / (n (n-3))

    (Song et al. 2012, JMLR 13, equation 5), and CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))
    (Kornblith et al. 2019; debiased in Nguyen et al. 2021). The biased estimator tends to 1 where
    there are more columns than rows.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(40, 5))
    >>> round(debiased_cka(x, 2 * x), 6)
    1.0
    """
    n = len(x)
    if n < 4:
        return math.nan

    def kernel(features: NDArray[np.float32]) -> NDArray[np.float64]:
        rows = features.astype(np.float64)
        rows -= rows.mean(axis=0)
        gram = rows @ rows.T
        np.fill_diagonal(gram, 0.0)
        # CKA does not depend on the scale; this one keeps products in range.
        return np.asarray(gram / max(float(np.abs(gram).max()), 1e-300))

    def hsic(K: NDArray[np.float64], L: NDArray[np.float64]) -> float:
        total = float(K.sum() * L.sum()) / ((n - 1) * (n - 2))
        cross = 2.0 * float(K.sum(axis=0) @ L.sum(axis=0)) / (n - 2)
        return (float(np.sum(K * L)) + total - cross) / (n * (n - 3))

    K, L = kernel(x), kernel(y)
    denominator = hsic(K, K) * hsic(L, L)
    return hsic(K, L) / math.sqrt(denominator) if denominator > 0 else math.nan
