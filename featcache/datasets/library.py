"""The manifests of a store: one Parquet file per dataset in its folder ``manifests/``.

The CSV of earlier versions is read too; the next scan replaces it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from featcache.datasets.manifest import Manifest, merge
from featcache.datasets.pairings import resolve_pairs
from featcache.datasets.scan import Scan, ScanOptions, dataset_name, scan
from featcache.errors import DataError, unknown_name
from featcache.files import require_below, terminal_text, write_atomic
from featcache.parsing import format_csv

log = logging.getLogger("featcache")

FOLDER = "manifests"


def manifest_path(store: Path, name: str) -> Path:
    """Return where the manifest of a dataset lies in a store.

    Parameters
    ----------
    store : Path
        Folder of the feature store.
    name : str
        Name to look up or to show.

    Returns
    -------
    Path
        Where the manifest of a dataset lies in a store.
    """
    return store / FOLDER / f"{name}.parquet"


def scan_into(store: Path, root: Path, options: ScanOptions, *, keep: bool = True) -> Scan:
    """Scan a tree and keep its manifest in the store.

    Parameters
    ----------
    store : Path
    root : Path
    options : ScanOptions
    keep : bool
        False only looks: what an earlier scan knows is used, and nothing is written.

    Returns
    -------
    Scan

    Raises
    ------
    DataError
        If another tree that still exists has the same name.
    """
    name = dataset_name(root.resolve())
    path = manifest_path(store, name)
    old = path.with_name(f"{name}.csv")
    if keep:
        require_below(store, path.parent)
    known = load_known(path)
    if known:
        _check_same_tree(known, root.resolve(), path)
    result = scan(root, options, known)
    if keep:
        if known != result.manifest or not path.exists():
            result.manifest.write(path)
        old.unlink(missing_ok=True)
        _write_conflicts(result.manifest, path.with_name(f"{name}.conflicts.csv"))
    return result


def load_manifests(
    store: Path,
    names: list[str] | None = None,
    *,
    groups: Mapping[str, Collection[str]] | None = None,
) -> Manifest:
    """Return the samples of a store's datasets, shared reals with the generators they are for.

    Parameters
    ----------
    store : Path
    names : list of str, optional
        Datasets to take; all by default.
    groups : mapping of str to collection of str, optional
        The user's own families of generators, over those that were written.

    Returns
    -------
    Manifest
        See :func:`~featcache.datasets.pairings.resolve_pairs`.

    Raises
    ------
    DataError
        If the store has no manifest.
    UnknownNameError
        If it has none of that name.
    """
    paths = list_manifests(store)
    if not paths:
        raise DataError(
            f"The store {store} knows no images. "
            "Run 'featcache extract --backbone NAME --data FOLDER' first."
        )
    for name in names or ():
        if name not in paths:
            raise unknown_name("dataset", name, paths)
    manifest = merge(
        [Manifest.read(paths[name]) for name in names] if names else _read_readable(paths)
    )
    return resolve_pairs(manifest, groups)


def list_manifests(store: Path) -> dict[str, Path]:
    """Return the manifest of each data set; of a Parquet file and a CSV the former.

    Parameters
    ----------
    store : Path
        Folder of the feature store.

    Returns
    -------
    dict of str to Path
        By the name of the data set, sorted.
    """
    paths = {}
    for suffix in (".csv", ".parquet"):
        for path in (store / FOLDER).glob(f"*{suffix}"):
            if not path.name.endswith(".conflicts.csv"):
                paths[path.name.removesuffix(suffix)] = path
    return dict(sorted(paths.items()))


def _read_readable(paths: Mapping[str, Path]) -> list[Manifest]:
    """Return the manifests that can be read; each other is reported and disables none of them."""
    manifests, errors = [], []
    for path in paths.values():
        try:
            manifests.append(Manifest.read(path))
        except DataError as error:
            errors.append(error)
    if errors and not manifests:
        raise errors[0]
    for reason in errors:
        log.warning("Left out: %s", terminal_text(str(reason)))
    return manifests


def _write_conflicts(manifest: Manifest, path: Path) -> None:
    """List the images that have both labels beside the manifest; remove the list of before."""
    conflicts = manifest.conflicts()
    if not conflicts:
        path.unlink(missing_ok=True)
        return
    rows = [(s.sample_id, s.label, s.paired_with, s.split, s.path) for s in conflicts]
    text = format_csv([("sample_id", "label", "generator", "split", "path"), *rows])
    write_atomic(path, text.encode("utf-8", "surrogateescape"))


def load_known(path: Path) -> Manifest | None:
    """Return the manifest of a data set that was written before.

    Parameters
    ----------
    path : Path
        Of :func:`manifest_path`; a CSV of before beside it is read where it is not there.

    Returns
    -------
    Manifest or None
        None where there is none, or one that is damaged or lacks columns: a scan makes it anew.
    """
    for file in (path, path.with_name(path.name.removesuffix(".parquet") + ".csv")):
        try:
            if file.exists():
                return Manifest.read(file, all_columns=True)
        except DataError:
            return None
    return None


def _check_same_tree(known: Manifest, root: Path, path: Path) -> None:
    """Let a tree that was moved replace its old manifest, but never another tree's."""
    known_root = Path(known.subset(np.array([0])).strings("root")[0])
    if known_root != root and known_root.exists():
        raise DataError(
            f"{root} and {known_root} have the same name, and {path.name} already describes the"
            " second. Rename one of the folders (features are kept: they go by content)."
        )
