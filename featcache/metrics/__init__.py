"""Numbers about scores: arrays in, numbers out. Label 1 is fake, a higher score means more fake.

The point values equal scikit-learn's; the bootstrap computes all resamples of all metrics at once
from one sorting of the scores, in integer counts, so that a resample's value is what scikit-learn
would say about the resampled samples.

What is defined where it is thin: scores that are NaN or infinite, and a class that is missing,
are refused (:class:`~featcache.errors.DataError`); tied scores are one step of every curve; a
metric without its ground (no validation threshold, scores that are no probabilities) is NaN; a
resample that lacks a class is NaN and left out of the interval; a separated test set has the
interval (1, 1), however small it is.
"""

from featcache.metrics.definitions import (
    METRICS,
    Metric,
    ap_at_prior,
    best_threshold,
    compute_metrics,
    point_metrics,
    register_metric,
    weighted_metrics,
)
from featcache.metrics.resampling import Resamples, bootstrap, percentile_ci
from featcache.metrics.significance import delong, holm, two_sided_p
from featcache.metrics.sorted_scores import ResampledCounts, SortedScores

__all__ = [
    "METRICS",
    "Metric",
    "ResampledCounts",
    "Resamples",
    "SortedScores",
    "ap_at_prior",
    "best_threshold",
    "bootstrap",
    "compute_metrics",
    "delong",
    "holm",
    "percentile_ci",
    "point_metrics",
    "register_metric",
    "two_sided_p",
    "weighted_metrics",
]
