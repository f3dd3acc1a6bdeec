"""The manifests of a store: one CSV per dataset in its folder ``manifests/``."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from featcache.datasets.manifest import Manifest, merge
from featcache.datasets.scan import Scan, ScanOptions, dataset_name, scan
from featcache.datasets.shared_reals import expand
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
    return store / FOLDER / f"{name}.csv"


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
    path = manifest_path(store, dataset_name(root.resolve()))
    if keep:
        require_below(store, path.parent)
    known = _read_if_current(path)
    if known:
        _check_same_tree(known, root.resolve(), path)
    result = scan(root, options, known)
    if keep and known != result.manifest:
        result.manifest.write(path)
    if keep:
        _write_conflicts(result.manifest, path.with_suffix(".conflicts.csv"))
    return result


def load_manifests(
    store: Path,
    names: list[str] | None = None,
    *,
    generators: Collection[str] = (),
    groups: Mapping[str, Collection[str]] | None = None,
) -> Manifest:
    """Return the samples of a store's datasets, each once for every generator that it serves.

    Parameters
    ----------
    store : Path
    names : list of str, optional
        Datasets to take; all by default.
    generators : collection of str
        Shared reals get rows for these only; empty means all. (Nothing else is filtered; see
        ``select``.)
    groups : mapping of str to collection of str, optional
        The user's own families of generators, over those that were written.

    Returns
    -------
    Manifest
        The samples of a store's datasets, each once for every generator that it serves.

    Raises
    ------
    DataError
        If the store has no manifest.
    UnknownNameError
        If it has none of that name.
    """
    paths = {
        path.stem: path
        for path in sorted((store / FOLDER).glob("*.csv"))
        if not path.name.endswith(".conflicts.csv")
    }
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
    return expand(manifest, generators, groups)


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


def _read_if_current(path: Path) -> Manifest | None:
    """Return the manifest that was written before; one of an older version is made anew."""
    try:
        return Manifest.read(path, all_columns=True) if path.exists() else None
    except DataError:
        return None


def _check_same_tree(known: Manifest, root: Path, path: Path) -> None:
    """Let a tree that was moved replace its old manifest, but never another tree's."""
    known_root = Path(known.samples[0].root)
    if known_root != root and known_root.exists():
        raise DataError(
            f"{root} and {known_root} have the same name, and {path.name} already describes the"
            " second. Rename one of the folders (features are kept: they go by content)."
        )
