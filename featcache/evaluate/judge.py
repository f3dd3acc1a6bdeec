"""From scores to results: every metric of every generator, and the means over them, with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.datasets.groups import CONTROL
from featcache.errors import DataError
from featcache.metrics import METRICS, Resamples, Sorted, bootstrap, interval, point_metrics
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
    scores: Scores, groups: Mapping[str, str], *, threshold: float, n_resamples: int, seed: int
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

    Raises
    ------
    DataError
        If there are controls only.
    """
    units, unit_of = np.unique(scores.source.astype(str), return_inverse=True)
    rows = {str(name): np.flatnonzero(scores.generator == name) for name in groups}
    ranked = {
        name: Sorted.of(scores.label[at], scores.score[at], threshold) for name, at in rows.items()
    }
    resamples = Resamples(strata_of(scores, unit_of, len(units)), n_resamples, seed)
    values = bootstrap(ranked, {name: unit_of[at] for name, at in rows.items()}, resamples)
    results = {
        name: _result(groups[name], scores.label[at], unit_of[at], ranked[name], values[name])
        for name, at in rows.items()
    }
    generators = {name: found for name, found in results.items() if found.group != CONTROL}
    if not generators:
        raise DataError("The test set holds controls only, and no generator's fakes.")
    controls = {name: found for name, found in results.items() if found.group == CONTROL}
    return Judged(generators=generators, controls=controls, values=values)


def _result(
    group: str,
    label: NDArray[np.int64],
    unit_of: NDArray[np.intp],
    ranked: Sorted,
    values: dict[str, NDArray[np.float64]],
) -> GeneratorResult:
    points: dict[str, Any] = point_metrics(ranked)
    intervals: dict[str, Any] = {f"{name}_ci": interval(values[name]) for name in METRICS}
    return GeneratorResult(
        group=group,
        n_real=int((label == 0).sum()),
        n_fake=int((label == 1).sum()),
        n_sources=len(np.unique(unit_of)),
        **points,
        **intervals,
    )


def strata_of(scores: Scores, unit_of: NDArray[np.intp], n_units: int) -> NDArray[np.int64]:
    """Return the stratum of each unit: the set of roles (generator, label) that its samples play."""
    roles: list[set[tuple[str, int]]] = [set() for _ in range(n_units)]
    for unit, generator, label in zip(unit_of, scores.generator, scores.label, strict=True):
        roles[unit].add((generator, int(label)))
    numbers: dict[frozenset[tuple[str, int]], int] = {}
    return np.array([numbers.setdefault(frozenset(role), len(numbers)) for role in roles])


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
