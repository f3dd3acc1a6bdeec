"""Other training sets from the same cache: each generator alone, all but one, few samples, other draws.

All heads of a question are fitted in one joint solve; every training set has its own scaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.errors import DataError, SettingsError
from featcache.evaluate.cells import Cell, fit_cells, logits_of
from featcache.evaluate.judge import judge
from featcache.evaluate.options import ProbeOptions
from featcache.evaluate.study import Study, prepare
from featcache.metrics import compute_metrics
from featcache.results.transfer import (
    EfficiencyPoint,
    EfficiencyResult,
    TransferCell,
    TransferResult,
)

SIZES = (10, 30, 100, 300, 1000, 3000, 10_000)
"""Training samples per class that a data-efficiency curve tries, besides all."""


def transfer(manifest: Manifest, store: FeatureStore, options: ProbeOptions) -> TransferResult:
    """Fit a head on each training generator alone and on all but it; test all on every generator.

    Parameters
    ----------
    manifest : Manifest
    store : FeatureStore
    options : ProbeOptions
        ``C`` holds for every head.

    Raises
    ------
    DataError
        If no training generator has both classes.
    """
    study = prepare(manifest, store, replace(options, validate=False))
    serves = np.array([sample.serves for sample in study.train])
    labels = study.labels[: len(serves)]
    sets: dict[tuple[str, str], NDArray[np.bool_]] = {}
    for name in sorted(set(serves.tolist())):
        sets["each", name] = serves == name
        sets["without", name] = serves != name
    good = {k: rows for k, rows in sets.items() if len(set(labels[rows].tolist())) == 2}
    if not good:
        raise DataError("No training generator has both reals and fakes of its own.")
    logits = _fit(study, list(good.values()))
    found: dict[str, dict[str, dict[str, TransferCell]]] = {"each": {}, "without": {}}
    for (kind, name), row in zip(good, logits, strict=True):
        found[kind][name] = _cells(study, row)
    return TransferResult(
        features=options.features, C=options.C, notes=study.notes,
        each=found["each"], without=found["without"],
    )  # fmt: skip


def efficiency(
    manifest: Manifest,
    store: FeatureStore,
    options: ProbeOptions,
    *,
    sizes: Sequence[int] = SIZES,
    n_seeds: int = 5,
) -> EfficiencyResult:
    """Fit heads on few training samples per class, with several draws of each number, and on all.

    Raises
    ------
    SettingsError
        If a size is not positive.
    """
    if min(sizes, default=1) < 1 or n_seeds < 1:
        raise SettingsError("Sizes and the number of seeds must be positive.")
    study = prepare(manifest, store, replace(options, validate=False))
    labels = study.labels[: len(study.train)]
    most = int(min((labels == 0).sum(), (labels == 1).sum()))
    wanted = [(n, seed) for n in sorted(set(sizes)) if n < most for seed in range(n_seeds)]
    rows = [_draw(labels, n, options.seed + seed) for n, seed in wanted]
    logits = _fit(study, [*rows, np.ones(len(labels), bool)])
    values = [_mean_ap(study, row) for row in logits]
    by_size: dict[int, list[float]] = {}
    for (n, _), value in zip([*wanted, (most, 0)], values, strict=True):
        by_size.setdefault(n, []).append(value)
    points = [
        EfficiencyPoint(
            n=n,
            mAP=found,
            mean=float(np.mean(found)),
            deviation=float(np.std(found, ddof=1)) if len(found) > 1 else float("nan"),
        )
        for n, found in by_size.items()
    ]
    return EfficiencyResult(
        features=options.features, C=options.C, points=points, notes=study.notes
    )


def _draw(labels: NDArray[np.int64], n: int, seed: int) -> NDArray[np.bool_]:
    """Return n samples of each class; a smaller n takes a part of a larger one of the same seed."""
    rng, chosen = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in (0, 1):
        chosen[rng.permutation(np.flatnonzero(labels == label))[:n]] = True
    return chosen


def _fit(study: Study, members: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Fit one head for each training set; return the logits of the test samples."""
    options = study.options
    everything = tuple(range(len(options.features)))
    cells = [Cell(everything, options.C, task) for task in range(len(members))]
    tasks = np.tile(np.array(members, dtype=float), (1, len(study.train_views)))
    fits = fit_cells(
        study.train_rows(),
        study.labels,
        tasks,
        cells,
        head=options.head,
        scaling=options.scaling,
        memory=options.memory,
        engine=study.engine(),
        units=study.units,
        k=options.k,
        seed=options.seed,
    )
    return logits_of(study.test_rows(), cells, fits)


def _cells(study: Study, logits: NDArray[np.float64]) -> dict[str, TransferCell]:
    options = study.options
    judged = judge(
        study.scores(logits),
        study.groups,
        threshold=options.threshold,
        n_resamples=options.n_resamples,
        seed=options.seed,
    )
    return {
        name: TransferCell(
            ap=found.ap, auroc=found.auroc, acc=found.acc,
            ap_ci=found.ap_ci, auroc_ci=found.auroc_ci, acc_ci=found.acc_ci,
        )
        for name, found in judged.generators.items()
    }  # fmt: skip


def _mean_ap(study: Study, logits: NDArray[np.float64]) -> float:
    scores, values = study.scores(logits), []
    for name, group in study.groups.items():
        at = scores.generator == name
        if group != "control":
            values.append(compute_metrics(scores.label[at], scores.score[at], 0.5)["ap"])
    return float(np.mean(values))
