"""How the mAP depends on the number of training samples, and on which of them are drawn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.errors import SettingsError
from featcache.evaluate.estimates import Estimates
from featcache.evaluate.options import ProbeOptions
from featcache.evaluate.results_store import find_saved
from featcache.evaluate.task import ProbeTask, prepare_task
from featcache.evaluate.transfer import (
    describe_task,
    estimate_heads,
    fit_training_sets,
    require_single_head,
)
from featcache.metrics import score_ci
from featcache.probes.base import classes_needed
from featcache.results import EfficiencyPoint, EfficiencyResult

SIZES = (10, 30, 100, 300, 1000, 3000, 10_000)
"""Default numbers of training samples per class, besides all samples."""


def efficiency(
    manifest: Manifest,
    store: FeatureStore,
    options: ProbeOptions,
    *,
    sizes: Sequence[int] = SIZES,
    n_seeds: int = 5,
    kept: Path | None = None,
) -> EfficiencyResult:
    """Compute a learning curve: the mAP at several training set sizes, and on all samples.

    Parameters
    ----------
    manifest : Manifest
        All samples.
    store : FeatureStore
        Must hold the features of all usable samples.
    options : ProbeOptions
        Options of every head; one value of C, one test view, no late fusion. ``seed`` is the seed
        of the first random subset.
    sizes : sequence of int > 0
        Samples per class; sizes that the training set does not reach are left out.
    n_seeds : int > 0
        Random subsets of each size.
    kept : Path, optional
        Cache in which a saved result is looked for; the store by default.

    Returns
    -------
    EfficiencyResult
        A point for each size, with interval and deviation over subsets.

    Raises
    ------
    SettingsError
        If a size is not positive, there are several values of C or test views, or late fusion.
    """
    start = time.perf_counter()
    if min(sizes, default=1) < 1 or n_seeds < 1:
        raise SettingsError("Sizes and the number of seeds must be positive.")
    require_single_head(options)
    sizes = sorted(set(sizes))
    task = prepare_task(manifest, store, replace(options, validate=False))
    digest = task.digest(question="efficiency", sizes=sizes, n_seeds=n_seeds)
    if saved := find_saved(kept or store.root, digest, EfficiencyResult):
        return saved
    points = _curve(task, sizes, n_seeds)
    seconds = time.perf_counter() - start
    return EfficiencyResult(**describe_task(task), points=points, digest=digest, seconds=seconds)


def _curve(task: ProbeTask, sizes: Sequence[int], n_seeds: int) -> list[EfficiencyPoint]:
    """Fit and evaluate a head for each size and seed, and one for all samples."""
    labels = task.train.labels
    classes = sorted(classes_needed(task.options.head))
    n_all = min(int((labels == label).sum()) for label in classes)
    subsets, members = [], []
    for n in (size for size in sizes if size < n_all):
        for seed in range(task.options.seed, task.options.seed + n_seeds):
            # A permutation per seed makes subsets nested: a smaller one is part of a larger one.
            rng, chosen = np.random.default_rng(seed), np.zeros(len(labels), bool)
            for label in classes:
                chosen[rng.permutation(np.flatnonzero(labels == label))[:n]] = True
            subsets.append(n)
            members.append(chosen)
    logits = fit_training_sets(task, [*members, np.ones(len(labels), bool)])
    estimates: dict[int, list[Estimates]] = {}
    for n, head in zip([*subsets, n_all], estimate_heads(task, logits, ("ap",)), strict=True):
        estimates.setdefault(n, []).append(head)
    points = []
    for n, heads in estimates.items():
        mAP = [head.mean("ap").value for head in heads]
        points.append(
            EfficiencyPoint(
                n=n,
                mAP=mAP,
                mean=float(np.mean(mAP)),
                deviation=float(np.std(mAP, ddof=1)) if len(mAP) > 1 else float("nan"),
                ci=score_ci(
                    "ap",
                    float(np.mean(mAP)),
                    np.mean([head.mean_replicates("ap") for head in heads], axis=0),
                    heads[0].n_sources(list(heads[0].values)),
                ),
                whole=n == n_all,
            )
        )
    return points
