"""Other training sets from the same cache: each generator alone, and all but one.

All heads are fitted in one joint solve; every training set has its own scaling.

Many heads of one study fitted on other training sets and evaluated on the same resamples of the
test set.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.datasets.families import CONTROL
from featcache.errors import DataError, SettingsError
from featcache.evaluate import data
from featcache.evaluate.fitting import HeadSpec, fit_tasks, logits_of
from featcache.evaluate.options import ProbeOptions
from featcache.evaluate.results_store import find_saved
from featcache.evaluate.scoring import resamples_of, units_of
from featcache.evaluate.task import ProbeTask, prepare_task
from featcache.metrics import Resamples, SortedScores, bootstrap, percentile_ci, point_metrics
from featcache.probes.base import classes_needed
from featcache.results import Mean
from featcache.results.transfer import TransferCell, TransferResult

MOST_HEADS = 64
"""Heads whose training sets are fitted in one solve: memory holds a weight per row for each."""


@dataclass(frozen=True)
class MatrixScores:
    """Metrics of one head by generator: on the test samples, and on every resample of them."""

    points: dict[str, dict[str, float]]
    replicates: dict[str, dict[str, NDArray[np.float64]]]

    def mean(self, metric: str, names: Sequence[str] | None = None) -> Mean:
        """Return the mean over generators (all by default) with its interval; NaN over none.

        Parameters
        ----------
        metric : str
            Name of a metric, such as ``ap``.
        names : Sequence[str] | None
            Names, in order.

        Returns
        -------
        Mean
            The mean over generators (all by default) with its interval.
        """
        chosen = list(self.points) if names is None else list(names)
        if not chosen:
            return Mean(value=float("nan"))
        value = float(np.mean([self.points[name][metric] for name in chosen]))
        return Mean(value=value, ci=percentile_ci(self.mean_draws(metric, chosen)))

    def mean_draws(self, metric: str, names: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Return that mean in every resample, shape (n_resamples,).

        Parameters
        ----------
        metric : str
            Name of a metric, such as ``ap``.
        names : Sequence[str] | None
            Names, in order.

        Returns
        -------
        ndarray of float64
            That mean in every resample, shape (n_resamples,).
        """
        chosen = list(self.points) if names is None else list(names)
        return np.asarray(np.mean([self.replicates[name][metric] for name in chosen], axis=0))


@dataclass(frozen=True)
class MatrixScorer:
    """The test samples of a study, ready to judge heads; controls are left out.

    Parameters
    ----------
    study : Study
    rows : mapping of str to ndarray of int
        Rows of the scores of each generator.
    sources : mapping of str to ndarray of int
    resamples : Resamples
    """

    study: ProbeTask
    rows: Mapping[str, NDArray[np.intp]]
    sources: Mapping[str, NDArray[np.intp]]
    resamples: Resamples

    @classmethod
    def of(cls, study: ProbeTask) -> MatrixScorer:
        """Draw the resamples, once for all heads.

        Parameters
        ----------
        study : ProbeTask
            Prepared task: samples, features and folds.

        Returns
        -------
        MatrixScorer
        """
        scores = study.scores(np.zeros(len(study.test_ids())))
        names = [name for name, group in study.groups.items() if group != CONTROL]
        rows = {name: np.flatnonzero(scores.generator == name) for name in names}
        unit_of, options = units_of(scores), study.options
        return cls(
            study=study,
            rows=rows,
            sources={name: unit_of[generator_rows] for name, generator_rows in rows.items()},
            resamples=resamples_of(scores, unit_of, options.n_resamples, options.seed),
        )

    def score(self, logits: NDArray[np.float64], metrics: Sequence[str]) -> MatrixScores:
        """Judge one head by its logits of :meth:`Study.test_ids`.

        Parameters
        ----------
        logits : ndarray of float64
            Logits of shape (n_samples,).
        metrics : Sequence[str]
            Names of metrics.

        Returns
        -------
        MatrixScores
        """
        scores, threshold = self.study.scores(logits), self.study.options.threshold
        ranked = {
            name: SortedScores.of(
                scores.label[generator_rows],
                scores.score[generator_rows],
                threshold,
                logit=scores.logit[generator_rows],
            )
            for name, generator_rows in self.rows.items()
        }
        return MatrixScores(
            points={
                name: point_metrics(sorted_scores, metrics)
                for name, sorted_scores in ranked.items()
            },
            replicates=bootstrap(ranked, self.sources, self.resamples, metrics),
        )


def fit_members(study: ProbeTask, members: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
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


def _fit(study: ProbeTask, members: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
    options = study.options
    everything = tuple(range(len(options.features)))
    cells = [HeadSpec(everything, options.C, task) for task in range(len(members))]
    tasks = np.tile(np.array(members, dtype=float), (1, len(study.train_views)))
    fits = fit_tasks(study, study.train_rows(), tasks, cells)
    return logits_of(study.test_rows(), cells, fits)


def check_plain(options: ProbeOptions) -> None:
    """Refuse what these questions do not ask about, rather than leave it out in silence.

    Parameters
    ----------
    options : ProbeOptions
        Settings; their own documentation names every field.

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


METRICS = ("ap", "auroc", "acc")
SETS = ("each", "without")
"""The training sets: one generator alone, and all the others."""


def transfer(
    manifest: Manifest, store: FeatureStore, options: ProbeOptions, kept: Path | None = None
) -> TransferResult:
    """Fit a head on each training generator alone and on all but it; test all on every generator.

    Parameters
    ----------
    manifest : Manifest
    store : FeatureStore
    options : ProbeOptions
        ``C`` holds for every head.
    kept : Path, optional
        Folder below which a saved answer is looked for; the store by default.

    Returns
    -------
    TransferResult

    Raises
    ------
    DataError
        If no training generator has the classes that the head needs.
    SettingsError
        If several values of C, several test views or late fusion are asked for.
    """
    start = time.perf_counter()
    check_plain(options)
    study = prepare_task(manifest, store, replace(options, validate=False))
    digest = study.digest(question="transfer")
    if saved := find_saved(kept or store.root, digest, TransferResult):
        return saved
    # What the head of each set shows, by kind of set and generator.
    sets = training_sets(study)
    if not sets:
        raise DataError("No training generator has both reals and fakes of its own.")
    scorer = MatrixScorer.of(study)
    logits = fit_members(study, list(sets.values()))
    scores: dict[str, dict[str, MatrixScores]] = {kind: {} for kind in SETS}
    for (kind, name), row in zip(sets, logits, strict=True):
        scores[kind][name] = scorer.score(row, METRICS)
    result = _describe(study, scores)
    return replace(result, digest=digest, seconds=time.perf_counter() - start)


def training_sets(study: ProbeTask) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Return the members of each training set that has every class that the head needs.

    Parameters
    ----------
    study : ProbeTask
        Prepared task: samples, features and folds.

    Returns
    -------
    dict[tuple[str, str], ndarray of bool]
        The members of each training set that has every class that the head needs.
    """
    paired = [set(study.paired_generators[sample.sample_id]) for sample in study.train]
    labels = study.labels[: len(paired)]
    needed = classes_needed(study.options.head)
    sets: dict[tuple[str, str], NDArray[np.bool_]] = {}
    for name in sorted(set().union(*paired)):
        sets["each", name] = np.array([name in generators for generators in paired])
        sets["without", name] = np.array([bool(generators - {name}) for generators in paired])
    return {key: rows for key, rows in sets.items() if needed <= set(labels[rows].tolist())}


def _describe(study: ProbeTask, scores: dict[str, dict[str, MatrixScores]]) -> TransferResult:
    options = study.options
    training = data.describe_training(study.train, study.train_views)
    return TransferResult(
        features=options.features,
        C=options.C,
        each={name: _cells(one) for name, one in scores["each"].items()},
        without={name: _cells(one) for name, one in scores["without"].items()},
        unseen={
            kind: {name: _unseen(kind, name, one, training.generators) for name, one in row.items()}
            for kind, row in scores.items()
        },
        train=training,
        head=options.head,
        scaling=options.scaling if options.head == "logistic" else "own",
        groups=study.groups,
        keys=[dict(key.fields) for key in study.test_keys[0]],
        notes=study.notes,
        versions={"featcache": __version__, "numpy": np.__version__},
        threshold=options.threshold,
    )


def _unseen(kind: str, name: str, scores: MatrixScores, trained: list[str]) -> Mean:
    """Return the mean AP over the test generators that are not in the training set."""
    seen = {name} if kind == "each" else set(trained) - {name}
    return scores.mean("ap", [tested for tested in scores.points if tested not in seen])


def _cells(scores: MatrixScores) -> dict[str, TransferCell]:
    return {
        name: TransferCell(
            ap=point["ap"],
            auroc=point["auroc"],
            acc=point["acc"],
            ap_ci=percentile_ci(scores.replicates[name]["ap"]),
            auroc_ci=percentile_ci(scores.replicates[name]["auroc"]),
            acc_ci=percentile_ci(scores.replicates[name]["acc"]),
        )
        for name, point in scores.points.items()
    }
