"""The manifests of a store: one CSV per dataset in its folder ``manifests/``."""

from __future__ import annotations

from pathlib import Path

from featcache.datasets.manifest import Manifest, merge
from featcache.datasets.scan import Scan, ScanOptions, dataset_name, scan
from featcache.errors import DataError, unknown_name

FOLDER = "manifests"


def manifest_path(store: Path, name: str) -> Path:
    """Return where the manifest of a dataset lies in a store."""
    return store / FOLDER / f"{name}.csv"


def scan_into(store: Path, root: Path, options: ScanOptions) -> Scan:
    """Scan a tree and keep its manifest in the store.

    Raises
    ------
    DataError
        If another tree that still exists has the same name.
    """
    path = manifest_path(store, dataset_name(root.resolve()))
    known = Manifest.read(path) if path.exists() else None
    if known:
        _check_same_tree(known, root.resolve(), path)
    result = scan(root, options, known)
    if known is None or known != result.manifest:
        result.manifest.write(path)
    return result


def load_manifests(store: Path, names: list[str] | None = None) -> Manifest:
    """Return the samples of a store's datasets, each once.

    Parameters
    ----------
    store : Path
    names : list of str, optional
        Datasets to take; all by default.

    Raises
    ------
    DataError
        If the store has no manifest.
    UnknownNameError
        If it has none of that name.
    """
    paths = {path.stem: path for path in sorted((store / FOLDER).glob("*.csv"))}
    if not paths:
        raise DataError(
            f"The store {store} knows no images. "
            "Run 'featcache extract --backbone NAME --data FOLDER' first."
        )
    for name in names or ():
        if name not in paths:
            raise unknown_name("dataset", name, paths)
    return merge(Manifest.read(paths[name]) for name in names or paths)


def _check_same_tree(known: Manifest, root: Path, path: Path) -> None:
    """Let a tree that was moved replace its old manifest, but never another tree's."""
    other = Path(known.samples[0].root)
    if other != root and other.is_dir():
        raise DataError(
            f"{root} and {other} have the same name, and {path.name} already describes the second. "
            "Rename one of the folders (features are kept: they go by content)."
        )
