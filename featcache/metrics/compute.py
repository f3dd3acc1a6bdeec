"""Metrics of one set of scores, and of many weighted resamples of it at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import unknown_name
from featcache.metrics.definitions import METRICS
from featcache.metrics.ranking import oracle_threshold
from featcache.metrics.sorted_scores import Float, ResampledCounts, SortedScores

EVEN = 0.5
"""Default share of fakes for ``ap_prior``."""


def compute_metrics(
    y: NDArray[np.int64],
    score: Float,
    threshold: float,
    *,
    val_threshold: float = math.nan,
    prior: float = EVEN,
) -> dict[str, float]:
    """Compute every metric of one set of scores.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), int
        0 real, 1 fake; both classes must be present.
    score : ndarray of shape (n_samples,), float64
        Higher means more likely fake.
    threshold : float
        Decision threshold: a sample with a higher score is predicted fake.
    val_threshold : float
        Threshold chosen on validation data, for ``acc_val``.
    prior : float in (0, 1)
        Share of fakes for ``ap_prior``.

    Returns
    -------
    dict of str to float in [0, 1]
        Value of each metric of :data:`METRICS`; NaN where it is not defined.

    Raises
    ------
    DataError
        If a score is not finite or a class is missing.

    Examples
    --------
    >>> y, score = np.array([0, 1, 1, 0]), np.array([0.0, 0.5, 0.7, 0.8])
    >>> round(compute_metrics(y, score, 0.5)["ap"], 4)
    0.5833
    """
    return point_metrics(SortedScores.of(y, score, threshold, val_threshold), prior=prior)


def point_metrics(
    scores: SortedScores, names: Sequence[str] | None = None, prior: float = EVEN
) -> dict[str, float]:
    """Compute metrics of sorted scores, each sample counted once.

    Parameters
    ----------
    scores : SortedScores
        Scores of the samples.
    names : sequence of str, optional
        Names of metrics; all by default.
    prior : float in (0, 1)
        Share of fakes for ``ap_prior``.

    Returns
    -------
    dict of str to float in [0, 1]
        Value by metric; NaN where it is not defined.
    """
    values = resampled_metrics(_count_once(scores), names, prior)
    return {name: float(column[0]) for name, column in values.items()}


def best_threshold(scores: SortedScores) -> float:
    """Return the threshold of highest balanced accuracy on these very samples.

    Parameters
    ----------
    scores : SortedScores
        Scores of the samples.

    Returns
    -------
    float
        See :func:`oracle_threshold`.
    """
    return float(oracle_threshold(_count_once(scores))[0])


def _count_once(scores: SortedScores) -> ResampledCounts:
    """Return the resample that has every sample once."""
    fakes, reals = (np.ones((1, len(rows)), np.int32) for rows in (scores.fakes, scores.reals))
    return ResampledCounts(scores, fakes, reals)


def weighted_metrics(
    scores: SortedScores,
    weights: NDArray[Any],
    names: Sequence[str] | None = None,
    prior: float = EVEN,
) -> dict[str, Float]:
    """Compute metrics of weighted samples, for each row of weights.

    Parameters
    ----------
    scores : SortedScores
        Scores of the samples.
    weights : ndarray of shape (n_resamples, n_samples), int or float
        Weight of each sample, at least 0, in the original order of the samples.
    names : sequence of str, optional
        Names of metrics; all by default.
    prior : float in (0, 1)
        Share of fakes for ``ap_prior``.

    Returns
    -------
    dict of str to ndarray of shape (n_resamples,), float64
        Values by metric; NaN where the weights leave out a class.
    """
    counts = ResampledCounts(scores, weights[:, scores.fakes], weights[:, scores.reals])
    return resampled_metrics(counts, names, prior)


def resampled_metrics(
    counts: ResampledCounts, names: Sequence[str] | None, prior: float
) -> dict[str, Float]:
    """Compute metrics of resamples.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.
    names : sequence of str, optional
        Names of metrics; all by default.
    prior : float in (0, 1)
        Share of fakes for ``ap_prior``.

    Returns
    -------
    dict of str to ndarray of shape (n_resamples,), float64
        Values by metric; NaN where a resample lacks a class.

    Raises
    ------
    UnknownNameError
        If there is no metric of a name.
    """
    metrics = {}
    complete = (counts.n_fake > 0) & (counts.n_real > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        for name in METRICS if names is None else names:
            if name not in METRICS:
                raise unknown_name("metric", name, METRICS)
            metric = METRICS[name]
            values = metric.function(counts, *([prior] if metric.needs_prior else []))
            metrics[name] = values if complete.all() else np.where(complete, values, np.nan)
    return metrics
