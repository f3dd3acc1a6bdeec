"""How much training data a head needs, and how much its numbers depend on the draw, from the
same cache.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.errors import SettingsError
from featcache.evaluate import data
from featcache.evaluate.options import ProbeOptions
from featcache.evaluate.results_store import find_saved
from featcache.evaluate.task import ProbeTask, prepare_task
from featcache.evaluate.transfer import MatrixScorer, MatrixScores, check_plain, fit_members
from featcache.metrics import percentile_ci
from featcache.probes.base import classes_needed
from featcache.results.transfer import EfficiencyPoint, EfficiencyResult

SIZES = (10, 30, 100, 300, 1000, 3000, 10_000)
"""Training samples per class that a data-efficiency curve tries, besides all."""


def efficiency(
    manifest: Manifest,
    store: FeatureStore,
    options: ProbeOptions,
    *,
    sizes: Sequence[int] = SIZES,
    n_seeds: int = 5,
    kept: Path | None = None,
) -> EfficiencyResult:
    """Fit heads on few training samples per class, with several draws of each number, and on all.

    Parameters
    ----------
    manifest : Manifest
    store : FeatureStore
    options : ProbeOptions
        ``seed`` is the first of the draws'.
    sizes : sequence of int > 0
        Samples per class; those that the training set does not have are left out.
    n_seeds : int > 0
        Draws of each size.
    kept : Path, optional
        Folder below which a saved answer is looked for; the store by default.

    Returns
    -------
    EfficiencyResult

    Raises
    ------
    SettingsError
        If a size is not positive, or several values of C, several test views or late fusion are
        asked for.
    """
    start = time.perf_counter()
    if min(sizes, default=1) < 1 or n_seeds < 1:
        raise SettingsError("Sizes and the number of seeds must be positive.")
    check_plain(options)
    study = prepare_task(manifest, store, replace(options, validate=False))
    question = {"question": "efficiency", "sizes": sorted(set(sizes)), "n_seeds": n_seeds}
    digest = study.digest(**question)
    if saved := find_saved(kept or store.root, digest, EfficiencyResult):
        return saved
    result = _describe(study, _curve(study, sorted(set(sizes)), n_seeds))
    return replace(result, digest=digest, seconds=time.perf_counter() - start)


def _curve(study: ProbeTask, sizes: Sequence[int], n_seeds: int) -> list[EfficiencyPoint]:
    labels = study.labels[: len(study.train)]
    needed = sorted(classes_needed(study.options.head))
    most = min(int((labels == label).sum()) for label in needed)
    draws_of_size = [(n, seed) for n in sizes if n < most for seed in range(n_seeds)]
    members = [_draw(labels, needed, n, study.options.seed + seed) for n, seed in draws_of_size]
    logits = fit_members(study, [*members, np.ones(len(labels), bool)])
    scorer = MatrixScorer.of(study)
    scores_of_size: dict[int, list[MatrixScores]] = {}
    for (n, _), row in zip([*draws_of_size, (most, 0)], logits, strict=True):
        scores_of_size.setdefault(n, []).append(scorer.score(row, ("ap",)))
    return [_point(n, verdicts, all_samples=n == most) for n, verdicts in scores_of_size.items()]


def _draw(
    labels: NDArray[np.int64], classes: Sequence[int], n: int, seed: int
) -> NDArray[np.bool_]:
    """Return n samples of each class; a smaller n takes a part of a larger one of the same seed."""
    rng, chosen = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in classes:
        chosen[rng.permutation(np.flatnonzero(labels == label))[:n]] = True
    return chosen


def _point(n: int, scores: Sequence[MatrixScores], all_samples: bool) -> EfficiencyPoint:
    values = [one.mean("ap").value for one in scores]
    replicates = np.mean([one.mean_draws("ap") for one in scores], axis=0)
    return EfficiencyPoint(
        n=n,
        mAP=values,
        mean=float(np.mean(values)),
        deviation=float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"),
        ci=percentile_ci(replicates),
        whole=all_samples,
    )


def _describe(study: ProbeTask, points: list[EfficiencyPoint]) -> EfficiencyResult:
    options = study.options
    return EfficiencyResult(
        features=options.features,
        C=options.C,
        points=points,
        train=data.describe_training(study.train, study.train_views),
        head=options.head,
        scaling=options.scaling if options.head == "logistic" else "own",
        groups=study.groups,
        keys=[dict(key.fields) for key in study.test_keys[0]],
        notes=study.notes,
        versions={"featcache": __version__, "numpy": np.__version__},
    )
