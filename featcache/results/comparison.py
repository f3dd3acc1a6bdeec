"""How two runs differ on the same test samples, as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from featcache.results.base import Interval, JsonResult, Number


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A paired comparison of one metric on the same resamples: minuend minus ``other``.

    Parameters
    ----------
    other : list of str
        Name of the subtrahend, e.g. its features.
    metric : str
        Name of the metric.
    difference : float
        Difference on the test samples.
    ci : (float, float)
        95 % bootstrap interval of the difference.
    p : float in [0, 1]
        Two-sided p-value.
    p_holm : float in [0, 1]
        p-value corrected for all comparisons of the table with the same ``other`` (Holm 1979).
    test : {"bootstrap", "delong", "delong-clustered"}
        Where ``p`` comes from: DeLong's test for AUROC on one generator, by sources where several
        samples share one (Obuchowski 1997); else the bootstrap.
    detectable : float
        The smallest true difference that the test finds in 80 of 100 test sets like this one, at
        p < 0.05 before correction; NaN where resamples do not vary.
    """

    other: list[str]
    metric: str
    difference: Number
    ci: Interval
    p: Number
    p_holm: Number
    test: Literal["bootstrap", "delong", "delong-clustered"] = "bootstrap"
    detectable: Number = math.nan


@dataclass(frozen=True, kw_only=True, repr=False)
class RunComparison(JsonResult):
    """Two runs compared on one metric: first minus second.

    Parameters
    ----------
    metric : str
        Name of the metric.
    other : list of str
        Name of the second run, e.g. its features.
    generators : dict of str to Comparison
        By generator, without controls. Every ``p_holm`` is corrected over all comparisons here.
    groups : dict of str to Comparison
        Mean over the generators of each family.
    groups_unseen : dict of str to Comparison
        Mean over those of them that were not trained on, where a family has both.
    overall : Comparison
        Mean over all generators.
    unseen : Comparison or None
        Mean over those that were not trained on; None where there are none.
    controls : dict of str to Comparison
        By control.
    n_resamples : int
        Number of bootstrap resamples.
    n_samples : int
        Number of rows of scores that both runs have.
    notes : list of str
        Caveats, one sentence each.
    ci_method : {"percentile", "wilson-t"}
        How intervals were computed: see :mod:`featcache.metrics.intervals`. Differences have
        Student's t there; results of before have the percentile bootstrap.
    wilcoxon_p : float
        Two-sided p-value of Wilcoxon's signed-rank test over the generators, each one observation:
        whether the difference holds over generators like these. NaN where none differs.
    """

    metric: str
    other: list[str]
    generators: dict[str, Comparison]
    groups: dict[str, Comparison]
    groups_unseen: dict[str, Comparison]
    overall: Comparison
    unseen: Comparison | None
    controls: dict[str, Comparison] = field(default_factory=dict)
    n_resamples: int = 0
    n_samples: int = 0
    notes: list[str] = field(default_factory=list)
    ci_method: str = "percentile"
    wilcoxon_p: Number = math.nan
