"""Metrics of detection scores, their bootstrap replicates and paired tests.

Label 1 is fake, and a higher score means more likely fake. Point values equal scikit-learn's. The
bootstrap evaluates every resample of every metric from one sort of the scores, in exact integer
counts.

Edge cases: scores that are NaN or infinite, and a missing class, raise
:class:`~featcache.errors.DataError`. Tied scores form one step of every curve. A metric that is not
defined (no validation threshold; scores outside [0, 1]) is NaN. A resample without one of the
classes is NaN and is left out of the interval. A perfectly separated test set has the interval
(1, 1), however small it is.
"""

from featcache.metrics.compute import (
    best_threshold,
    compute_metrics,
    point_metrics,
    weighted_metrics,
)
from featcache.metrics.definitions import (
    METRICS,
    Metric,
    load_plugins,
    register_metric,
)
from featcache.metrics.intervals import (
    CI_METHOD,
    CI_METHOD_TEXT,
    FEW_SOURCES,
    difference_ci,
    effective_sources,
    score_ci,
)
from featcache.metrics.ranking import ap_at_prior
from featcache.metrics.resampling import Resamples, bootstrap, percentile_ci
from featcache.metrics.significance import RankTests, delong, holm, rank_tests, two_sided_p
from featcache.metrics.sorted_scores import ResampledCounts, SortedScores

__all__ = [
    "CI_METHOD",
    "CI_METHOD_TEXT",
    "FEW_SOURCES",
    "METRICS",
    "Metric",
    "RankTests",
    "ResampledCounts",
    "Resamples",
    "SortedScores",
    "ap_at_prior",
    "best_threshold",
    "bootstrap",
    "compute_metrics",
    "delong",
    "difference_ci",
    "effective_sources",
    "holm",
    "percentile_ci",
    "point_metrics",
    "rank_tests",
    "register_metric",
    "score_ci",
    "two_sided_p",
    "weighted_metrics",
]

# Last, since plug-ins import from here.
load_plugins()
