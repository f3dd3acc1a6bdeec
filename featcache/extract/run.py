"""Fill the store with what the data lack: plan, hand the work to an engine, sum up what it did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.backbones import BackboneSpec
from featcache.cache import FeatureStore
from featcache.cache.jobs import record_job
from featcache.datasets import Manifest
from featcache.engines import open_engine
from featcache.extract.concurrency import wait_for_others, without_items
from featcache.extract.options import ExtractOptions
from featcache.extract.plan import Plan, Request, group, make_requests, plan
from featcache.extract.results import ExtractSummary, ItemReport, Reject, RunReport, refusal
from featcache.files import check_room
from featcache.progress import progress

if TYPE_CHECKING:
    from featcache.extract.pipeline import Pipeline

Plans = dict[str, Plan]


def extract(
    manifest: Manifest,
    specs: Sequence[BackboneSpec],
    store: FeatureStore,
    options: ExtractOptions,
    on_event: Callable[[dict[str, Any]], object] = lambda event: None,
) -> list[ExtractSummary]:
    """Make the features that are missing, reading each image once for all backbones and views.

    Parameters
    ----------
    manifest : Manifest
        The images; each content goes through a backbone once, whatever the number of its copies.
    specs : sequence of BackboneSpec
    store : FeatureStore
    options : ExtractOptions
    on_event : callable, optional
        Is told what happens, as plain data: ``started``, ``progress`` after each shard of images,
        ``finished`` or ``failed``.

    Returns
    -------
    list of ExtractSummary
        One for each backbone and view, with every image of the manifest that has no feature; all
        share one RunReport.

    Raises
    ------
    DataError
        With ``strict``, at the first image that cannot be used.
    StoreError
        If the disk says no. Finished shards are kept.
    """
    requests = make_requests(specs, options)
    if options.strict:
        for sample in manifest:
            if sample.problem:
                raise refusal(Reject(sample.path, "", sample.problem))
    plans = plan_requests(manifest, requests, store, options)
    run = RunReport(engine=options.engine)
    summaries = {request.id: _summary(request, plans[request.id], run) for request in requests}
    n_images = sum(len(item.job.samples) for item in group(plans))
    n_shards = sum(len(work.jobs) for work in plans.values())
    on_event({"event": "started", "n_images": n_images, "n_shards": n_shards})
    start, n_done = time.perf_counter(), 0
    try:
        for report in _reports(requests, plans, store, options, run):
            run.add(report)
            for name in report.forwarded:
                summaries[name].add(report)
            n_done += report.n_images
            rate = n_done / (time.perf_counter() - start)
            on_event(
                {
                    "event": "progress",
                    "n_done": n_done,
                    "n_images": n_images,
                    "images_per_s": rate,
                    "seconds_left": (n_images - n_done) / (rate or 1),
                }
            )
    except BaseException as error:
        on_event(
            {
                "event": "failed",
                "n_done": n_done,
                "n_images": n_images,
                "reason": str(error) or type(error).__name__,
            }
        )
        raise
    for summary in summaries.values():
        reasons = store.rejects(summary.key) | summary.unread
        summary.rejects = _rejects(manifest, reasons)
        if options.strict and summary.rejects:
            raise refusal(summary.rejects[0])
    n_rejected = sum(len(summary.rejects) for summary in summaries.values())
    on_event(
        {
            "event": "finished",
            "n_done": n_done,
            "n_images": n_images,
            "n_rejected": n_rejected,
            "seconds": time.perf_counter() - start,
        }
    )
    return list(summaries.values())


def n_bytes(work: Plan, request: Request) -> int:
    """Return what the missing features of a request will take on disk.

    Parameters
    ----------
    work : Plan
        Planned work.
    request : Request
        Requested feature.

    Returns
    -------
    int
        What the missing features of a request will take on disk.
    """
    return work.n_missing * (request.dtype.itemsize * request.spec.n_features + 32)


def plan_requests(
    manifest: Manifest, requests: list[Request], store: FeatureStore, options: ExtractOptions
) -> Plans:
    """Return the plan of every request, by its id.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.
    requests : list[Request]
        Requested features.
    store : FeatureStore
        Feature store.
    options : ExtractOptions
        Settings; their own documentation names every field.

    Returns
    -------
    Plans
        The plan of every request, by its id.
    """
    plans = {}
    for request in requests:
        rejected = np.array(list(store.rejects(request.key)), "S32")
        known = np.union1d(store.index(request.key).ids, rejected)
        plans[request.id] = plan(manifest, known, options.shard_rows, options.part)
    return plans


def _reports(
    requests: list[Request],
    plans: Plans,
    store: FeatureStore,
    options: ExtractOptions,
    run: RunReport,
) -> Iterator[ItemReport]:
    """Do the work on the engine; yield a report of each item and close the report of the run."""
    items = group(plans)
    if not items:
        return
    needed = [request for request in requests if plans[request.id].jobs]
    check_room(
        store.root,
        sum(n_bytes(plans[request.id], request) for request in needed),
        "the features that are missing",
    )
    for request in needed:
        store.prepare(request.key)
    engine = open_engine(options.engine, workers=options.processes, address=options.address)
    local = options.engine == "local"
    start, on_cpu = time.perf_counter(), True
    n_images = sum(len(item.job.samples) for item in items)
    planned = {
        request.key: {job.name: len(job.samples) for job in plans[request.id].jobs}
        for request in needed
    }
    part = "/".join(map(str, options.part))
    with (
        record_job(store, planned, part),
        progress(_title(needed), n_images, note=run.so_far) as advance,
    ):
        # Other processes open the store for themselves and tell their progress item by item.
        make = partial(
            make_pipeline, needed, options, *((store, advance) if local else (store.root,))
        )
        while items:
            passed = []
            for item, report in engine.run(make, items):
                on_cpu = report.on_cpu
                if not local:
                    advance(report.n_images)
                passed.append(without_items(item, report.forwarded))
                yield report
            items = wait_for_others(passed, {r.id: r.key for r in needed}, store)
    run.workers = engine.n_workers
    run.finish(time.perf_counter() - start, on_cpu)


def make_pipeline(
    requests: Sequence[Request],
    options: ExtractOptions,
    store: FeatureStore | Path,
    advance: Callable[[int], object] = lambda n: None,
) -> Pipeline:
    """Load the networks in the process that is to compute.

    Parameters
    ----------
    requests : Sequence[Request]
        Requested features.
    options : ExtractOptions
        Settings; their own documentation names every field.
    store : FeatureStore | Path
        Feature store.
    advance : Callable[[int], object]
        Called with the number of finished items.

    Returns
    -------
    Pipeline
    """
    start = time.perf_counter()
    from featcache.extract.pipeline import Pipeline

    opened = FeatureStore(store) if isinstance(store, Path) else store
    pipeline = Pipeline(requests, opened, options, advance)
    pipeline.started(time.perf_counter() - start)
    return pipeline


def _title(requests: Sequence[Request]) -> str:
    """Return what the progress line is about."""
    names = dict.fromkeys(request.key.name for request in requests)
    views = dict.fromkeys(request.view.name for request in requests)
    many = f" x {len(views)} views" if len(views) > 1 else ""
    return ", ".join(names) + many


def _summary(request: Request, work: Plan, run: RunReport) -> ExtractSummary:
    return ExtractSummary(
        backbone=request.key.name,
        view=request.view.name,
        preset=request.preprocessing.preset,
        precision=request.precision,
        key=request.key,
        run=run,
        n_samples=work.n_samples,
        n_cached=work.n_cached,
        n_missing=work.n_missing,
    )


def _rejects(manifest: Manifest, reasons: dict[str, str]) -> list[Reject]:
    """Return every file of the manifest that has no feature, also copies, in the manifest's
    order.
    """
    bad = ~manifest.is_text("problem", "") | manifest.is_text("sample_id", *reasons)
    return [Reject(s.path, s.sample_id, s.problem or reasons[s.sample_id])
            for s in manifest.subset(bad)]  # fmt: skip
