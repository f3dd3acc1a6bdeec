"""Estimates of metrics with intervals: the one path from scores to numbers.

:class:`EvaluationRows` knows which rows belong to which generator and which sources the bootstrap
resamples. It sorts the scores of a head and estimates metrics. :class:`Estimates` holds value and
replicates of every metric on every generator, and gives means over generators with their intervals.
Probe, ablation, transfer, learning curve, comparison and the AP at other priors all use them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.metrics import (
    METRICS,
    Resamples,
    SortedScores,
    bootstrap,
    difference_ci,
    effective_sources,
    point_metrics,
    score_ci,
)
from featcache.results import Mean, Scores

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
    sources : dict of generator to ndarray of shape (n_samples,), intp
        Source of each sample.
    labels : dict of generator to ndarray of shape (n_samples,), int64
        0 real, 1 fake.
    """

    values: dict[str, dict[str, float]]
    replicates: dict[str, dict[str, NDArray[np.float64]]]
    sources: dict[str, NDArray[np.intp]]
    labels: dict[str, NDArray[np.int64]]
    _n_sources: dict[tuple[str, ...], float] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def n_sources(self, generators: Sequence[str]) -> float:
        """Return the effective number of sources behind some generators.

        Parameters
        ----------
        generators : sequence of str
            Names of generators, at least one.

        Returns
        -------
        float
            See :func:`featcache.metrics.effective_sources`.
        """
        key = tuple(generators)
        if key not in self._n_sources:  # asked for by every metric
            sources = np.concatenate([self.sources[name] for name in key])
            labels = np.concatenate([self.labels[name] for name in key])
            self._n_sources[key] = effective_sources(sources, labels)
        return self._n_sources[key]

    def only(self, generators: Iterable[str]) -> Estimates:
        """Return the estimates of some generators.

        Parameters
        ----------
        generators : iterable of str
            Names of generators.

        Returns
        -------
        Estimates
        """
        names = list(generators)
        return Estimates(
            values={name: self.values[name] for name in names},
            replicates={name: self.replicates[name] for name in names},
            sources={name: self.sources[name] for name in names},
            labels={name: self.labels[name] for name in names},
        )

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
        value, replicates = self.values[generator][metric], self.replicates[generator][metric]
        ci = score_ci(metric, value, replicates, self.n_sources([generator]))
        return Mean(value=value, ci=ci)

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
        replicates = self.mean_replicates(metric, names)
        return Mean(value=value, ci=score_ci(metric, value, replicates, self.n_sources(names)))

    def ci_over_generators(
        self, metric: str, generators: Iterable[str] | None = None, seed: int = 0
    ) -> tuple[float, float]:
        """Return the 95 % interval of the mean with generators resampled, and images too.

        It answers what the mean would be over other generators of this kind; :meth:`mean` has the
        interval for these very generators.

        Parameters
        ----------
        metric : str
            Name of the metric.
        generators : iterable of str, optional
            Names of generators; all by default.
        seed : int
            Seed of the draws.

        Returns
        -------
        (float, float)
            NaN with fewer than three generators. Never narrower than by images alone in
            expectation; generators by one maker are less than independent, which it cannot know.

        Notes
        -----
        In every resample of the images as many generators are drawn with replacement; the interval
        is mean ± t s of these replicates, with one degree of freedom less than generators.
        """
        names = list(self.values if generators is None else generators)
        if len(names) < 3:
            return (math.nan, math.nan)
        replicates = np.array([self.replicates[name][metric] for name in names])
        drawn = np.random.default_rng(seed).integers(len(names), size=replicates.shape)
        means = np.take_along_axis(replicates, drawn, axis=0).mean(axis=0)
        value = float(np.mean([self.values[name][metric] for name in names]))
        (low, high), _ = difference_ci(value, means, len(names))
        return (max(low, METRICS[metric].low), min(high, METRICS[metric].high))

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

        Notes
        -----
        A resample may lack the fakes of a generator that has few. Where most resamples lack those
        of some generator, as with thousands of generators, each mean is over those that it has.
        """
        names = self.values if generators is None else generators
        replicates = np.array([self.replicates[name][metric] for name in names])
        mean = np.asarray(np.mean(replicates, axis=0))
        present = np.isfinite(replicates)
        if 2 * np.isfinite(mean).sum() < len(mean) and present.any(axis=0).all():
            return np.asarray(np.nanmean(np.where(present, replicates, np.nan), axis=0))
        return mean

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
        return Estimates(
            values=values, replicates=replicates, sources=self.sources, labels=self.labels
        )


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
        number = {str(name): i for i, name in enumerate(generators)}
        codes = np.array([number.get(str(name), -1) for name in scores.generator.tolist()], np.intp)
        order = np.argsort(codes, kind="stable")
        stops = np.searchsorted(codes[order], np.arange(len(number) + 1))
        return cls(
            label=scores.label,
            source=source_numbers(scores),
            rows={name: order[stops[i] : stops[i + 1]] for name, i in number.items()},
            resamples=Resamples(source_strata(scores), n_resamples, seed),
        )

    def sort_scores(
        self, scores: Scores, threshold: float = 0.5, val_threshold: float = math.nan
    ) -> dict[str, SortedScores]:
        """Sort the scores of a head by their logits, generator by generator.

        Parameters
        ----------
        scores : Scores
            The rows that this was made from, with the scores of any head.
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
            name: SortedScores.of(
                self.label[rows], scores.score[rows], threshold, val_threshold, scores.logit[rows]
            )
            for name, rows in self.rows.items()
        }

    def estimate(
        self,
        scores: Mapping[str, SortedScores],
        metrics: Sequence[str] | None = None,
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
            sources=sources,
            labels={name: self.label[rows] for name, rows in self.rows.items()},
        )
