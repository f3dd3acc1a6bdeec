"""What an extraction would cost: counts, bytes and, by taking a few images, time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from featcache.backbones import BackboneSpec
from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.extract.options import ExtractOptions
from featcache.extract.plan import group, make_requests
from featcache.extract.run import make_pipeline, n_bytes, plan_requests
from featcache.files import canonical_json

IMAGES_PER_THREAD = 4
"""Images that are taken to measure the rate, for each thread."""


def forecast(
    manifest: Manifest,
    specs: Sequence[BackboneSpec],
    store: FeatureStore,
    options: ExtractOptions,
) -> list[dict[str, Any]]:
    """Return what :func:`extract` would do: counts, shards and bytes; nothing is done.

    ``n_passes`` counts a pass that several taps of a network share once, in its first row.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.
    specs : Sequence[BackboneSpec]
        Specifications of the backbones.
    store : FeatureStore
        Feature store.
    options : ExtractOptions
        Settings; their own documentation names every field.

    Returns
    -------
    list[dict[str, Any]]
        What :func:`extract` would do.
    """
    requests = make_requests(specs, options)
    plans = plan_requests(manifest, requests, store, options)
    passes: dict[str, set[str]] = {}
    rows = []
    for request in requests:
        work = plans[request.id]
        missing = {name for job in work.jobs for name, _ in job.samples}
        # Taps of one network share the pass of an image: the first row counts it.
        forwarded = passes.setdefault(
            canonical_json([request.network, request.stream, request.preprocessing.to_key()]), set()
        )
        rows.append(
            {
                "backbone": request.key.name,
                "view": request.view.name,
                "key": request.id,
                "n_samples": work.n_samples,
                "n_cached": work.n_cached,
                "n_missing": work.n_missing,
                "n_passes": len(missing - forwarded),
                "n_shards": len(work.jobs),
                "n_bytes": n_bytes(work, request),
            }
        )
        forwarded |= missing
    return rows


def estimate_seconds(
    manifest: Manifest,
    specs: Sequence[BackboneSpec],
    store: FeatureStore,
    options: ExtractOptions,
) -> float:
    """Return how long :func:`extract` would take on this machine alone, in seconds.

    A few of the images that are missing go through the whole pipeline; nothing is kept.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.
    specs : Sequence[BackboneSpec]
        Specifications of the backbones.
    store : FeatureStore
        Feature store.
    options : ExtractOptions
        Settings; their own documentation names every field.

    Returns
    -------
    float
        How long :func:`extract` would take on this machine alone, in seconds.
    """
    requests = make_requests(specs, options)
    items = group(plan_requests(manifest, requests, store, options))
    if not items:
        return 0.0
    pipeline = make_pipeline(requests, options, store)
    longest = max(items, key=lambda item: (len(item.requests), len(item.job.samples)))
    pipeline.rehearse(longest, pipeline.threads)  # the first pass sets up what later ones reuse
    per_image = pipeline.rehearse(longest, IMAGES_PER_THREAD * pipeline.threads)
    per_pass = per_image / len(longest.requests)
    return per_pass * sum((len(item.job.samples) * len(item.requests)) for item in items)
