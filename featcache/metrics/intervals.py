"""Confidence intervals that hold near 0 and 1 and with few sources."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from featcache.metrics.definitions import METRICS
from featcache.metrics.sorted_scores import Float

CI_METHOD = "wilson-t"
"""Name of :func:`score_ci` in results and JSON."""

CI_METHOD_TEXT = (
    "Wilson's score interval with the effective sample size of the bootstrap over sources and "
    "Student's t quantiles"
)
"""The method in words, for captions."""

FEW_SOURCES = 20
"""Below this many sources a class's interval stands with a warning."""

COUNTED = frozenset({"acc", "r_acc", "f_acc", "bacc", "acc_val"})
"""Accuracies at a fixed threshold: shares of the samples, whose variance needs no addition."""

CEILING_SHARE = 0.1
"""Share of the binomial variance that is added to the variance of other metrics near 0 and 1."""

MIN_DF = 2.0
"""Degrees of freedom are never taken as fewer: the quantile would be several times too large."""

WITHOUT_CI = frozenset({"acc_oracle"})
"""Metrics whose threshold is chosen on the test labels: they are no results."""


def effective_sources(sources: NDArray[np.intp], label: NDArray[np.int64]) -> float:
    """Return the effective number of sources of the class that has fewer.

    Kish's (Σ m)² / Σ m² for m samples of each source (Kish 1965): the number of sources where all
    have as many samples, and less where a few sources have most of them.

    Parameters
    ----------
    sources : ndarray of shape (n_samples,), intp
        Number of the source of each sample.
    label : ndarray of shape (n_samples,), int64
        0 real, 1 fake.

    Returns
    -------
    float >= 1
    """
    sizes = (np.unique(sources[label == c], return_counts=True)[1] for c in (0, 1))
    return float(min(m.sum() ** 2 / (m.astype(np.float64) ** 2).sum() for m in sizes if len(m)))


def quantile(n_sources: float, level: float = 0.95) -> float:
    """Return the two-sided quantile of Student's t with ``n_sources`` - 1 degrees of freedom.

    Parameters
    ----------
    n_sources : float
        Effective number of sources.
    level : float in (0, 1)
        Confidence level.

    Returns
    -------
    float
    """
    return float(student.ppf(0.5 + level / 2, max(n_sources - 1, MIN_DF)))


def standard_error(replicates: Float, n_sources: float) -> float:
    """Return the standard deviation of replicates, corrected for the number of sources.

    Parameters
    ----------
    replicates : ndarray of shape (n_resamples,), float64
        Values of the resamples; those that are not finite are left out.
    n_sources : float
        Effective number of sources n. A resample varies too little by n - 1 in n.

    Returns
    -------
    float
        NaN with fewer than two finite replicates.
    """
    finite = replicates[np.isfinite(replicates)]
    if len(finite) < 2:
        return math.nan
    n = max(n_sources, 2.0)
    return float(finite.std(ddof=1) * math.sqrt(n / (n - 1)))


def score_ci(
    metric: str, value: float, replicates: Float, n_sources: float, level: float = 0.95
) -> tuple[float, float]:
    """Return the confidence interval of a metric with values in a range, such as [0, 1].

    Parameters
    ----------
    metric : str
        Name of the metric, for its range.
    value : float
        The metric on the samples themselves.
    replicates : ndarray of shape (n_resamples,), float64
        Its values on resamples of sources.
    n_sources : float
        See :func:`effective_sources`.
    level : float in (0, 1)
        Confidence level.

    Returns
    -------
    (float, float)
        NaN where the metric is not defined, and for the oracle accuracy.

    Notes
    -----
    Wilson's interval (Wilson 1927) of a share p of n_eff independent trials, with
    n_eff = p (1 - p) / s² for the bootstrap's standard error s, and t quantiles. For an accuracy on
    independent samples n_eff is their number. Near 0 and 1 few sources carry the error of a ranking
    metric and s is often too small, so 0.1 (2p - 1)⁴ p (1 - p) / n is added to s²: the factor was
    chosen by simulation (``benchmarks.coverage``). At 0 and 1, where
    resamples do not vary, n_eff is ``n_sources``: the limit then is t² / (n + t²) away, near 4 / n,
    and the interval has never a width of 0. The calibration error is biased upwards; the interval
    is that of 2 ECE - mean of replicates.
    """
    if metric in WITHOUT_CI or not math.isfinite(value):
        return (math.nan, math.nan)
    error = standard_error(replicates, n_sources)
    if math.isnan(error):
        return (math.nan, math.nan)
    low, high = METRICS[metric].low, METRICS[metric].high
    if metric == "ece":
        value = max(2 * value - float(np.nanmean(replicates)), low)
    width = high - low
    p, variance = (value - low) / width, (error / width) ** 2
    if metric not in COUNTED:
        variance += CEILING_SHARE * (2 * p - 1) ** 4 * p * (1 - p) / n_sources
    n = p * (1 - p) / variance if variance > 0 and 0 < p < 1 else n_sources
    q = quantile(n_sources, level) ** 2
    centre = (p + q / (2 * n)) / (1 + q / n)
    half = math.sqrt(q * (p * (1 - p) / n + q / (4 * n * n))) / (1 + q / n)
    lower, upper = max(centre - half, 0.0), min(centre + half, 1.0)
    return (low + width * (lower if p > 0 else 0.0), low + width * (upper if p < 1 else 1.0))


def difference_ci(
    difference: float, replicates: Float, n_sources: float, level: float = 0.95
) -> tuple[tuple[float, float], float]:
    """Return the interval and the two-sided p-value of a paired difference, which agree.

    Parameters
    ----------
    difference : float
        Difference on the samples themselves.
    replicates : ndarray of shape (n_resamples,), float64
        Difference on resamples of sources.
    n_sources : float
        See :func:`effective_sources`.
    level : float in (0, 1)
        Confidence level.

    Returns
    -------
    ci : (float, float)
        difference ± t s with the bootstrap's standard error s. Where resamples do not vary, s is
        unknown, and the limits are those of a share of 0 among the sources, t² / (n + t²).
    p : float in [0, 1]
        2 P(T > |difference| / s); 1 where resamples do not vary; NaN where nothing is defined.
    """
    error = standard_error(replicates, n_sources)
    if not (math.isfinite(difference) and math.isfinite(error)):
        return (math.nan, math.nan), math.nan
    q = quantile(n_sources, level)
    if error == 0:
        half = q * q / (n_sources + q * q)
        half = max(half, abs(difference))
        return (difference - half, difference + half), 1.0
    df = max(n_sources - 1, MIN_DF)
    p = float(2 * student.sf(abs(difference) / error, df))
    return (difference - q * error, difference + q * error), p
