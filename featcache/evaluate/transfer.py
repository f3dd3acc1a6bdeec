"""Other training sets from the same cache: each generator alone, and all but one.

All heads are fitted in one joint solve; every training set has its own scaling.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.errors import DataError
from featcache.evaluate import data
from featcache.evaluate.bench import Bench, Verdicts, check_plain, fit_members
from featcache.evaluate.options import ProbeOptions
from featcache.evaluate.saved import find_saved
from featcache.evaluate.study import Study, prepare
from featcache.metrics import interval
from featcache.probes.kinds import classes_needed
from featcache.results import Mean
from featcache.results.transfer import TransferCell, TransferResult

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

    Raises
    ------
    DataError
        If no training generator has the classes that the head needs.
    SettingsError
        If several values of C, several test views or late fusion are asked for.
    """
    start = time.perf_counter()
    check_plain(options)
    study = prepare(manifest, store, replace(options, validate=False))
    digest = study.digest(question="transfer")
    if saved := find_saved(kept or store.root, digest, TransferResult):
        return saved
    found = _judged(study)
    result = _describe(study, found)
    return replace(result, digest=digest, seconds=time.perf_counter() - start)


def _judged(study: Study) -> dict[str, dict[str, Verdicts]]:
    """Return what the head of each set shows, by kind of set and generator."""
    sets = training_sets(study)
    if not sets:
        raise DataError("No training generator has both reals and fakes of its own.")
    bench = Bench.of(study)
    logits = fit_members(study, list(sets.values()))
    found: dict[str, dict[str, Verdicts]] = {kind: {} for kind in SETS}
    for (kind, name), row in zip(sets, logits, strict=True):
        found[kind][name] = bench.judge(row, METRICS)
    return found


def training_sets(study: Study) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Return the members of each training set that has every class that the head needs."""
    serves = [set(study.serving[sample.sample_id]) for sample in study.train]
    labels = study.labels[: len(serves)]
    needed = classes_needed(study.options.head)
    sets: dict[tuple[str, str], NDArray[np.bool_]] = {}
    for name in sorted(set().union(*serves)):
        sets["each", name] = np.array([name in some for some in serves])
        sets["without", name] = np.array([bool(some - {name}) for some in serves])
    return {key: rows for key, rows in sets.items() if needed <= set(labels[rows].tolist())}


def _describe(study: Study, found: dict[str, dict[str, Verdicts]]) -> TransferResult:
    options = study.options
    training = data.describe_training(study.train, study.train_views)
    return TransferResult(
        features=options.features,
        C=options.C,
        each={name: _cells(one) for name, one in found["each"].items()},
        without={name: _cells(one) for name, one in found["without"].items()},
        unseen={
            kind: {name: _unseen(kind, name, one, training.generators) for name, one in row.items()}
            for kind, row in found.items()
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


def _unseen(kind: str, name: str, found: Verdicts, trained: list[str]) -> Mean:
    """Return the mean AP over the test generators that are not in the training set."""
    seen = {name} if kind == "each" else set(trained) - {name}
    return found.mean("ap", [other for other in found.points if other not in seen])


def _cells(found: Verdicts) -> dict[str, TransferCell]:
    return {
        name: TransferCell(
            ap=point["ap"],
            auroc=point["auroc"],
            acc=point["acc"],
            ap_ci=interval(found.draws[name]["ap"]),
            auroc_ci=interval(found.draws[name]["auroc"]),
            acc_ci=interval(found.draws[name]["acc"]),
        )
        for name, point in found.points.items()
    }
