"""Metrics by name: of one set of scores, and of many resamples of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import unknown_name
from featcache.metrics.curves import FUNCTIONS, METRICS, ap_at_prior, oracle_threshold
from featcache.metrics.ranking import Counted, Float, Sorted

EVEN = 0.5
"""The share of fakes that ``ap_prior`` is stated for unless another is asked for."""


def compute_metrics(
    y: NDArray[np.int64],
    score: Float,
    threshold: float,
    *,
    val_threshold: float = math.nan,
    prior: float = EVEN,
) -> dict[str, float]:
    """Return every metric of one set of scores.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), int
        0 real, 1 fake; both must be there.
    score : ndarray of shape (n_samples,), float64
    threshold, val_threshold : float
        A score above it is called fake.
    prior : float in (0, 1)
        Share of fakes that ``ap_prior`` is stated for.

    Returns
    -------
    dict of str to float in [0, 1]
        One value for each name in :data:`METRICS`; NaN where a metric lacks its ground.

    Raises
    ------
    DataError
        If a score is not a number or a class is missing.

    Notes
    -----
    AP = sum over distinct scores of (R_n - R_{n-1}) P_n, ties in one step, no interpolation. AUROC
    counts ties half.

    Examples
    --------
    >>> y, score = np.array([0, 1, 1, 0]), np.array([0.0, 0.5, 0.7, 0.8])
    >>> round(compute_metrics(y, score, 0.5)["ap"], 4)
    0.5833
    """
    return point_metrics(Sorted.of(y, score, threshold, val_threshold), prior=prior)


def point_metrics(
    ranked: Sorted, names: Sequence[str] = METRICS, prior: float = EVEN
) -> dict[str, float]:
    """Return metrics of scores that are sorted already, each sample counted once."""
    values = counted_metrics(_once(ranked), names, prior)
    return {name: float(column[0]) for name, column in values.items()}


def best_threshold(ranked: Sorted) -> float:
    """Return the threshold of ``acc_oracle``: it looked at the answers."""
    return float(oracle_threshold(_once(ranked))[0])


def _once(ranked: Sorted) -> Counted:
    fakes, reals = (np.ones((1, len(rows)), np.int32) for rows in (ranked.fakes, ranked.reals))
    return Counted(ranked, fakes, reals)


def weighted_metrics(
    ranked: Sorted, weights: NDArray[Any], names: Sequence[str] = METRICS, prior: float = EVEN
) -> dict[str, Float]:
    """Return metrics for each row of weights.

    Parameters
    ----------
    ranked : Sorted
    weights : ndarray of shape (n_resamples, n_samples)
        How often each sample counts, in the original order of the samples; at least 0.
    names : sequence of str
        Which metrics.
    prior : float in (0, 1)
        For ``ap_prior``.

    Returns
    -------
    dict of str to ndarray of shape (n_resamples,)
        NaN where a resample lacks a class.
    """
    counted = Counted(ranked, weights[:, ranked.fakes], weights[:, ranked.reals])
    return counted_metrics(counted, names, prior)


def counted_metrics(counted: Counted, names: Sequence[str], prior: float) -> dict[str, Float]:
    """Return metrics of resamples that are counted already; NaN where one lacks a class."""
    found = {}
    complete = (counted.n_fake > 0) & (counted.n_real > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        for name in names:
            values = _one(counted, name, prior)
            found[name] = values if complete.all() else np.where(complete, values, np.nan)
    return found


def _one(counted: Counted, name: str, prior: float) -> Float:
    if name == "ap_prior":
        return ap_at_prior(counted, prior)
    if name not in FUNCTIONS:
        raise unknown_name("metric", name, METRICS)
    return FUNCTIONS[name](counted)
