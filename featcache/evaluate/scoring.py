"""From scores to results: every metric of every generator, and the means over them, with intervals.

The units that the bootstrap resamples, made from the rows of scores.

Average precision as it would be at other shares of fakes than the test set's.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.datasets.families import CONTROL
from featcache.errors import DataError
from featcache.metrics import (
    METRICS,
    Resamples,
    SortedScores,
    best_threshold,
    bootstrap,
    percentile_ci,
    point_metrics,
)
from featcache.results import GeneratorResult, GroupResult, Mean, Scores

LEAST_UNITS = 5
"""Units of a stratum: the bootstrap's variance is short by one part in as many."""


def units_of(scores: Scores) -> NDArray[np.intp]:
    """Return the unit of independence of each row as a number from 0; shape (n_rows,).

    Parameters
    ----------
    scores : Scores
        Labels, logits and probabilities of the test samples.

    Returns
    -------
    ndarray of intp
        The unit of independence of each row as a number from 0.
    """
    _, numbers = np.unique(scores.source.astype(str), return_inverse=True)
    return np.asarray(numbers, dtype=np.intp)


def resamples_of(
    scores: Scores, unit_of: NDArray[np.intp], n_resamples: int, seed: int
) -> Resamples:
    """Return resamples of the units, stratified by the roles that their samples play.

    Parameters
    ----------
    scores : Scores
        Labels, logits and probabilities of the test samples.
    unit_of : ndarray of intp
        Index of the source of each sample, shape (n_samples,).
    n_resamples : int
        Number of bootstrap replicates.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    Resamples
        Resamples of the units, stratified by the roles that their samples play.
    """
    return Resamples(strata_of(scores, unit_of), n_resamples, seed)


def strata_of(scores: Scores, unit_of: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the stratum of each unit: the set of roles (generator, label) that its samples play.

    Units whose roles are rare are pooled by class: drawn from among one or two, they would hardly
    vary, and an interval over many such strata would have no width.

    Parameters
    ----------
    scores : Scores
        Labels, logits and probabilities of the test samples.
    unit_of : ndarray of intp
        Index of the source of each sample, shape (n_samples,).

    Returns
    -------
    ndarray of int64
        The stratum of each unit.
    """
    roles: list[set[tuple[str, int]]] = [set() for _ in range(int(unit_of.max()) + 1)]
    for source, generator, label in zip(
        unit_of.tolist(), scores.generator, scores.label.tolist(), strict=True
    ):
        roles[source].add((generator, label))
    names = [frozenset(role) for role in roles]
    sizes = Counter(names)
    pooled = [
        name if sizes[name] >= LEAST_UNITS else frozenset(label for _, label in name)
        for name in names
    ]
    numbers: dict[frozenset[Any], int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in pooled])


Values = dict[str, dict[str, NDArray[np.float64]]]
"""Bootstrap values: generator to metric to array of shape (n_resamples,)."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
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
        """Return the mean of a metric over generators (all by default), resampled jointly.

        Parameters
        ----------
        metric : str
            Name of a metric, such as ``ap``.
        names : Sequence[str] | None
            Names, in order.

        Returns
        -------
        Mean
            The mean of a metric over generators (all by default), resampled jointly.
        """
        chosen = list(self.generators) if names is None else list(names)
        points = [self.generators[name].value(metric) for name in chosen]
        replicates = np.mean([self.values[name][metric] for name in chosen], axis=0)
        return Mean(value=float(np.mean(points)), ci=percentile_ci(replicates))

    def means(self, names: Sequence[str] | None = None) -> dict[str, Mean]:
        """Return the mean of every metric.

        Parameters
        ----------
        names : Sequence[str] | None
            Names, in order.

        Returns
        -------
        dict[str, Mean]
            The mean of every metric.
        """
        return {metric: self.mean(metric, names) for metric in METRICS}


def evaluate_scores(
    scores: Scores,
    groups: Mapping[str, str],
    *,
    threshold: float,
    n_resamples: int,
    seed: int,
    val_threshold: float = math.nan,
    prior: float = 0.5,
) -> Evaluation:
    """Return the result of every generator in ``scores``.

    Parameters
    ----------
    scores : Scores
    groups : mapping of str to str
        Family of each generator.
    threshold : float in [0, 1]
        Fake probability above which a sample is called fake.
    n_resamples : int
        Of the bootstrap.
    seed : int
        Of the bootstrap.
    val_threshold : float in [0, 1]
        Threshold from validation data; NaN where there is none, and ``acc_val`` is NaN then.
    prior : float in (0, 1)
        Share of fakes that ``ap_prior`` is stated for.

    Returns
    -------
    Evaluation
        The result of every generator in ``scores``.

    Raises
    ------
    DataError
        If there are controls only.
    """
    unit_of = units_of(scores)
    rows = {str(name): np.flatnonzero(scores.generator == name) for name in groups}
    ranked = {
        name: SortedScores.of(
            scores.label[generator_rows],
            scores.score[generator_rows],
            threshold,
            val_threshold,
            scores.logit[generator_rows],
        )
        for name, generator_rows in rows.items()
    }
    resamples = resamples_of(scores, unit_of, n_resamples, seed)
    sources = {name: unit_of[generator_rows] for name, generator_rows in rows.items()}
    values = bootstrap(ranked, sources, resamples, prior=prior)
    results = {
        name: _result(groups[name], sorted_scores, sources[name], values[name], prior)
        for name, sorted_scores in ranked.items()
    }
    generators = {
        name: sorted_scores
        for name, sorted_scores in results.items()
        if sorted_scores.group != CONTROL
    }
    if not generators:
        raise DataError("The test set holds controls only, and no generator's fakes.")
    controls = {
        name: sorted_scores
        for name, sorted_scores in results.items()
        if sorted_scores.group == CONTROL
    }
    return Evaluation(generators=generators, controls=controls, values=values)


def _result(
    group: str,
    ranked: SortedScores,
    sources: NDArray[np.intp],
    values: dict[str, NDArray[np.float64]],
    prior: float,
) -> GeneratorResult:
    points: dict[str, Any] = point_metrics(ranked, prior=prior)
    own = {item.name for item in fields(GeneratorResult)}
    intervals: dict[str, Any] = {
        f"{name}_ci": percentile_ci(values[name]) for name in METRICS if name in own
    }
    more = {
        name: Mean(value=points.pop(name), ci=percentile_ci(values[name]))
        for name in METRICS
        if name not in own
    }
    return GeneratorResult(
        group=group,
        n_real=len(ranked.reals),
        n_fake=len(ranked.fakes),
        n_sources=len(np.unique(sources)),
        oracle_threshold=best_threshold(ranked),
        more=more,
        **points,
        **intervals,
    )


def group_results(evaluation: Evaluation, trained: Sequence[str]) -> dict[str, GroupResult]:
    """Return the means by group; where training generators are among others, also without them.

    Parameters
    ----------
    evaluation : Evaluation
        Point values and replicates of all generators.
    trained : Sequence[str]
        Names of the training generators.

    Returns
    -------
    dict[str, GroupResult]
        The means by group.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for name, result in evaluation.generators.items():
        members[result.group].append(name)
    return {group: _group(evaluation, names, trained) for group, names in sorted(members.items())}


def unseen_result(evaluation: Evaluation, trained: Sequence[str]) -> GroupResult | None:
    """Return the means over the generators that were not trained on; None where there are none.

    Parameters
    ----------
    evaluation : Evaluation
        Point values and replicates of all generators.
    trained : Sequence[str]
        Names of the training generators.

    Returns
    -------
    GroupResult | None
        The means over the generators that were not trained on.
    """
    names = [name for name in evaluation.generators if name not in trained]
    return _plain_group(evaluation, names) if names else None


def _group(evaluation: Evaluation, names: list[str], trained: Sequence[str]) -> GroupResult:
    unseen = [name for name in names if name not in trained]
    mixed = 0 < len(unseen) < len(names)
    return _plain_group(evaluation, names, _plain_group(evaluation, unseen) if mixed else None)


def _plain_group(
    evaluation: Evaluation, names: list[str], unseen: GroupResult | None = None
) -> GroupResult:
    means = evaluation.means(names)
    return GroupResult(
        mAP=means["ap"].value,
        mean_acc=means["acc"].value,
        mean_auroc=means["auroc"].value,
        generators=names,
        means=means,
        unseen=unseen,
    )


def ap_at_priors(
    scores: Scores,
    priors: Sequence[float],
    *,
    groups: Mapping[str, str] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[float, dict[str, Mean]]:
    """Return the average precision of each generator at stated shares of fakes.

    Parameters
    ----------
    scores : Scores
        Fresh or read by :func:`featcache.evaluate.load_scores`.
    priors : sequence of float in (0, 1)
        Shares of fakes.
    groups : mapping of str to str or None
        Family of each generator to take, controls left out; None takes all that are in ``scores``.
    n_resamples : int
        Of the bootstrap; each prior sees the same resamples.
    seed : int
        Of the bootstrap; each prior sees the same resamples.

    Returns
    -------
    dict of float to dict of str to Mean
        Prior to generator to value and 95 % interval; ``"mean"`` is the mean over the generators.

    Raises
    ------
    SettingsError
        If a prior is no share.
    DataError
        If there is no generator, or one of them lacks a class.
    """
    families = groups if groups is not None else dict.fromkeys(sorted(set(scores.generator)), "")
    rows = {
        name: np.flatnonzero(scores.generator == name)
        for name in families
        if families[name] != CONTROL
    }
    if not rows:
        raise DataError("There is no generator whose average precision could be stated.")
    unit_of = units_of(scores)
    ranked = {
        name: SortedScores.of(
            scores.label[generator_rows],
            scores.score[generator_rows],
            logit=scores.logit[generator_rows],
        )
        for name, generator_rows in rows.items()
    }
    sources = {name: unit_of[generator_rows] for name, generator_rows in rows.items()}
    resamples = resamples_of(scores, unit_of, n_resamples, seed)
    table = {}
    for prior in priors:
        values = bootstrap(ranked, sources, resamples, ("ap_prior",), prior)
        points = {name: point_metrics(one, ("ap_prior",), prior) for name, one in ranked.items()}
        replicates = {name: values[name]["ap_prior"] for name in ranked}
        estimates = {
            name: Mean(value=points[name]["ap_prior"], ci=percentile_ci(replicates[name]))
            for name in ranked
        }
        mean = float(np.mean([one.value for one in estimates.values()]))
        table[prior] = {
            **estimates,
            "mean": Mean(value=mean, ci=percentile_ci(np.mean(list(replicates.values()), axis=0))),
        }
    return table
