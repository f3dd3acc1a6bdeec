"""From scores to metrics: one path for every question, with bootstrap confidence intervals.

:class:`EvaluationRows` knows which rows belong to which generator and which sources the bootstrap
resamples. It sorts the scores of a head and estimates metrics: :class:`Estimates` holds the value
and the replicates of every metric on every generator, and gives means over generators with their
intervals. Probe, ablation, transfer, learning curve, comparison and the AP at other priors all use
these two classes.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

MIN_STRATUM = 5
"""Sources of a stratum: the bootstrap's variance is too small by one part in as many."""


def source_numbers(scores: Scores) -> NDArray[np.intp]:
    """Return the source of each row as a number from 0.

    Parameters
    ----------
    scores : Scores
        Rows of scores.

    Returns
    -------
    ndarray of shape (n_rows,), intp
        Numbers in the order of the sources' names.
    """
    _, numbers = np.unique(scores.source.astype(str), return_inverse=True)
    return np.asarray(numbers, dtype=np.intp)


def source_strata(scores: Scores) -> NDArray[np.int64]:
    """Return the stratum of each source: the set of roles (generator, label) of its samples.

    Sources whose roles are rare are pooled by class: drawn from among one or two, they would hardly
    vary, and an interval over many such strata would have no width.

    Parameters
    ----------
    scores : Scores
        Rows of scores.

    Returns
    -------
    ndarray of shape (n_sources,), int64
        Number of the stratum.
    """
    sources = source_numbers(scores)
    roles: list[set[tuple[str, int]]] = [set() for _ in range(int(sources.max()) + 1)]
    rows = zip(sources.tolist(), scores.generator, scores.label.tolist(), strict=True)
    for source, generator, label in rows:
        roles[source].add((generator, label))
    names = [frozenset(role) for role in roles]
    sizes = Counter(names)
    pooled = [
        name if sizes[name] >= MIN_STRATUM else frozenset(label for _, label in name)
        for name in names
    ]
    numbers: dict[frozenset[Any], int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in pooled])


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Metrics of one head by generator: on the test samples, and in every bootstrap resample.

    Parameters
    ----------
    values : dict of generator to dict of metric to float
        On the test samples.
    replicates : dict of generator to dict of metric to ndarray of shape (n_resamples,), float64
        On the resamples, which all generators share.
    """

    values: dict[str, dict[str, float]]
    replicates: dict[str, dict[str, NDArray[np.float64]]]

    def estimate(self, metric: str, generator: str) -> Mean:
        """Return a metric of one generator with its 95 % interval.

        Parameters
        ----------
        metric : str
            Name of the metric.
        generator : str
            Name of the generator.

        Returns
        -------
        Mean
            Value and interval.
        """
        ci = percentile_ci(self.replicates[generator][metric])
        return Mean(value=self.values[generator][metric], ci=ci)

    def mean(self, metric: str, generators: Iterable[str] | None = None) -> Mean:
        """Return the unweighted mean over generators with its 95 % interval.

        Generators share the resamples, so the interval accounts for the reals they have in common.

        Parameters
        ----------
        metric : str
            Name of the metric.
        generators : iterable of str, optional
            Names of generators; all by default.

        Returns
        -------
        Mean
            Value and interval; NaN over no generator.
        """
        names = list(self.values if generators is None else generators)
        if not names:
            return Mean(value=math.nan)
        value = float(np.mean([self.values[name][metric] for name in names]))
        return Mean(value=value, ci=percentile_ci(self.mean_replicates(metric, names)))

    def mean_replicates(
        self, metric: str, generators: Iterable[str] | None = None
    ) -> NDArray[np.float64]:
        """Return the mean over generators in every resample.

        Parameters
        ----------
        metric : str
            Name of the metric.
        generators : iterable of str, optional
            Names of generators, at least one; all by default.

        Returns
        -------
        ndarray of shape (n_resamples,), float64
            Replicates of :meth:`mean`.
        """
        names = self.values if generators is None else generators
        return np.asarray(np.mean([self.replicates[name][metric] for name in names], axis=0))

    def __sub__(self, subtrahend: Estimates) -> Estimates:
        """Return the paired differences to another head on the same resamples."""
        values = {
            name: {metric: value - subtrahend.values[name][metric] for metric, value in row.items()}
            for name, row in self.values.items()
        }
        replicates = {
            name: {metric: r - subtrahend.replicates[name][metric] for metric, r in row.items()}
            for name, row in self.replicates.items()
        }
        return Estimates(values=values, replicates=replicates)


@dataclass(frozen=True, kw_only=True)
class EvaluationRows:
    """The rows of the test samples by generator, and the resamples that all generators share.

    Parameters
    ----------
    label : ndarray of shape (n_rows,), int64
        0 real, 1 fake.
    source : ndarray of shape (n_rows,), intp
        Number of the source of each row.
    rows : dict of generator to ndarray of intp
        Rows of each generator's test set.
    resamples : Resamples
        Resamples of the sources.
    """

    label: NDArray[np.int64]
    source: NDArray[np.intp]
    rows: dict[str, NDArray[np.intp]]
    resamples: Resamples

    @classmethod
    def from_scores(
        cls, scores: Scores, generators: Iterable[str], n_resamples: int, seed: int
    ) -> EvaluationRows:
        """Find the rows of generators and draw the resamples.

        Parameters
        ----------
        scores : Scores
            Rows of scores; only generators, labels and sources matter.
        generators : iterable of str
            Generators to evaluate on.
        n_resamples : int
            Number of bootstrap resamples.
        seed : int
            Seed of the bootstrap.

        Returns
        -------
        EvaluationRows
            Ready for the scores of any head on the same rows.
        """
        return cls(
            label=scores.label,
            source=source_numbers(scores),
            rows={str(name): np.flatnonzero(scores.generator == name) for name in generators},
            resamples=Resamples(source_strata(scores), n_resamples, seed),
        )

    def sort_scores(
        self,
        score: NDArray[np.float64],
        threshold: float = 0.5,
        val_threshold: float = math.nan,
    ) -> dict[str, SortedScores]:
        """Sort the scores of a head, generator by generator.

        Parameters
        ----------
        score : ndarray of shape (n_rows,), float64
            Probability of fake.
        threshold : float in [0, 1]
            Decision threshold of the accuracies.
        val_threshold : float in [0, 1]
            Threshold from validation data; NaN for none.

        Returns
        -------
        dict of str to SortedScores
            Sorted scores by generator.
        """
        return {
            name: SortedScores.of(self.label[rows], score[rows], threshold, val_threshold)
            for name, rows in self.rows.items()
        }

    def estimate(
        self,
        scores: Mapping[str, SortedScores],
        metrics: Sequence[str] = METRICS,
        prior: float = 0.5,
    ) -> Estimates:
        """Estimate metrics of a head on every generator.

        Parameters
        ----------
        scores : mapping of str to SortedScores
            Made by :meth:`sort_scores`.
        metrics : sequence of str
            Names of metrics.
        prior : float in (0, 1)
            Share of fakes for ``ap_prior``.

        Returns
        -------
        Estimates
            Values and replicates.
        """
        sources = {name: self.source[rows] for name, rows in self.rows.items()}
        return Estimates(
            values={name: point_metrics(item, metrics, prior) for name, item in scores.items()},
            replicates=bootstrap(scores, sources, self.resamples, metrics, prior),
        )


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
    sorted_scores = test.sort_scores(scores.score, threshold, val_threshold)
    estimates = test.estimate(sorted_scores, METRICS, prior)
    results = {}
    for name, item in sorted_scores.items():
        metrics: dict[str, Any] = dict(estimates.values[name])
        metrics |= {f"{m}_ci": percentile_ci(estimates.replicates[name][m]) for m in METRICS}
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
        estimates=Estimates(
            values={name: estimates.values[name] for name in generators},
            replicates={name: estimates.replicates[name] for name in generators},
        ),
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
    sorted_scores = test.sort_scores(scores.score)
    table = {}
    for prior in priors:
        estimates = test.estimate(sorted_scores, ("ap_prior",), prior)
        row = {name: estimates.estimate("ap_prior", name) for name in sorted_scores}
        table[prior] = {**row, "mean": estimates.mean("ap_prior")}
    return table
