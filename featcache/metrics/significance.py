"""Paired tests of two sets of scores on the same samples, and their correction for many tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import friedmanchisquare, norm, rankdata, studentized_range, wilcoxon
from scipy.stats import t as student

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


def delong(
    y: NDArray[np.int64], a: Float, b: Float, sources: NDArray[Any] | None = None
) -> tuple[float, float]:
    """Compare the AUROC of two scores of the same samples (DeLong et al. 1988).

    Parameters
    ----------
    y : ndarray of shape (n_samples,), int
        0 real, 1 fake.
    a : ndarray of shape (n_samples,), float64
        First scores.
    b : ndarray of shape (n_samples,), float64
        Second scores.
    sources : ndarray of shape (n_samples,), optional
        Source of each sample, where samples of one source depend on each other (Obuchowski 1997);
        without it all samples are independent.

    Returns
    -------
    variance : float
        Variance of AUROC(a) - AUROC(b); NaN where a class has fewer than two sources.
    p : float
        Two-sided p-value; NaN also where the variance is 0.

    Notes
    -----
    With the placement values V of the fakes (share of reals below each fake) and of the reals
    (share of fakes above each real), Var(ΔAUROC) = Var(ΔV_fake) / n_fake + Var(ΔV_real) / n_real
    and z = ΔAUROC / √Var. Placement values come from mid-ranks in O(n log n) (Sun & Xu 2014).

    With sources, F_s and R_s are the sums of ΔV - ΔAUROC over the fakes and the reals of source s,
    each divided by the number of its class, and Var = k₁ / (k₁ - 1) Σ F_s² + k₀ / (k₀ - 1) Σ R_s²
    + 2 k / (k - 1) Σ F_s R_s for k₁ sources with fakes, k₀ with reals and k with either; Student's
    t with min(k₁, k₀) - 1 degrees of freedom takes the normal distribution's place.
    """
    fake = np.asarray(y) == 1
    if min(fake.sum(), (~fake).sum()) < 2:
        return float("nan"), float("nan")
    (fakes_a, reals_a), (fakes_b, reals_b) = _placements(fake, a), _placements(fake, b)
    fakes, reals = fakes_a - fakes_b, reals_a - reals_b
    difference = float(fakes.mean())
    if sources is None:
        variance = float(fakes.var(ddof=1) / len(fakes) + reals.var(ddof=1) / len(reals))
        z = abs(difference) / np.sqrt(variance) if variance > 0 else float("nan")
        return variance, float(2 * norm.sf(z))
    names, numbers = np.unique(np.asarray(sources), return_inverse=True)
    k_fake, k_real = len(np.unique(numbers[fake])), len(np.unique(numbers[~fake]))
    if min(k_fake, k_real) < 2:
        return float("nan"), float("nan")
    by_fake = np.bincount(numbers[fake], fakes - difference, len(names)) / len(fakes)
    by_real = np.bincount(numbers[~fake], reals - difference, len(names)) / len(reals)
    variance = float(
        k_fake / (k_fake - 1) * by_fake @ by_fake
        + k_real / (k_real - 1) * by_real @ by_real
        + 2 * len(names) / (len(names) - 1) * by_fake @ by_real
    )
    ratio = abs(difference) / np.sqrt(variance) if variance > 0 else float("nan")
    return variance, float(2 * student.sf(ratio, min(k_fake, k_real) - 1))


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


@dataclass(frozen=True, kw_only=True)
class RankTests:
    """Whether runs differ over generators, each generator counted as one observation.

    Parameters
    ----------
    n_generators : int
        Number of generators.
    mean_ranks : list of float
        Mean rank of each run; 1 is the best on every generator.
    friedman_p : float
        p-value of Friedman's test that all runs rank alike; NaN for two runs.
    wilcoxon_p : dict of (int, int) to float
        Two-sided p-value of Wilcoxon's signed-rank test of each two runs, corrected by Holm.
    nemenyi_p : dict of (int, int) to float
        p-value of Nemenyi's test of each two runs, which holds for all of them together; empty for
        two runs.
    """

    n_generators: int
    mean_ranks: list[float]
    friedman_p: float
    wilcoxon_p: dict[tuple[int, int], float]
    nemenyi_p: dict[tuple[int, int], float]


def rank_tests(values: Float, *, higher_is_better: bool = True) -> RankTests:
    """Test whether runs differ over generators (Demšar 2006).

    The paired tests on images ask whether the difference on *these* generators is real; these ask
    whether it holds over generators like them. Few generators show little: six are the fewest with
    which Wilcoxon's test can reach 0.05.

    Parameters
    ----------
    values : ndarray of shape (n_generators, n_runs), float64
        A metric of at least two runs.
    higher_is_better : bool

    Returns
    -------
    RankTests
        p-values are NaN where all values are equal.

    Notes
    -----
    Nemenyi: P(Q > √2 |R_i - R_j| / √(k (k + 1) / 6 N)) for the studentised range Q of k runs with
    infinite degrees of freedom and mean ranks R over N generators.
    """
    values = np.asarray(values, dtype=np.float64)
    n, k = values.shape
    ranks = rankdata(-values if higher_is_better else values, axis=1).mean(axis=0)
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    signed = [
        float(wilcoxon(difference).pvalue) if np.any(difference) else float("nan")
        for difference in (values[:, i] - values[:, j] for i, j in pairs)
    ]
    friedman, nemenyi = float("nan"), {}
    if k > 2 and np.any(values != values[:, :1]):
        friedman = float(friedmanchisquare(*values.T).pvalue)
        error = np.sqrt(k * (k + 1) / (12 * n))
        nemenyi = {
            (i, j): float(studentized_range.sf(abs(ranks[i] - ranks[j]) / error, k, np.inf))
            for i, j in pairs
        }
    return RankTests(
        n_generators=n,
        mean_ranks=[float(rank) for rank in ranks],
        friedman_p=friedman,
        wilcoxon_p=dict(zip(pairs, holm(signed), strict=True)),
        nemenyi_p=nemenyi,
    )
