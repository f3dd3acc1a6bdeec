"""Is one set of scores better than another on the same samples? p-values, and their correction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from featcache.metrics.sorted_scores import Float

FEW = 10
"""With fewer resamples than this beyond zero, their share is too coarse for a p-value."""


def two_sided_p(difference: float, replicates: Float) -> float:
    """Return the two-sided p-value of a paired difference from its bootstrap values.

    Parameters
    ----------
    difference : float
        On the samples themselves.
    replicates : ndarray of shape (n_resamples,), float64
        On each resample; NaN is left out.

    Returns
    -------
    float in [0, 1]
        NaN without a difference or a resample.

    Notes
    -----
    Twice the share of resamples on the other side of zero, itself counted, so that p < 0.05
    where the percentile interval leaves zero out. That share cannot tell p-values below
    2/(n_resamples + 1) apart, and a correction for many comparisons would then find nothing; so
    where fewer than ten resamples lie there, the normal tail with the resamples' standard
    deviation stands in, if it is smaller.
    """
    good = replicates[np.isfinite(replicates)]
    if not good.size or not np.isfinite(difference):
        return float("nan")
    beyond = min(int((good <= 0).sum()), int((good >= 0).sum()))
    share = min(2 * (beyond + 1) / (len(good) + 1), 1.0)
    spread = float(good.std(ddof=1)) if len(good) > 1 else 0.0
    if beyond >= FEW or spread == 0:
        return share
    return min(share, float(2 * norm.sf(abs(difference) / spread)))


def delong(y: NDArray[np.int64], a: Float, b: Float) -> tuple[float, float]:
    """Compare the AUROC of two scores of the same independent samples (DeLong et al. 1988).

    Parameters
    ----------
    y : ndarray of shape (n_samples,), int
        0 real, 1 fake.
    a : ndarray of shape (n_samples,), float64
    b : ndarray of shape (n_samples,), float64

    Returns
    -------
    (float, float)
        Variance of AUROC(a) - AUROC(b), and the two-sided p-value; p is NaN where the variance is 0
        or a class has fewer than two samples, because nothing is known about the spread then.

    Notes
    -----
    By mid-ranks (Sun and Xu 2014), O(n log n).
    """
    fake = np.asarray(y) == 1
    if min(fake.sum(), (~fake).sum()) < 2:
        return float("nan"), float("nan")
    (wins_a, losses_a), (wins_b, losses_b) = _placements(fake, a), _placements(fake, b)
    wins, losses = wins_a - wins_b, losses_a - losses_b
    variance = float(wins.var(ddof=1) / len(wins) + losses.var(ddof=1) / len(losses))
    if not variance > 0:
        return variance, float("nan")
    return variance, float(2 * norm.sf(abs(wins.mean()) / np.sqrt(variance)))


def _placements(fake: NDArray[np.bool_], score: Float) -> tuple[Float, Float]:
    """Return of each fake the share of reals below it, of each real the share of fakes above it."""
    rank = rankdata(score)
    of_fakes, of_reals = rankdata(score[fake]), rankdata(score[~fake])
    wins = (rank[fake] - of_fakes) / len(of_reals)
    losses = 1.0 - (rank[~fake] - of_reals) / len(of_fakes)
    return np.asarray(wins), np.asarray(losses)


def holm(p: Sequence[float] | Float) -> list[float]:
    """Return p-values corrected for being many (Holm 1979): the family-wise error is kept.

    Parameters
    ----------
    p : sequence of float
        NaN stays NaN and is not counted.

    Returns
    -------
    list of float
        In the same order.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    order = [int(i) for i in np.argsort(values) if np.isfinite(values[i])]
    corrected, largest = np.full(len(values), np.nan), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(float(values[i]) * (len(order) - place), 1.0))
        corrected[i] = largest
    return [float(value) for value in corrected]
