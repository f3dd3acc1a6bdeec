"""Fill the store with what the data lack: plan, then item by item load, forward and write."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from featcache._version import __version__
from featcache.backbones import BackboneSpec
from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.extract.options import ExtractOptions
from featcache.extract.plan import Plan, group, plan
from featcache.extract.requests import Request, make_requests
from featcache.extract.summary import ExtractSummary, Reject
from featcache.extract.work import Done, Worker, refusal
from featcache.progress import progress


def extract(
    manifest: Manifest,
    specs: Sequence[BackboneSpec],
    store: FeatureStore,
    options: ExtractOptions,
) -> list[ExtractSummary]:
    """Make the features that are missing, reading each image once for all backbones and views.

    Parameters
    ----------
    manifest : Manifest
        The images; each content goes through a backbone once, whatever the number of its copies.
    specs : sequence of BackboneSpec
    store : FeatureStore
    options : ExtractOptions

    Returns
    -------
    list of ExtractSummary
        One for each backbone and view, with every image of the manifest that has no feature.

    Raises
    ------
    DataError
        With ``strict``, at the first image that cannot be used.
    StoreError
        If the disk says no. Finished shards are kept.
    """
    requests = make_requests(specs, options)
    if options.strict:
        _refuse_problems(manifest)
    plans = _plans(manifest, requests, store, options)
    summaries = {request.id: _summary(request, plans[request.id]) for request in requests}
    start = time.perf_counter()
    passing = _run(plans, requests, store, options, summaries)
    seconds = time.perf_counter() - start
    for request in requests:
        summary = summaries[request.id]
        summary.seconds = seconds if summary.n_forwarded else 0.0
        reasons = store.rejects(request.key) | passing.get(request.id, {})
        summary.rejects = _rejects(manifest, reasons)
        if options.strict and summary.rejects:
            raise refusal(summary.rejects[0])
    return list(summaries.values())


def forecast(
    manifest: Manifest,
    specs: Sequence[BackboneSpec],
    store: FeatureStore,
    options: ExtractOptions,
) -> list[dict[str, Any]]:
    """Return what :func:`extract` would do: counts, shards and bytes; nothing is done."""
    requests = make_requests(specs, options)
    plans = _plans(manifest, requests, store, options)
    return [
        {
            "backbone": request.key.name,
            "view": request.view.name,
            "key": request.id,
            "n_samples": plans[request.id].n_samples,
            "n_cached": plans[request.id].n_cached,
            "n_missing": plans[request.id].n_missing,
            "n_shards": len(plans[request.id].jobs),
            "n_bytes": plans[request.id].n_missing * (4 * request.spec.n_features + 32),
        }
        for request in requests
    ]


def _plans(
    manifest: Manifest, requests: list[Request], store: FeatureStore, options: ExtractOptions
) -> dict[str, Plan]:
    """Return the plan of every request, by its id."""
    plans = {}
    for request in requests:
        known = store.samples(request.key) | set(store.rejects(request.key))
        plans[request.id] = plan(manifest, known, options.shard_rows, options.part)
    return plans


def _summary(request: Request, work: Plan) -> ExtractSummary:
    return ExtractSummary(
        backbone=request.key.name,
        view=request.view.name,
        preset=request.preprocessing.preset,
        precision=request.precision,
        key=request.key,
        n_samples=work.n_samples,
        n_cached=work.n_cached,
        n_missing=work.n_missing,
    )


def _run(
    plans: dict[str, Plan],
    requests: list[Request],
    store: FeatureStore,
    options: ExtractOptions,
    summaries: dict[str, ExtractSummary],
) -> dict[str, dict[str, str]]:
    """Do the work; return by request the samples that could not be read this time, and why."""
    items = group(plans)
    if not items:
        return {}
    needed = [request for request in requests if plans[request.id].jobs]
    for request in needed:
        store.prepare(request.key)
    passing: dict[str, dict[str, str]] = {request.id: {} for request in needed}
    title = needed[0].key.name if len(needed) == 1 else f"{len(needed)} features"
    n_images = sum(len(item.job.samples) for item in items)
    with (
        ThreadPoolExecutor(options.workers or os.cpu_count() or 1) as pool,
        progress(title, n_images) as advance,
    ):
        worker = Worker(needed, options, pool)
        for item in items:
            done = worker.run(item, advance)
            _commit(done, store, summaries, str(worker.device))
            for shard in done.shards:
                passing[shard.request.id] |= done.passing
    return passing


def _commit(
    done: Done, store: FeatureStore, summaries: dict[str, ExtractSummary], device: str
) -> None:
    """Write the shards of one item and count them."""
    for shard in done.shards:
        rows, summary = shard.rows(), summaries[shard.request.id]
        if rows.ids or rows.rejects:
            store.write(shard.request.key, done.item.job.name, rows, writer_versions())
            summary.n_shards += 1
        summary.n_forwarded += shard.n_forwarded
        summary.n_padded += shard.n_padded
        summary.device = device


def _rejects(manifest: Manifest, reasons: dict[str, str]) -> list[Reject]:
    """Return every file of the manifest that has no feature, also copies, in the manifest's order."""
    rejects = []
    for sample in manifest:
        reason = sample.problem or reasons.get(sample.sample_id, "")
        if reason:
            rejects.append(Reject(sample.path, sample.sample_id, reason))
    return rejects


def _refuse_problems(manifest: Manifest) -> None:
    for sample in manifest:
        if sample.problem:
            raise refusal(Reject(sample.path, "", sample.problem))


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
