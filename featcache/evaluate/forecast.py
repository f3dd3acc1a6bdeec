"""What a probe or an ablation would cost: rows, heads, memory, and about how long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.evaluate.ablation import feature_sets_of, probe_variants
from featcache.evaluate.feature_rows import FREE_SHARE, open_rows
from featcache.evaluate.fitting import FeatureSet, head_specs
from featcache.evaluate.options import AblateOptions, ProbeOptions
from featcache.evaluate.task import ProbeTask, prepare_task
from featcache.threads import available_memory

N_PASSES = 40
"""Passes over the training rows that a joint solve takes, rounded: 15 iterations of 720,000 rows
took 38."""

N_SAMPLED = 4096
"""Rows that are read and multiplied to measure the rates."""


@dataclass(frozen=True, kw_only=True)
class ProbeForecast:
    """What one solve would cost.

    Parameters
    ----------
    train, features, views, head : list of str, or str
        The training generators, the features, the training views and the kind of head.
    n_train, n_val, n_test : int
        Rows to fit, to validate and to score.
    n_columns : int
        Columns of all features.
    n_generators : int
        Test sets.
    n_heads : int
        Heads of the solve: feature sets x values of C x folds.
    n_bytes : int
        Bytes of the features in memory, training and test.
    memory : int
        Bytes that the fit needs with its features in memory.
    available : int
        Bytes that are free, or the limit that was given.
    streamed : bool
        Whether features are read again for every pass.
    seconds : float
        About how long reading and fitting take; NaN for heads other than ``logistic``.
    """

    train: list[str]
    features: list[str]
    views: list[str]
    head: str
    n_train: int
    n_val: int
    n_test: int
    n_columns: int
    n_generators: int
    n_heads: int
    n_bytes: int
    memory: int
    available: int
    streamed: bool
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data.

        Returns
        -------
        dict
        """
        return asdict(self)


def forecast_probe(
    manifest: Manifest, store: FeatureStore, options: ProbeOptions
) -> list[ProbeForecast]:
    """Return what :func:`~featcache.evaluate.run_probe` would cost, as a list of one.

    Parameters
    ----------
    manifest : Manifest
    store : FeatureStore
    options : ProbeOptions

    Returns
    -------
    list of ProbeForecast

    Raises
    ------
    DataError
        If the probe itself would refuse its samples.
    MissingFeaturesError
        If a feature, or a sample of it, is not in the store.
    """
    task = prepare_task(manifest, store, options)
    return [_forecast(task, [task.all_features])]


def forecast_ablation(
    manifest: Manifest, store: FeatureStore, options: AblateOptions
) -> list[ProbeForecast]:
    """Return what :func:`~featcache.evaluate.ablate` would cost, a row for each joint solve.

    Parameters
    ----------
    manifest : Manifest
    store : FeatureStore
    options : AblateOptions

    Returns
    -------
    list of ProbeForecast
        One for each training set, training view and kind of head.

    Raises
    ------
    DataError
        If the ablation itself would refuse its samples.
    MissingFeaturesError
        If a feature, or a sample of it, is not in the store.
    SettingsError
        If there are too many subsets.
    """
    feature_sets = feature_sets_of(options)
    tasks = [prepare_task(manifest, store, probe) for probe in probe_variants(options)]
    return [_forecast(task, feature_sets) for task in tasks]


def _forecast(task: ProbeTask, feature_sets: Sequence[FeatureSet]) -> ProbeForecast:
    options, n_columns = task.options, sum(task.widths)
    n_heads = len(head_specs(task, feature_sets)[1])
    n_train, n_test = len(task.train) * len(task.train_views), len(task.test_ids())
    memory = task.fit_bytes(n_heads)
    available = options.memory or available_memory()
    streamed = memory > (available // 2 if options.memory else FREE_SHARE * available)
    logistic = options.head == "logistic"
    return ProbeForecast(
        train=list(options.train),
        features=list(options.features),
        views=list(task.train_views),
        head=options.head,
        n_train=n_train,
        n_val=len(task.val),
        n_test=n_test,
        n_columns=n_columns,
        n_generators=len(task.tests),
        n_heads=n_heads,
        n_bytes=4 * n_columns * (n_train + n_test),
        memory=memory,
        available=available,
        streamed=streamed,
        seconds=_seconds(task, n_train, n_test, n_heads, streamed) if logistic else float("nan"),
    )


def _seconds(task: ProbeTask, n_train: int, n_test: int, n_heads: int, streamed: bool) -> float:
    """Return the seconds of reading and fitting, by the rates of a few rows."""
    ids = task.train.strings("sample_id")[:N_SAMPLED]
    start = time.perf_counter()
    source = open_rows(task.store, task.train_keys[:1], ids, None)
    _, blocks = next(iter(source.chunks(task.all_features)))
    read = (time.perf_counter() - start) / len(ids)
    X: NDArray[Any] = np.concatenate(blocks, axis=1)
    W: NDArray[Any] = np.ones((X.shape[1], n_heads), X.dtype)
    start = time.perf_counter()
    X.T @ (X @ W)
    product = (time.perf_counter() - start) / len(ids)
    n_reads = N_PASSES * n_train + n_test if streamed else n_train + n_test
    return float(n_reads * read + (N_PASSES * n_train + n_test) * product)
