"""A feature and its samples as row-aligned arrays, for other programs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest
from featcache.errors import MissingFeaturesError
from featcache.evaluate.data import labels
from featcache.files import printable, write_atomic
from featcache.metrics import METRICS
from featcache.results import AblationResult


def export_npz(
    manifest: Manifest, store: FeatureStore, key: FeatureKey, path: Path
) -> tuple[int, int]:
    """Write one feature and its samples as row-aligned arrays.

    Parameters
    ----------
    manifest : Manifest
    store : FeatureStore
    key : FeatureKey
    path : Path
        Arrays ``features`` (N, D) float32, ``label`` (N,) int64, and as plain strings ``sample_id``,
        ``path``, ``generator``, ``split``, ``source``, ``serves`` (the generator whose set a real
        belongs to). One row per file that has a feature.

    Returns
    -------
    (int, int)
        Rows and features.
    """
    have = store.samples(key)
    samples = [sample for sample in manifest if sample.sample_id in have]
    if not samples:
        raise MissingFeaturesError(f"No image of the manifests has the feature {key.name!r}.")
    features = store.read(key, [sample.sample_id for sample in samples])
    names = ("sample_id", "path", "generator", "split", "source", "serves")
    texts = {name: np.array([printable(getattr(s, name)) for s in samples]) for name in names}
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"features": features, "label": labels(samples), **texts}
    np.savez(buffer, **arrays)
    write_atomic(path, buffer.getvalue())
    return features.shape[0], features.shape[1]


def write_ablation_csv(result: AblationResult, path: Path) -> Path:
    """Write one row per feature set: features, C, the mean of every metric with its interval, p-values.

    Returns
    -------
    Path
        The file, absolute.
    """
    means = [name for metric in METRICS for name in (metric, f"{metric}_low", f"{metric}_high")]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["features", "n_features", "C", *means, "p_best_single", "p_baseline"])
    for row in result.rows:
        values = [v for m in METRICS for v in (row.means[m].value, *row.means[m].ci)]
        others = [c.p_holm if c else "" for c in (row.vs_best_single, row.vs_baseline)]
        writer.writerow(["+".join(row.features), row.n_features, row.C, *values, *others])
    write_atomic(path, text.getvalue().encode("utf-8"))
    return path.resolve()
