"""From scores to results: every metric of every generator, and the means over them, with intervals."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.datasets.groups import CONTROL
from featcache.errors import DataError
from featcache.evaluate.units import resamples_of, units_of
from featcache.metrics import METRICS, Sorted, best_threshold, bootstrap, interval, point_metrics
from featcache.results import GeneratorResult, GroupResult, Mean, Scores

Values = dict[str, dict[str, NDArray[np.float64]]]
"""Bootstrap values: generator to metric to array of shape (n_resamples,)."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Results by generator, and the bootstrap values behind their intervals.

    Parameters
    ----------
    generators, controls : dict of str to GeneratorResult
    values : dict of str to dict of str to ndarray of shape (n_resamples,)
    """

    generators: dict[str, GeneratorResult]
    controls: dict[str, GeneratorResult]
    values: Values

    def mean(self, metric: str, names: Sequence[str] | None = None) -> Mean:
        """Return the mean of a metric over generators (all by default), resampled jointly."""
        chosen = list(self.generators) if names is None else list(names)
        points = [getattr(self.generators[name], metric) for name in chosen]
        draws = np.mean([self.values[name][metric] for name in chosen], axis=0)
        return Mean(value=float(np.mean(points)), ci=interval(draws))

    def means(self, names: Sequence[str] | None = None) -> dict[str, Mean]:
        """Return the mean of every metric."""
        return {metric: self.mean(metric, names) for metric in METRICS}


def judge(
    scores: Scores,
    groups: Mapping[str, str],
    *,
    threshold: float,
    n_resamples: int,
    seed: int,
    val_threshold: float = math.nan,
    prior: float = 0.5,
) -> Judged:
    """Return the result of every generator in ``scores``.

    Parameters
    ----------
    scores : Scores
    groups : mapping of str to str
        Family of each generator.
    threshold : float in [0, 1]
        Fake probability above which a sample is called fake.
    n_resamples, seed : int
        Of the bootstrap.
    val_threshold : float in [0, 1]
        Threshold from validation data; NaN where there is none, and ``acc_val`` is NaN then.
    prior : float in (0, 1)
        Share of fakes that ``ap_prior`` is stated for.

    Raises
    ------
    DataError
        If there are controls only.
    """
    unit_of = units_of(scores)
    rows = {str(name): np.flatnonzero(scores.generator == name) for name in groups}
    ranked = {
        name: Sorted.of(scores.label[at], scores.score[at], threshold, val_threshold)
        for name, at in rows.items()
    }
    resamples = resamples_of(scores, unit_of, n_resamples, seed)
    sources = {name: unit_of[at] for name, at in rows.items()}
    values = bootstrap(ranked, sources, resamples, prior=prior)
    results = {
        name: _result(groups[name], found, sources[name], values[name], prior)
        for name, found in ranked.items()
    }
    generators = {name: found for name, found in results.items() if found.group != CONTROL}
    if not generators:
        raise DataError("The test set holds controls only, and no generator's fakes.")
    controls = {name: found for name, found in results.items() if found.group == CONTROL}
    return Judged(generators=generators, controls=controls, values=values)


def _result(
    group: str,
    ranked: Sorted,
    sources: NDArray[np.intp],
    values: dict[str, NDArray[np.float64]],
    prior: float,
) -> GeneratorResult:
    points: dict[str, Any] = point_metrics(ranked, prior=prior)
    intervals: dict[str, Any] = {f"{name}_ci": interval(values[name]) for name in METRICS}
    return GeneratorResult(
        group=group,
        n_real=len(ranked.reals),
        n_fake=len(ranked.fakes),
        n_sources=len(np.unique(sources)),
        oracle_threshold=best_threshold(ranked),
        **points,
        **intervals,
    )


def group_results(judged: Judged, trained: Sequence[str]) -> dict[str, GroupResult]:
    """Return the means by group; where training generators are among others, also without them."""
    members: dict[str, list[str]] = defaultdict(list)
    for name, result in judged.generators.items():
        members[result.group].append(name)
    return {group: _group(judged, names, trained) for group, names in sorted(members.items())}


def unseen_result(judged: Judged, trained: Sequence[str]) -> GroupResult | None:
    """Return the means over the generators that were not trained on; None where there are none."""
    names = [name for name in judged.generators if name not in trained]
    return _plain_group(judged, names) if names else None


def _group(judged: Judged, names: list[str], trained: Sequence[str]) -> GroupResult:
    unseen = [name for name in names if name not in trained]
    mixed = 0 < len(unseen) < len(names)
    return _plain_group(judged, names, _plain_group(judged, unseen) if mixed else None)


def _plain_group(
    judged: Judged, names: list[str], unseen: GroupResult | None = None
) -> GroupResult:
    means = judged.means(names)
    return GroupResult(
        mAP=means["ap"].value,
        mean_acc=means["acc"].value,
        mean_auroc=means["auroc"].value,
        generators=names,
        means=means,
        unseen=unseen,
    )
