"""Results as CSV, and feature packs with their manifests."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from featcache.cache import FeatureKey, FeatureStore
from featcache.cache.pack import Imported, export_pack, import_pack
from featcache.datasets import Manifest, Sample
from featcache.datasets.library import load_known, manifest_path
from featcache.datasets.manifest_files import parse_csv
from featcache.files import digest_bytes, read_file, require_below, write_atomic
from featcache.metrics import METRICS
from featcache.results import AblationResult, EfficiencyResult, TransferResult


def write_transfer_csv(result: TransferResult, path: Path) -> Path:
    """Write one row per training set and test generator: AP, AUROC and accuracy with intervals.

    Parameters
    ----------
    result : TransferResult
        Matrix of training sets by test generators. In the column ``set``, ``each`` is a head
        trained on ``generator`` alone, ``without`` one trained on all but it.
    path : Path
        File to write.

    Returns
    -------
    Path
        The file, absolute.
    """
    metrics = ("ap", "auroc", "acc")
    rows: list[list[Any]] = [["set", "generator", "tested_on", *_ci_columns(*metrics)]]
    for kind, matrix in (("each", result.each), ("without", result.without)):
        for trained, cells in matrix.items():
            for tested, cell in cells.items():
                row = [kind, trained, tested]
                for metric in metrics:
                    row += [getattr(cell, metric), *getattr(cell, f"{metric}_ci")]
                rows.append(row)
    return _write_csv(path, rows)


def write_efficiency_csv(result: EfficiencyResult, path: Path) -> Path:
    """Write one row per random subset: its size, seed and mAP, and mean and interval of the size.

    Parameters
    ----------
    result : EfficiencyResult
        Learning curve.
    path : Path
        File to write.

    Returns
    -------
    Path
        The file, absolute.
    """
    rows: list[list[Any]] = [["n", "seed", "mAP", *_ci_columns("mean"), "deviation"]]
    for point in result.points:
        for seed, value in enumerate(point.mAP):
            rows.append([point.n, seed, value, point.mean, *point.ci, point.deviation])
    return _write_csv(path, rows)


def write_ablation_csv(result: AblationResult, path: Path) -> Path:
    """Write one row per feature set: features, C, mean of every metric with interval, p-values.

    Parameters
    ----------
    result : AblationResult
        Rows of the ablation.
    path : Path
        File to write.

    Returns
    -------
    Path
        The file, absolute.
    """
    columns = ("features", "n_features", "C", "head", "train", "train_views", "view")
    rows: list[list[Any]] = [
        [*columns, *_ci_columns(*METRICS), "p_best_single", "p_baseline"],
    ]
    for row in result.rows:
        features, train, views = ("+".join(v) for v in (row.features, row.train, row.train_views))
        cells = [features, row.n_features, row.C, row.head, train, views, row.view]
        for metric in METRICS:
            cells += [row.means[metric].value, *row.means[metric].ci]
        comparisons = (row.vs_best_single, row.vs_baseline)
        rows.append([*cells, *(c.p_holm if c else "" for c in comparisons)])
    return _write_csv(path, rows)


def _ci_columns(*names: str) -> list[str]:
    """Return the columns of values with intervals."""
    return [column for name in names for column in (name, f"{name}_low", f"{name}_high")]


def _write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    """Write rows as CSV; paths that are not UTF-8 keep their bytes."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return path.resolve()


def export_features(
    store: FeatureStore,
    keys: Sequence[FeatureKey],
    manifest: Manifest,
    path: Path,
    *,
    licence: str = "",
) -> int:
    """Write a pack of features and their manifests, without absolute paths of this machine.

    Parameters
    ----------
    store : FeatureStore
        Store of the features.
    keys : sequence of FeatureKey
        Keys of the features.
    manifest : Manifest
        Samples; those that have one of the features go into the pack.
    path : Path
        File to write.
    licence : str
        Licence of the features.

    Returns
    -------
    int
        Size of the pack in bytes.
    """
    ids = {name for key in keys for name in (*store.samples(key), *store.rejects(key))}
    datasets: dict[str, list[Sample]] = {}
    for sample in manifest:
        if sample.sample_id not in ids:
            continue
        try:
            relative = PurePath(sample.path).relative_to(sample.root).as_posix()
        except ValueError:
            relative = PurePath(sample.path).name
        portable = replace(sample, root=sample.dataset, path=relative)
        datasets.setdefault(sample.dataset, []).append(portable)
    manifests = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "manifest.csv"
        for name, samples in datasets.items():
            Manifest(tuple(samples)).write(file)
            manifests[name] = read_file(file)
    return export_pack(store, keys, path, manifests=manifests, licence=licence)


def import_features(store: FeatureStore, path: Path) -> Imported:
    """Check a pack and add its features and manifests to a store.

    Parameters
    ----------
    store : FeatureStore
        Store to add to.
    path : Path
        Pack to read.

    Returns
    -------
    Imported
        What was added.

    Raises
    ------
    DataError
        If anything in the pack is invalid; the store is unchanged then.
    """
    imported = import_pack(store, path, lambda name, file: Manifest.read(file))
    for name, content in imported.manifests.items():
        manifest = Manifest.of(parse_csv(content, name))
        target = manifest_path(store.root, name)
        if (known := load_known(target)) is not None and known != manifest:
            # A different manifest of that name stays; the imported one gets a name of its own.
            target = manifest_path(store.root, f"{name}-{digest_bytes(content)[:8]}")
        require_below(store.root, target.parent)
        manifest.write(target)
    return imported
