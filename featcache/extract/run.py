"""Fill the store with what the data lack: plan, then shard by shard load, forward and write."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featcache._version import __version__
from featcache.backbones import BackboneSpec, Preprocessing, choose_preset
from featcache.cache import FeatureKey, FeatureStore, Rows
from featcache.datasets import Manifest
from featcache.errors import DataError
from featcache.extract.forward import Forward
from featcache.extract.load import Loaded, load_batches
from featcache.extract.plan import Plan, ShardJob, plan
from featcache.hashing import digest_file
from featcache.progress import Advance, progress

NOT_FINITE = "the backbone gives NaN or Inf for it"
CLEAN_VIEW = {"name": "clean", "steps": []}


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """How features are made.

    Parameters
    ----------
    preset, precision, device : str
    batch_size, shard_rows : int
    workers : int
        Decoding threads; 0 means one per core.
    strict : bool
        Stop at the first image that cannot be used.
    """

    preset: str = "univfd"
    precision: str = "fp32"
    device: str = "auto"
    batch_size: int = 32
    shard_rows: int = 1024
    workers: int = 0
    strict: bool = False


@dataclass(frozen=True)
class Reject:
    """An image that gives no feature, and why."""

    path: str
    sample_id: str
    reason: str


@dataclass(kw_only=True)
class ExtractSummary:
    """What one backbone's extraction did; times in seconds."""

    backbone: str
    key: FeatureKey
    n_samples: int = 0
    n_cached: int = 0
    n_forwarded: int = 0
    n_padded: int = 0
    n_shards: int = 0
    seconds: float = 0.0
    device: str = ""
    precision: str = ""
    rejects: list[Reject] = field(default_factory=list)


def feature_key(spec: BackboneSpec, options: ExtractOptions) -> FeatureKey:
    """Return the identity of the features that a backbone makes under these options.

    Raises
    ------
    WeightsError
        If the weights are missing: features of unknown origin are not made.
    """
    preprocessing = choose_preset(options.preset, spec.native)
    return FeatureKey(
        {
            "backbone": spec.name,
            "architecture": spec.architecture,
            "weights": f"blake2b:{digest_file(spec.find_weights())}",
            "tap": spec.tap,
            "preprocessing": preprocessing.to_key(),
            "precision": options.precision,
            "dtype": "float32",
            "view": CLEAN_VIEW,
        }
    )


def extract(
    manifest: Manifest, spec: BackboneSpec, store: FeatureStore, options: ExtractOptions
) -> ExtractSummary:
    """Make the features that are missing.

    Parameters
    ----------
    manifest : Manifest
        The images; each content goes through the backbone once, whatever the number of its copies.
    spec : BackboneSpec
    store : FeatureStore
    options : ExtractOptions

    Returns
    -------
    ExtractSummary
        With every image of the manifest that has no feature, in ``rejects``.

    Raises
    ------
    DataError
        With ``strict``, at the first image that cannot be used.
    StoreError
        If the disk says no. Finished shards are kept.
    """
    key = feature_key(spec, options)
    if options.strict:
        _refuse_problems(manifest)
    work = _plan(manifest, key, store, options)
    summary = ExtractSummary(
        backbone=spec.name,
        key=key,
        n_samples=work.n_samples,
        n_cached=work.n_cached,
        precision=options.precision,
    )
    start = time.perf_counter()
    passing = _run(work, spec, key, store, options, summary) if work.jobs else {}
    summary.seconds = time.perf_counter() - start
    summary.rejects = _rejects(manifest, store.rejects(key), passing)
    if options.strict and summary.rejects:
        raise _refusal(summary.rejects[0])
    return summary


def forecast(
    manifest: Manifest, spec: BackboneSpec, store: FeatureStore, options: ExtractOptions
) -> dict[str, Any]:
    """Return what :func:`extract` would do: counts, shards and bytes; nothing is done."""
    key = feature_key(spec, options)
    work = _plan(manifest, key, store, options)
    return {
        "backbone": spec.name,
        "key": key.fingerprint,
        "n_samples": work.n_samples,
        "n_cached": work.n_cached,
        "n_missing": work.n_missing,
        "n_shards": len(work.jobs),
        "n_bytes": work.n_missing * (4 * spec.n_features + 32),
    }


def _plan(
    manifest: Manifest, key: FeatureKey, store: FeatureStore, options: ExtractOptions
) -> Plan:
    return plan(manifest, store.samples(key) | set(store.rejects(key)), options.shard_rows)


def _run(
    work: Plan,
    spec: BackboneSpec,
    key: FeatureKey,
    store: FeatureStore,
    options: ExtractOptions,
    summary: ExtractSummary,
) -> dict[str, str]:
    """Do the jobs; return the samples that could not be read this time, with the reason."""
    store.prepare(key)
    preprocessing = choose_preset(options.preset, spec.native)
    forward = Forward(spec, preprocessing, options.device, options.precision)
    summary.device = str(forward.device)
    writer = writer_versions()
    passing: dict[str, str] = {}
    threads = options.workers or os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool, progress(spec.name, work.n_missing) as advance:
        for job in work.jobs:
            shard = _ShardWork(job, spec.n_features, options, summary, passing)
            rows = shard.run(forward, preprocessing, pool, advance)
            if rows.ids or rows.rejects:
                store.write(key, job.name, rows, writer)
                summary.n_shards += 1
    return passing


@dataclass
class _ShardWork:
    """One shard in the making."""

    job: ShardJob
    n_features: int
    options: ExtractOptions
    summary: ExtractSummary
    passing: dict[str, str]
    ids: list[str] = field(default_factory=list)
    blocks: list[np.ndarray] = field(default_factory=list)
    rejects: dict[str, str] = field(default_factory=dict)

    def run(
        self,
        forward: Forward,
        preprocessing: Preprocessing,
        pool: ThreadPoolExecutor,
        advance: Advance,
    ) -> Rows:
        """Return the rows of the shard."""
        for batch in load_batches(self._batches(), preprocessing, pool):
            good = [item for item in batch if self._usable(item)]
            pixels = [item.pixels for item in good if item.pixels is not None]
            if pixels:
                self._keep(good, forward(np.stack(pixels)))
            advance(len(batch))
        empty = np.empty((0, self.n_features), np.float32)
        return Rows(self.ids, np.concatenate([empty, *self.blocks]), self.rejects)

    def _batches(self) -> Iterator[tuple[tuple[str, str], ...]]:
        """Cut the job at fixed places, so that a resumed run repeats the same batches."""
        size = self.options.batch_size
        for start in range(0, len(self.job.samples), size):
            yield self.job.samples[start : start + size]

    def _usable(self, item: Loaded) -> bool:
        if item.pixels is None:
            self._reject(item, item.reason, item.lasting)
        self.summary.n_padded += item.padded
        return item.pixels is not None

    def _keep(self, items: list[Loaded], features: np.ndarray) -> None:
        finite = np.isfinite(features).all(axis=1)
        for item, ok in zip(items, finite, strict=True):
            if ok:
                self.ids.append(item.sample_id)
            else:
                self._reject(item, NOT_FINITE, lasting=True)
        self.blocks.append(features[finite])
        self.summary.n_forwarded += len(items)

    def _reject(self, item: Loaded, reason: str, lasting: bool) -> None:
        if self.options.strict:
            raise _refusal(Reject(item.path, item.sample_id, reason))
        (self.rejects if lasting else self.passing)[item.sample_id] = reason


def _rejects(manifest: Manifest, lasting: dict[str, str], passing: dict[str, str]) -> list[Reject]:
    """Return every file of the manifest that has no feature, also copies, in the manifest's order."""
    reasons = lasting | passing
    rejects = []
    for sample in manifest:
        reason = sample.problem or reasons.get(sample.sample_id, "")
        if reason:
            rejects.append(Reject(sample.path, sample.sample_id, reason))
    return rejects


def _refuse_problems(manifest: Manifest) -> None:
    for sample in manifest:
        if sample.problem:
            raise _refusal(Reject(sample.path, "", sample.problem))


def _refusal(reject: Reject) -> DataError:
    return DataError(
        f"{reject.path!r}: {reject.reason}. "
        "Mend or remove the file, or run without --strict to go on without it."
    )


def writer_versions() -> dict[str, str]:
    """Return the versions of all that shapes a feature, to be kept beside it."""
    import PIL
    import timm
    import torch

    return {
        "featcache": __version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "timm": timm.__version__,
        "torch": torch.__version__,
    }
