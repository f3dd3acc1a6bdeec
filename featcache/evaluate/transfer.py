"""Training on one generator alone, or on all but one, and testing on every generator.

All heads are fitted in one joint solve; every training set has its own scaling.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.datasets.families import CONTROL
from featcache.datasets.pairings import members
from featcache.errors import DataError, SettingsError
from featcache.evaluate import data
from featcache.evaluate.estimates import Estimates, EvaluationRows
from featcache.evaluate.fitting import HeadSpec, fit_specs, predict_logits
from featcache.evaluate.options import ProbeOptions
from featcache.evaluate.results_store import find_saved
from featcache.evaluate.task import ProbeTask, prepare_task
from featcache.probes.base import classes_needed
from featcache.results import TransferCell, TransferResult

MAX_HEADS = 64
"""Heads with training sets of their own in one solve: each needs a weight per row in memory."""

CELL_METRICS = ("ap", "auroc", "acc")
"""Metrics of each cell of the matrix."""


def transfer(
    manifest: Manifest, store: FeatureStore, options: ProbeOptions, kept: Path | None = None
) -> TransferResult:
    """Fit a head on each training generator alone and on all but it; test all on every generator.

    Parameters
    ----------
    manifest : Manifest
        All samples.
    store : FeatureStore
        Must hold the features of all usable samples.
    options : ProbeOptions
        Options of every head; one value of C, one test view, no late fusion.
    kept : Path, optional
        Cache in which a saved result is looked for; the store by default.

    Returns
    -------
    TransferResult
        A matrix of training sets by test generators, with intervals.

    Raises
    ------
    DataError
        If no training generator has the classes that the head needs.
    SettingsError
        If there are several values of C or test views, or late fusion.
    """
    start = time.perf_counter()
    require_single_head(options)
    task = prepare_task(manifest, store, replace(options, validate=False))
    digest = task.digest(question="transfer")
    if saved := find_saved(kept or store.root, digest, TransferResult):
        return saved
    members = training_sets(task)
    if not members:
        raise DataError("No training generator has both reals and fakes of its own.")
    logits = fit_training_sets(task, list(members.values()))
    estimates = dict(zip(members, estimate_heads(task, logits, CELL_METRICS), strict=True))
    trained = data.describe_training(task.train, task.train_views).generators
    cells: dict[str, dict[str, Any]] = {"each": {}, "without": {}}
    unseen: dict[str, dict[str, Any]] = {"each": {}, "without": {}}
    for (kind, generator), row in estimates.items():
        seen = {generator} if kind == "each" else set(trained) - {generator}
        cells[kind][generator] = {name: _cell(row, name) for name in row.values}
        unseen[kind][generator] = row.mean("ap", [name for name in row.values if name not in seen])
    return TransferResult(
        **describe_task(task),
        each=cells["each"],
        without=cells["without"],
        unseen=unseen,
        threshold=options.threshold,
        digest=digest,
        seconds=time.perf_counter() - start,
    )


def _cell(estimates: Estimates, generator: str) -> TransferCell:
    """Return the metrics of one head on one generator."""
    ap, auroc, acc = (estimates.estimate(metric, generator) for metric in CELL_METRICS)
    return TransferCell(
        ap=ap.value,
        auroc=auroc.value,
        acc=acc.value,
        ap_ci=ap.ci,
        auroc_ci=auroc.ci,
        acc_ci=acc.ci,
    )


def training_sets(task: ProbeTask) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Return the training sets of one generator alone, and of all but one.

    Parameters
    ----------
    task : ProbeTask
        Training samples and the generators they are paired with.

    Returns
    -------
    dict of (str, str) to ndarray of shape (n_samples,), bool
        By ``"each"`` or ``"without"`` and generator, which training samples are in the set. Sets
        that lack a class that the head needs are left out.
    """
    paired = {code: set(members(text)) for code, text in task.paired.values().items()}
    labels = task.train.labels
    needed = classes_needed(task.options.head)
    sets: dict[tuple[str, str], NDArray[np.bool_]] = {}
    for name in sorted(set().union(*paired.values())):
        alone = {code for code, names in paired.items() if names == {name}}
        with_others = {code for code, names in paired.items() if name in names}
        sets["each", name] = np.isin(task.paired.codes, list(with_others))
        sets["without", name] = ~np.isin(task.paired.codes, list(alone))
    return {key: rows for key, rows in sets.items() if needed <= set(labels[rows].tolist())}


def fit_training_sets(task: ProbeTask, members: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Fit one head of all features on each training set, and predict the test samples.

    Parameters
    ----------
    task : ProbeTask
        Training and test samples.
    members : sequence of ndarray of shape (n_samples,), bool
        Which training samples are in each set.

    Returns
    -------
    ndarray of shape (n_sets, n_test_ids), float64
        Logit of each of :meth:`ProbeTask.test_ids`.
    """
    logits = []
    task = task.within_memory(min(len(members), MAX_HEADS))
    for start in range(0, len(members), MAX_HEADS):
        part = members[start : start + MAX_HEADS]
        weights = np.tile(np.array(part, dtype=float), (1, len(task.train_views)))
        specs = [HeadSpec(task.all_features, task.options.C, i) for i in range(len(part))]
        fits = fit_specs(task, task.train_rows(), weights, specs)
        scorers = [fit.scorer for fit in fits]
        logits.append(predict_logits(task.test_rows(), [task.all_features] * len(fits), scorers))
    return np.concatenate(logits)


def estimate_heads(
    task: ProbeTask, logits: NDArray[np.float64], metrics: Sequence[str]
) -> Iterator[Estimates]:
    """Estimate metrics of many heads on the same resamples; controls are left out.

    Parameters
    ----------
    task : ProbeTask
        Test samples and options of the bootstrap.
    logits : ndarray of shape (n_heads, n_test_ids), float64
        Logit of each of :meth:`ProbeTask.test_ids`.
    metrics : sequence of str
        Names of metrics.

    Yields
    ------
    Estimates
        For each head.
    """
    options = task.options
    generators = [name for name, family in task.groups.items() if family != CONTROL]
    test = None
    for row in logits:
        scores = task.scores(row)
        if test is None:  # rows and resamples are the same for all heads
            test = EvaluationRows.from_scores(scores, generators, options.n_resamples, options.seed)
        yield test.estimate(test.sort_scores(scores, options.threshold), metrics)


def require_single_head(options: ProbeOptions) -> None:
    """Refuse options that would need more than one head for each training set.

    Parameters
    ----------
    options : ProbeOptions
        Options of the probe.

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


def describe_task(task: ProbeTask) -> dict[str, Any]:
    """Return the fields that results about several training sets have in common.

    Parameters
    ----------
    task : ProbeTask
        Samples, keys and options.

    Returns
    -------
    dict of str to Any
        Arguments of :class:`TransferResult` and :class:`EfficiencyResult`.
    """
    options = task.options
    return {
        "features": options.features,
        "C": options.C,
        "train": data.describe_training(task.train, task.train_views),
        "head": options.head,
        "scaling": task.scaling,
        "groups": task.groups,
        "keys": [dict(key.fields) for key in task.test_keys[0]],
        "notes": task.notes,
        "versions": {"featcache": __version__, "numpy": np.__version__},
    }
