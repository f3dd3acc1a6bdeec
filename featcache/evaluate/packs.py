"""Feature packs with their manifests: what goes into one besides shards, and where it ends up."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from featcache.cache import FeatureKey, FeatureStore
from featcache.cache.pack import export_pack
from featcache.cache.unpack import Imported, import_pack
from featcache.datasets import Manifest, Sample
from featcache.datasets.library import manifest_path
from featcache.files import write_atomic
from featcache.hashing import digest_bytes


def export_features(
    store: FeatureStore,
    keys: Sequence[FeatureKey],
    manifest: Manifest,
    path: Path,
    *,
    licence: str = "",
) -> int:
    """Write a pack of features and their samples; no path of this machine goes with it.

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
