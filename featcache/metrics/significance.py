"""Paired tests of two sets of scores on the same samples, and their correction for many tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from featcache.metrics.sorted_scores import Float

MIN_TAIL = 10
"""With fewer replicates than this beyond zero, their share is too coarse for a p-value."""


def two_sided_p(difference: float, replicates: Float) -> float:
    """Return the two-sided bootstrap p-value of a paired difference.

    Parameters
    ----------
    difference : float
        Difference on the samples themselves.
    replicates : ndarray of shape (n_resamples,), float64
        Difference on each resample; values that are not finite are left out.

    Returns
    -------
    float in [0, 1]
        NaN without a difference or a finite replicate.

    Notes
    -----
    p = 2 (k + 1) / (n + 1) for k of n replicates at or beyond zero (Davison & Hinkley 1997, §4.2),
    so that p < 0.05 where the percentile interval excludes zero. This share cannot resolve p-values
    below 2 / (n + 1), and a correction for many tests would then find nothing. Where k < 10, the
    normal tail 2 Φ(-|difference| / s) with the replicates' standard deviation s is used, if it is
    smaller.
    """
    finite = replicates[np.isfinite(replicates)]
    if not finite.size or not np.isfinite(difference):
        return float("nan")
    n_beyond = min(int((finite <= 0).sum()), int((finite >= 0).sum()))
    p = min(2 * (n_beyond + 1) / (len(finite) + 1), 1.0)
    deviation = float(finite.std(ddof=1)) if len(finite) > 1 else 0.0
    if n_beyond >= MIN_TAIL or deviation == 0:
        return p
    return min(p, float(2 * norm.sf(abs(difference) / deviation)))


def delong(y: NDArray[np.int64], a: Float, b: Float) -> tuple[float, float]:
    """Compare the AUROC of two scores of the same independent samples (DeLong et al. 1988).

    Parameters
    ----------
    y : ndarray of shape (n_samples,), int
        0 real, 1 fake.
    a : ndarray of shape (n_samples,), float64
        First scores.
    b : ndarray of shape (n_samples,), float64
        Second scores.

    Returns
    -------
    variance : float
        Variance of AUROC(a) - AUROC(b); NaN where a class has fewer than two samples.
    p : float
        Two-sided p-value; NaN also where the variance is 0.

    Notes
    -----
    With the placement values V of the fakes (share of reals below each fake) and of the reals
    (share of fakes above each real), Var(ΔAUROC) = Var(ΔV_fake) / n_fake + Var(ΔV_real) / n_real
    and z = ΔAUROC / √Var. Placement values come from mid-ranks in O(n log n) (Sun & Xu 2014).
    """
    fake = np.asarray(y) == 1
    if min(fake.sum(), (~fake).sum()) < 2:
        return float("nan"), float("nan")
    (fakes_a, reals_a), (fakes_b, reals_b) = _placements(fake, a), _placements(fake, b)
    fakes, reals = fakes_a - fakes_b, reals_a - reals_b
    variance = float(fakes.var(ddof=1) / len(fakes) + reals.var(ddof=1) / len(reals))
    if not variance > 0:
        return variance, float("nan")
    return variance, float(2 * norm.sf(abs(fakes.mean()) / np.sqrt(variance)))


def _placements(fake: NDArray[np.bool_], score: Float) -> tuple[Float, Float]:
    """Return the share of reals below each fake, and the share of fakes above each real."""
    rank = rankdata(score)
    rank_of_fakes, rank_of_reals = rankdata(score[fake]), rankdata(score[~fake])
    fakes = (rank[fake] - rank_of_fakes) / len(rank_of_reals)
    reals = 1.0 - (rank[~fake] - rank_of_reals) / len(rank_of_fakes)
    return np.asarray(fakes), np.asarray(reals)


def holm(p: Sequence[float] | Float) -> list[float]:
    """Return p-values corrected for many tests: Holm's step-down procedure (Holm 1979).

    Parameters
    ----------
    p : sequence of float
        p-values; NaN stays NaN and is not counted as a test.

    Returns
    -------
    list of float
        p'_(i) = max over j <= i of min((m - j + 1) p_(j), 1) for the sorted p_(1) <= ... <= p_(m),
        in the original order. The family-wise error rate is controlled.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    order = [int(i) for i in np.argsort(values) if np.isfinite(values[i])]
    corrected, largest = np.full(len(values), np.nan), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(float(values[i]) * (len(order) - rank), 1.0))
        corrected[i] = largest
    return [float(value) for value in corrected]
