"""Bring features that another program computed into a store, with a table of their rows.

Such features are called ``NAME#foreign`` everywhere: featcache knows neither the network nor the
preprocessing, and cannot compute them for another image.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.backbones import BACKBONES
from featcache.backbones.names import ALIASES, FOREIGN
from featcache.cache import FeatureKey, FeatureStore, Rows
from featcache.datasets.library import manifest_path
from featcache.datasets.scan import dataset_name
from featcache.errors import DataError, SettingsError
from featcache.extract.foreign_rows import ForeignOptions, ForeignTable, read_labels, read_table
from featcache.extract.foreign_sources import ForeignArrays, open_arrays
from featcache.files import digest_json, printable, require_below
from featcache.progress import progress

BLOCK_ROWS = 1024
"""Rows that are in memory at once, and rows of a shard."""

REPEAT_TOLERANCE = 1e-2
"""How far two feature vectors of one image may differ, relative to the largest value."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")


@dataclass(frozen=True)
class ForeignImport:
    """What an import did.

    Parameters
    ----------
    feature : str
        Name in the store.
    key : FeatureKey
    dataset : str
        Data set whose manifest was written; empty where the store knew all labels.
    form : str
        How the features were read.
    n_rows, n_samples, n_features : int
        Rows of the input, different images among them, columns.
    n_from_files : int
        Samples whose id is the digest of an image file; they join with features of featcache's own.
    n_written, n_known : int
        Samples that were added, and that were there already with the same values.
    notes : list of str
    """

    feature: str
    key: FeatureKey
    dataset: str
    form: str
    n_rows: int
    n_samples: int
    n_features: int
    n_from_files: int
    n_written: int
    n_known: int
    notes: list[str]


def import_foreign(store: FeatureStore, source: Path, options: ForeignOptions) -> ForeignImport:
    """Check features of another program with their rows, then add them to a store.

    Parameters
    ----------
    store : FeatureStore
    source : Path
        See :func:`~featcache.extract.foreign_arrays.open_arrays`.
    options : ForeignOptions

    Returns
    -------
    ForeignImport

    Raises
    ------
    DataError
        If rows and features do not agree in number, a value is NaN or infinite, an image has both
        labels or no label, or two vectors of one image differ. Nothing is written then.
    SettingsError
        If the name is one of featcache's own.
    """
    feature = _feature_name(options.name)
    arrays = open_arrays(source, options.array)
    table = read_table(arrays, options, source)
    dataset = options.dataset or dataset_name((options.rows or source).resolve())
    manifest = read_labels(store, table, dataset, options, source)
    used = _first_rows(table.ids, set(manifest.strings("sample_id")) if manifest else None)
    named = [key for key in store.list_keys() if key.name == feature]
    digest = _check(store, arrays, table, used, named[0] if named else None, source)
    key = named[0] if named else _foreign_key(feature, arrays, digest)
    n_written = _write(store, key, arrays, table, used, source)
    if manifest:
        path = manifest_path(store.root, dataset)
        require_below(store.root, path.parent)
        manifest.write(path)
    from_files = {table.ids[i] for i in table.facts}
    n_samples = int(used.sum())
    return ForeignImport(
        feature=feature,
        key=key,
        dataset=dataset if manifest else "",
        form=arrays.form,
        n_rows=arrays.n_rows,
        n_samples=n_samples,
        n_features=arrays.n_features,
        n_from_files=sum(table.ids[i] in from_files for i in np.flatnonzero(used).tolist()),
        n_written=n_written,
        n_known=n_samples - n_written,
        notes=table.notes,
    )


def _feature_name(name: str) -> str:
    """Return the name in the store; names of featcache's own backbones are refused."""
    bare = name.removesuffix(FOREIGN)
    if not _NAME.fullmatch(bare):
        raise SettingsError(
            f"--name {name!r}: use letters, digits, '.', '_', '+' and '-', for instance my-clip."
        )
    if bare in ALIASES or bare in BACKBONES.names():
        raise SettingsError(
            f"--name {name!r} is the name of a backbone of featcache's own, and features made "
            f"elsewhere are not the same thing. Choose another, for instance my-{bare}."
        )
    return bare + FOREIGN


def _foreign_key(feature: str, arrays: ForeignArrays, digest: str) -> FeatureKey:
    """Return the key of features of which only their values are known."""
    return FeatureKey(
        {
            "backbone": feature,
            "architecture": "foreign",
            "weights": f"foreign:{digest}",
            "tap": {"layer": "final", "n_features": arrays.n_features},
            "preprocessing": {"preset": "foreign"},
            "precision": "unknown",
            "dtype": arrays.dtype,
            "view": {"name": "clean", "steps": []},
        }
    )


def _first_rows(ids: Sequence[str], used: set[str] | None) -> NDArray[np.bool_]:
    """Return which rows are the first of their image, and of an image that is used."""
    seen: set[str] = set()
    first = np.zeros(len(ids), bool)
    for i, name in enumerate(ids):
        first[i] = name not in seen and (used is None or name in used)
        seen.add(name)
    return first


def _check(
    store: FeatureStore,
    arrays: ForeignArrays,
    table: ForeignTable,
    used: NDArray[np.bool_],
    key: FeatureKey | None,
    source: Path,
) -> str:
    """Look at every value before anything is written, and return the digest of all."""
    if key is not None:
        there = (store.summary(key).n_features, key.fields["dtype"])
        if there != (arrays.n_features, arrays.dtype):
            raise DataError(
                f"The store has {key.name!r} with {there[0]:,} columns of {there[1]}, and {source} "
                f"has {arrays.n_features:,} of {arrays.dtype}. Choose another --name, or remove "
                f"the old ones: featcache cache gc --drop '{key.name}' --delete."
            )
    known = store.samples(key) if key is not None else set()
    counts = Counter(table.ids)
    repeated: dict[str, NDArray[Any]] = {}
    state = xxhash.xxh3_128(f"{arrays.dtype} {arrays.n_rows} {arrays.n_features}".encode("ascii"))
    bad: list[int] = []
    start = 0
    with progress(f"check {source.name}", arrays.n_rows, "rows") as advance:
        for block in arrays.blocks(BLOCK_ROWS):
            state.update(np.ascontiguousarray(block).tobytes())
            bad += (start + np.flatnonzero(~np.isfinite(block).all(axis=1))).tolist()
            ids = table.ids[start : start + len(block)]
            for row, name in zip(block, ids, strict=True):
                if counts[name] > 1:
                    _require_same(repeated.setdefault(name, np.array(row)), row, name, source)
            if there_ids := [name for name in ids if name in known and key is not None]:
                assert key is not None
                stored = store.read(key, there_ids, arrays.dtype)
                imported = block[[i for i, name in enumerate(ids) if name in known]]
                if np.abs(stored.astype(np.float64) - imported).max() > REPEAT_TOLERANCE * np.abs(
                    stored
                ).max(initial=0.0):
                    raise DataError(
                        f"The store has other values of {key.name!r} for images of {source} "
                        f"(first among {there_ids[0]}). Choose another --name, or remove the old "
                        f"ones: featcache cache gc --drop '{key.name}' --delete."
                    )
            start += len(block)
            advance(len(block))
    if start != arrays.n_rows:
        raise DataError(f"{source} has {start:,} rows where {arrays.n_rows:,} were expected.")
    if bad:
        raise DataError(
            f"{source}: {len(bad):,} of {arrays.n_rows:,} rows hold NaN or infinite values, or "
            f"values beyond float32 (first: row {bad[0]}, {printable(table.paths[bad[0]])!r}). "
            "Remove these rows from the features and the table."
        )
    if n_repeats := len(table.ids) - len(counts):
        table.notes.append(f"{n_repeats:,} rows repeat an image; its first vector is kept.")
    if unused := len(counts) - int(used.sum()):
        table.notes.append(f"{unused:,} images are left out by --label VALUE=skip.")
    return state.hexdigest()


def _require_same(first: NDArray[Any], row: NDArray[Any], name: str, source: Path) -> None:
    largest = float(np.abs(first).max(initial=0.0))
    if np.abs(first.astype(np.float64) - row).max(initial=0.0) > REPEAT_TOLERANCE * largest:
        raise DataError(
            f"{source}: two rows are the same image (sample {name}) and have different features. "
            "The table and the features are not in the same order, or the id is not one of images."
        )


def _write(
    store: FeatureStore,
    key: FeatureKey,
    arrays: ForeignArrays,
    table: ForeignTable,
    used: NDArray[np.bool_],
    source: Path,
) -> int:
    """Write the rows that the store lacks, and return how many."""
    known = store.samples(key)
    writer = {"featcache": __version__, "imported_from": printable(source.name)}
    start = n_written = 0
    with progress(f"import {source.name}", arrays.n_rows, "rows") as advance:
        for block in arrays.blocks(BLOCK_ROWS):
            rows = [
                (table.ids[start + i], i)
                for i in np.flatnonzero(used[start : start + len(block)]).tolist()
                if table.ids[start + i] not in known
            ]
            if rows:
                rows.sort()
                ids = [name for name, _ in rows]
                name = digest_json(ids)
                with store.lock(key, name) as acquired:
                    if acquired:
                        features = np.ascontiguousarray(block[[i for _, i in rows]])
                        store.write(key, name, Rows(ids, features), writer)
                        n_written += len(ids)
            start += len(block)
            advance(len(block))
    return n_written
