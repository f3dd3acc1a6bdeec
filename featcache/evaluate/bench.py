"""Many heads of one study fitted on other training sets and judged on the same resamples of the test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.datasets.groups import CONTROL
from featcache.errors import SettingsError
from featcache.evaluate.cells import Cell, logits_of
from featcache.evaluate.options import ProbeOptions
from featcache.evaluate.sets import fit_tasks
from featcache.evaluate.study import Study
from featcache.evaluate.units import resamples_of, units_of
from featcache.metrics import Resamples, Sorted, bootstrap, interval, point_metrics
from featcache.results import Mean

MOST_HEADS = 64
"""Heads whose training sets are fitted in one solve: memory holds a weight per row for each."""


@dataclass(frozen=True)
class Verdicts:
    """Metrics of one head by generator: on the test samples, and on every resample of them."""

    points: dict[str, dict[str, float]]
    draws: dict[str, dict[str, NDArray[np.float64]]]

    def mean(self, metric: str, names: Sequence[str] | None = None) -> Mean:
        """Return the mean over generators (all by default) with its interval; NaN over none."""
        chosen = list(self.points) if names is None else list(names)
        if not chosen:
            return Mean(value=float("nan"))
        value = float(np.mean([self.points[name][metric] for name in chosen]))
        return Mean(value=value, ci=interval(self.mean_draws(metric, chosen)))

    def mean_draws(self, metric: str, names: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Return that mean in every resample, shape (n_resamples,)."""
        chosen = list(self.points) if names is None else list(names)
        return np.asarray(np.mean([self.draws[name][metric] for name in chosen], axis=0))


@dataclass(frozen=True)
class Bench:
    """The test samples of a study, ready to judge heads; controls are left out.

    Parameters
    ----------
    study : Study
    rows : mapping of str to ndarray of int
        Rows of the scores of each generator.
    sources : mapping of str to ndarray of int
    resamples : Resamples
    """

    study: Study
    rows: Mapping[str, NDArray[np.intp]]
    sources: Mapping[str, NDArray[np.intp]]
    resamples: Resamples

    @classmethod
    def of(cls, study: Study) -> Bench:
        """Draw the resamples, once for all heads."""
        scores = study.scores(np.zeros(len(study.test_ids())))
        names = [name for name, group in study.groups.items() if group != CONTROL]
        rows = {name: np.flatnonzero(scores.generator == name) for name in names}
        unit_of, options = units_of(scores), study.options
        return cls(
            study=study,
            rows=rows,
            sources={name: unit_of[at] for name, at in rows.items()},
            resamples=resamples_of(scores, unit_of, options.n_resamples, options.seed),
        )

    def judge(self, logits: NDArray[np.float64], metrics: Sequence[str]) -> Verdicts:
        """Judge one head by its logits of :meth:`Study.test_ids`."""
        scores, threshold = self.study.scores(logits), self.study.options.threshold
        ranked = {
            name: Sorted.of(scores.label[at], scores.score[at], threshold)
            for name, at in self.rows.items()
        }
        return Verdicts(
            points={name: point_metrics(found, metrics) for name, found in ranked.items()},
            draws=bootstrap(ranked, self.sources, self.resamples, metrics),
        )


def fit_members(study: Study, members: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Fit one head for each training set; return the logits of the test samples.

    Parameters
    ----------
    study : Study
    members : sequence of ndarray of shape (n_train_samples,), bool
        Which of the training samples are in each set; every set has its own scaling.

    Returns
    -------
    ndarray of shape (n_sets, n_test_samples), float64
    """
    parts = [members[i : i + MOST_HEADS] for i in range(0, len(members), MOST_HEADS)]
    return np.concatenate([_fit(study, part) for part in parts])


def _fit(study: Study, members: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
    options = study.options
    everything = tuple(range(len(options.features)))
    cells = [Cell(everything, options.C, task) for task in range(len(members))]
    tasks = np.tile(np.array(members, dtype=float), (1, len(study.train_views)))
    fits = fit_tasks(study, study.train_rows(), tasks, cells)
    return logits_of(study.test_rows(), cells, fits)


def check_plain(options: ProbeOptions) -> None:
    """Refuse what these questions do not ask about, rather than leave it out in silence.

    Raises
    ------
    SettingsError
        If there are several values of C, several test views, or late fusion.
    """
    if options.grid:
        raise SettingsError("Every training set is fitted at one C here: say one value with --C.")
    if len(options.test_views) > 1:
        raise SettingsError("Heads are tested on one view here: say one with --test-view.")
    if options.fusion != "concat":
        raise SettingsError(f"fusion = {options.fusion!r} is not possible here, only concat.")
