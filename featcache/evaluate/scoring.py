"""From the scores of a head to the results of every generator, family and share of fakes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from featcache.datasets.families import CONTROL
from featcache.errors import DataError
from featcache.evaluate.estimates import Estimates, EvaluationRows
from featcache.metrics import METRICS, best_threshold
from featcache.results import GeneratorResult, GroupResult, Mean, Scores


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The evaluation of one head on every generator.

    Parameters
    ----------
    generators : dict of str to GeneratorResult
        Result by generator.
    controls : dict of str to GeneratorResult
        Result by control: processed photographs that no generator made.
    estimates : Estimates
        Of ``generators``, for means over them.
    """

    generators: dict[str, GeneratorResult]
    controls: dict[str, GeneratorResult]
    estimates: Estimates

    def mean(self, metric: str) -> Mean:
        """Return the mean of a metric over all generators with its interval.

        Parameters
        ----------
        metric : str
            Name of the metric.

        Returns
        -------
        Mean
            Value and interval.
        """
        return self.estimates.mean(metric)

    def means(self, generators: Iterable[str] | None = None) -> dict[str, Mean]:
        """Return the mean of every metric.

        Parameters
        ----------
        generators : iterable of str, optional
            Names of generators; all by default.

        Returns
        -------
        dict of str to Mean
            Value and interval by metric.
        """
        names = list(self.generators if generators is None else generators)
        return {metric: self.estimates.mean(metric, names) for metric in METRICS}


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
    """Evaluate the scores of one head on every generator.

    Parameters
    ----------
    scores : Scores
        Rows of scores.
    groups : mapping of str to str
        Family of each generator to evaluate on.
    threshold : float in [0, 1]
        Probability above which a sample is predicted fake.
    n_resamples : int
        Number of bootstrap resamples.
    seed : int
        Seed of the bootstrap.
    val_threshold : float in [0, 1]
        Threshold from validation data; NaN where there is none, and ``acc_val`` is NaN then.
    prior : float in (0, 1)
        Share of fakes for ``ap_prior``.

    Returns
    -------
    Evaluation
        Results with intervals.

    Raises
    ------
    DataError
        If all of ``groups`` are controls, or a generator lacks a class.
    """
    test = EvaluationRows.from_scores(scores, groups, n_resamples, seed)
    sorted_scores = test.sort_scores(scores, threshold, val_threshold)
    estimates = test.estimate(sorted_scores, prior=prior)
    own = {item.name for item in fields(GeneratorResult)}
    results = {}
    for name, item in sorted_scores.items():
        ci = {m: estimates.estimate(m, name).ci for m in METRICS}
        metrics: dict[str, Any] = {m: v for m, v in estimates.values[name].items() if m in own}
        metrics |= {f"{m}_ci": ci[m] for m in METRICS if m in own}
        metrics["more"] = {
            m: Mean(value=estimates.values[name][m], ci=ci[m]) for m in METRICS if m not in own
        }
        results[name] = GeneratorResult(
            group=groups[name],
            n_real=len(item.reals),
            n_fake=len(item.fakes),
            n_sources=len(np.unique(test.source[test.rows[name]])),
            oracle_threshold=best_threshold(item),
            **metrics,
        )
    generators = {name: result for name, result in results.items() if result.group != CONTROL}
    if not generators:
        raise DataError("The test set holds controls only, and no generator's fakes.")
    return Evaluation(
        generators=generators,
        controls={name: result for name, result in results.items() if result.group == CONTROL},
        estimates=estimates.only(generators),
    )


def group_results(evaluation: Evaluation, trained: Sequence[str]) -> dict[str, GroupResult]:
    """Return the means over the generators of each family.

    Parameters
    ----------
    evaluation : Evaluation
        Evaluation of a head.
    trained : sequence of str
        Generators that the head was trained on.

    Returns
    -------
    dict of str to GroupResult
        By family, sorted by name. Where a family has generators that were trained on and others,
        ``unseen`` has the means over the others.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for name, result in evaluation.generators.items():
        members[result.group].append(name)
    groups = {}
    for group, names in sorted(members.items()):
        unseen = [name for name in names if name not in trained]
        mixed = 0 < len(unseen) < len(names)
        part = mean_result(evaluation, unseen) if mixed else None
        groups[group] = mean_result(evaluation, names, part)
    return groups


def mean_result(
    evaluation: Evaluation, generators: list[str], unseen: GroupResult | None = None
) -> GroupResult:
    """Return the means over some generators as plain data.

    Parameters
    ----------
    evaluation : Evaluation
        Evaluation of a head.
    generators : list of str
        Names of generators, at least one.
    unseen : GroupResult, optional
        Means over those of them that were not trained on.

    Returns
    -------
    GroupResult
        Mean of every metric with its interval.
    """
    means = evaluation.means(generators)
    return GroupResult(
        mAP=means["ap"].value,
        mean_acc=means["acc"].value,
        mean_auroc=means["auroc"].value,
        generators=generators,
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
    """Return the average precision of each generator at other shares of fakes.

    Parameters
    ----------
    scores : Scores
        Rows of scores, fresh or read by :func:`featcache.evaluate.load_scores`.
    priors : sequence of float in (0, 1)
        Shares of fakes.
    groups : mapping of str to str, optional
        Family of each generator to evaluate on, controls left out; by default all generators of
        ``scores``.
    n_resamples : int
        Number of bootstrap resamples; every prior sees the same.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    dict of float to dict of str to Mean
        By prior and generator, value and 95 % interval; ``"mean"`` is the mean over generators.

    Raises
    ------
    SettingsError
        If a prior is not between 0 and 1.
    DataError
        If there is no generator, or one of them lacks a class.
    """
    if groups is None:
        generators = sorted(set(scores.generator))
    else:
        generators = [name for name, family in groups.items() if family != CONTROL]
    if not generators:
        raise DataError("There is no generator whose average precision could be stated.")
    test = EvaluationRows.from_scores(scores, generators, n_resamples, seed)
    sorted_scores = test.sort_scores(scores)
    table = {}
    for prior in priors:
        estimates = test.estimate(sorted_scores, ("ap_prior",), prior)
        row = {name: estimates.estimate("ap_prior", name) for name in sorted_scores}
        table[prior] = {**row, "mean": estimates.mean("ap_prior")}
    return table
