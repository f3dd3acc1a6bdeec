"""What each feature adds to mAP, averaged over all orders of adding: its Shapley value.

How alike features are: linear centred kernel alignment on training samples.
"""

from __future__ import annotations

import math
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
    """Return the debiased linear CKA between every two features, at most 1.

    Parameters
    ----------
    study : ProbeTask
        Prepared task: samples, features and folds.

    Returns
    -------
    dict[str, dict[str, float]]
        About 0 for unrelated features, whatever their numbers of columns and rows.
    """
    names = study.options.features
    ids = [sample.sample_id for sample in study.train]
    subset = ids[:: max(-(-len(ids) // MAX_SAMPLES), 1)]
    blocks = [study.store.read(key, subset) for key in study.train_keys[0]]
    return {
        a: {b: debiased_cka(x, y) for b, y in zip(names, blocks, strict=True)}
        for a, x in zip(names, blocks, strict=True)
    }


def debiased_cka(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """Return the linear CKA of two features with the unbiased estimator of HSIC.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_columns_x)
        First feature.
    y : ndarray of shape (n_samples, n_columns_y)
        Second feature, same samples.

    Returns
    -------
    float
        At most 1; NaN for fewer than four samples or a constant feature.

    Notes
    -----
    With kernels K = x xᵀ and L = y yᵀ whose diagonals are set to 0,

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
    K, L = _hollow_kernel(x), _hollow_kernel(y)
    denominator = _hsic(K, K) * _hsic(L, L)
    return float(_hsic(K, L) / math.sqrt(denominator)) if denominator > 0 else math.nan


def _hollow_kernel(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the linear kernel of centred rows with a diagonal of zeros."""
    rows = features.astype(np.float64)
    rows -= rows.mean(axis=0)
    kernel = rows @ rows.T
    np.fill_diagonal(kernel, 0.0)
    return np.asarray(kernel / max(float(np.abs(kernel).max()), 1e-300))


def _hsic(K: NDArray[np.float64], L: NDArray[np.float64]) -> float:
    n = len(K)
    total = float(K.sum() * L.sum()) / ((n - 1) * (n - 2))
    cross = 2.0 * float(K.sum(axis=0) @ L.sum(axis=0)) / (n - 2)
    return (float(np.sum(K * L)) + total - cross) / (n * (n - 3))
