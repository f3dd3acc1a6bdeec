"""A feature and its samples as row-aligned arrays, for other programs.

Feature packs with their manifests: what goes into one besides shards, and where it ends up.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from featcache.cache import FeatureKey, FeatureStore
from featcache.cache.pack import Imported, export_pack, import_pack
from featcache.datasets import Manifest, Sample
from featcache.datasets.library import manifest_path
from featcache.errors import MissingFeaturesError
from featcache.evaluate.data import labels
from featcache.files import digest_bytes, printable, write_atomic
from featcache.metrics import METRICS
from featcache.results import AblationResult, AblationRow, EfficiencyResult, TransferResult


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
        Arrays ``features`` (N, D) float32, ``label`` (N,) int64, and as plain strings
        ``sample_id``, ``path``, ``generator``, ``split``, ``source``, ``serves`` (the generator
        whose set a real belongs to). One row per file that has a feature.

    Returns
    -------
    (int, int)
        Rows and features.

    Raises
    ------
    MissingFeaturesError
        If the store lacks the features.
    """
    have = store.samples(key)
    samples = [sample for sample in manifest if sample.sample_id in have]
    if not samples:
        raise MissingFeaturesError(f"No image of the manifests has the feature {key.name!r}.")
    features = store.read(key, [sample.sample_id for sample in samples])
    names = ("sample_id", "path", "generator", "split", "source")
    texts = {name: np.array([printable(getattr(s, name)) for s in samples]) for name in names}
    texts["serves"] = np.array([printable(s.paired_with) for s in samples])
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"features": features, "label": labels(samples), **texts}
    np.savez(buffer, **arrays)
    write_atomic(path, buffer.getvalue())
    return features.shape[0], features.shape[1]


def write_transfer_csv(result: TransferResult, path: Path) -> Path:
    """Write one row per training set and test generator: AP, AUROC and accuracy with intervals.

    ``set`` is ``each`` (trained on ``generator`` alone) or ``without`` (on all but it).

    Parameters
    ----------
    result : TransferResult
        Result of a train x test matrix.
    path : Path
        File or folder.

    Returns
    -------
    Path
        The file, absolute.
    """
    metrics = [n for metric in ("ap", "auroc", "acc") for n in (metric, f"{metric}_ci")]
    rows = [
        [kind, own, name, *_flat(getattr(cell, metric) for metric in metrics)]
        for kind, matrix in (("each", result.each), ("without", result.without))
        for own, cells in matrix.items()
        for name, cell in cells.items()
    ]
    header = ["set", "generator", "tested_on", *_with_ends("ap", "auroc", "acc")]
    return _write(path, [header, *rows])


def write_efficiency_csv(result: EfficiencyResult, path: Path) -> Path:
    """Write one row per draw: samples per class, seed, mAP of the draw, and mean and interval of
    its size.

    Parameters
    ----------
    result : EfficiencyResult
        Result of a learning curve.
    path : Path
        File or folder.

    Returns
    -------
    Path
        The file, absolute.
    """
    rows = [
        [point.n, seed, value, *_flat((point.mean, point.ci)), point.deviation]
        for point in result.points
        for seed, value in enumerate(point.mAP)
    ]
    return _write(path, [["n", "seed", "mAP", *_with_ends("mean"), "deviation"], *rows])


def _with_ends(*names: str) -> list[str]:
    return [column for name in names for column in (name, f"{name}_low", f"{name}_high")]


def _flat(values: Iterable[Any]) -> list[Any]:
    return [x for value in values for x in (value if isinstance(value, tuple) else (value,))]


def _write(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return path.resolve()


def write_ablation_csv(result: AblationResult, path: Path) -> Path:
    """Write one row per feature set: features, C, the mean of every metric with its interval,
    p-values.

    Parameters
    ----------
    result : AblationResult
        Result of an ablation.
    path : Path
        File or folder.

    Returns
    -------
    Path
        The file, absolute.
    """
    rows = [
        [
            *_about(row),
            *_flat(_values(row)),
            *[
                comparison.p_holm if comparison else ""
                for comparison in (row.vs_best_single, row.vs_baseline)
            ],
        ]
        for row in result.rows
    ]
    header = [*_ABOUT, *_with_ends(*METRICS), "p_best_single", "p_baseline"]
    return _write(path, [header, *rows])


_ABOUT = ("features", "n_features", "C", "head", "train", "train_views", "view")


def _about(row: AblationRow) -> list[Any]:
    joined = ["+".join(names) for names in (row.features, row.train, row.train_views)]
    return [joined[0], row.n_features, row.C, row.head, joined[1], joined[2], row.view]


def _values(row: AblationRow) -> Iterator[Any]:
    for metric in METRICS:
        yield row.means[metric].value
        yield row.means[metric].ci


def export_features(
    store: FeatureStore,
    keys: Sequence[FeatureKey],
    manifest: Manifest,
    path: Path,
    *,
    licence: str = "",
) -> int:
    """Write a pack of features and their samples; no path of this machine goes with it.

    Parameters
    ----------
    store : FeatureStore
        Feature store.
    keys : Sequence[FeatureKey]
        Feature keys, one for each feature.
    manifest : Manifest
        Samples with labels, generators, splits and sources.
    path : Path
        File or folder.
    licence : str
        Note on the licence of the features.

    Returns
    -------
    int
        Bytes of the pack.
    """
    have = {name for key in keys for name in (*store.samples(key), *store.rejects(key))}
    datasets: dict[str, list[Sample]] = {}
    for sample in manifest:
        if sample.sample_id in have:
            datasets.setdefault(sample.dataset, []).append(_without_machine(sample))
    manifests = {name: _to_csv(samples) for name, samples in datasets.items()}
    return export_pack(store, keys, path, manifests=manifests, licence=licence)


def import_features(store: FeatureStore, path: Path) -> Imported:
    """Check a pack and add it to a store, with its manifests.

    Parameters
    ----------
    store : FeatureStore
        Feature store.
    path : Path
        File or folder.

    Returns
    -------
    Imported

    Raises
    ------
    DataError
        If anything in it is not as it should be: the store is then as it was.
    """
    imported = import_pack(store, path, lambda name, file: Manifest.read(file))
    for name, data in imported.manifests.items():
        target = manifest_path(store.root, name)
        if target.exists() and target.read_bytes() != data:
            target = manifest_path(store.root, f"{name}-{digest_bytes(data)[:8]}")
        write_atomic(target, data)
    return imported


def _without_machine(sample: Sample) -> Sample:
    """Return a sample whose path begins below its data set."""
    try:
        path = PurePath(sample.path).relative_to(sample.root).as_posix()
    except ValueError:
        path = PurePath(sample.path).name
    return replace(sample, root=sample.dataset, path=path)


def _to_csv(samples: list[Sample]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.csv"
        Manifest(tuple(samples)).write(path)
        return path.read_bytes()
