"""Features with their samples as files that other programs read: ``.npz``, ``.npy``, Parquet.

Rows are written in blocks, so that memory does not grow with their number, in the order of their
sample ids, so that each shard is read once.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest, Sample, expand
from featcache.errors import MissingFeaturesError, SettingsError
from featcache.evaluate.data import labels
from featcache.files import atomic_file, printable, write_atomic
from featcache.parsing import format_csv
from featcache.progress import progress

FORMS = (".npz", ".npy", ".parquet")
COLUMNS = ("sample_id", "path", "label", "generator", "split", "category", "source", "serves")
"""What is written about each row; ``serves`` is the generator that a real is paired with."""

BLOCK_BYTES = 1 << 22
"""Features that are in memory at once."""


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Parameters
    ----------
    files : list of Path
        Absolute.
    arrays : dict of str to int
        Name of the array, or column, of each feature to its number of columns.
    n_rows : int
    """

    files: list[Path]
    arrays: dict[str, int]
    n_rows: int


def export_arrays(
    manifest: Manifest,
    store: FeatureStore,
    keys: Sequence[FeatureKey],
    path: Path,
    *,
    intersection: bool = False,
) -> Exported:
    """Write features and their samples as row-aligned arrays.

    Parameters
    ----------
    manifest : Manifest
        Samples to export; a row for each file and each generator that a real is paired with.
    store : FeatureStore
        Store of the features.
    keys : sequence of FeatureKey
        Keys of the features; one is called ``features``, several have their own names.
    path : Path
        ``F.npz``: an array (N, D) of each feature, ``label`` (N,) int64 and the other
        :data:`COLUMNS` as plain strings. ``F.parquet``: the same as columns, features as lists of
        fixed length. ``F.npy``: one array (N, D) beside the table ``F.rows.csv``; of several
        features one file each, ``F.NAME.npy``. Features have the type in which they are stored.
    intersection : bool
        Leave out samples that lack one of the features, instead of raising an error.

    Returns
    -------
    Exported

    Raises
    ------
    MissingFeaturesError
        If no sample has the features, or some have one and not the other.
    SettingsError
        If the path has another suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMS:
        raise SettingsError(f"{path}: the forms are {', '.join(FORMS)}.")
    samples = _choose_samples(manifest, store, keys, intersection)
    names = ["features"] if len(keys) == 1 else _array_names(keys)
    widths = {n: store.summary(key).n_features for n, key in zip(names, keys, strict=True)}
    blocks = _Blocks(store, dict(zip(names, keys, strict=True)), [s.sample_id for s in samples])
    texts = {name: [_text(s, name) for s in samples] for name in COLUMNS if name != "label"}
    if suffix == ".npz":
        files = [_write_npz(path, blocks, texts, labels(samples))]
    elif suffix == ".parquet":
        files = [_write_parquet(path, blocks, texts, labels(samples))]
    else:
        files = _write_npy(path, blocks, texts, labels(samples))
    return Exported([file.resolve() for file in files], widths, len(samples))


def _choose_samples(
    manifest: Manifest, store: FeatureStore, keys: Sequence[FeatureKey], intersection: bool
) -> list[Sample]:
    """Return the samples that have every feature, sorted by id."""
    ids = [store.samples(key) for key in keys]
    complete, known = set.intersection(*ids), set.union(*ids)
    samples = [sample for sample in expand(manifest) if sample.sample_id in known]
    incomplete = [sample for sample in samples if sample.sample_id not in complete]
    if incomplete and not intersection:
        lacking = next(
            key for key, own in zip(keys, ids, strict=True) if incomplete[0].sample_id not in own
        )
        raise MissingFeaturesError(
            f"{len(incomplete):,} of {len(samples):,} samples lack one of the features (first: "
            f"{incomplete[0].path!r} has no {lacking.name!r}). Run 'featcache extract' for all "
            "features on the same data, or leave these samples out with --intersection."
        )
    samples = [sample for sample in samples if sample.sample_id in complete]
    if not samples:
        names = ", ".join(repr(key.name) for key in keys)
        raise MissingFeaturesError(f"No image of the manifests has the features {names}.")
    return sorted(samples, key=lambda sample: sample.sample_id)


def _array_names(keys: Sequence[FeatureKey]) -> list[str]:
    """Return the names of features, with the view and then the key where these differ alone."""
    views = {key.fields["view"].get("name", "clean") for key in keys}
    names = [
        key.name + (f" {key.fields['view'].get('name')}" if len(views) > 1 else "") for key in keys
    ]
    if len(set(names)) == len(names):
        return names
    return [f"{name} {key.fingerprint[:8]}" for name, key in zip(names, keys, strict=True)]


def _text(sample: Sample, column: str) -> str:
    text = str(getattr(sample, {"serves": "paired_with"}.get(column, column)))
    return text if text.isascii() else printable(text)  # no copy of millions of names


@dataclass(frozen=True)
class _Blocks:
    """The features of some samples, read again block by block for each array that is written."""

    store: FeatureStore
    keys: dict[str, FeatureKey]
    ids: list[str]

    def dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(str(self.keys[name].fields["dtype"]))

    def shape(self, name: str) -> tuple[int, int]:
        return len(self.ids), self.store.summary(self.keys[name]).n_features

    @property
    def rows(self) -> int:
        """Rows of a block, the same for every feature."""
        row_bytes = sum(self.dtype(n).itemsize * self.shape(n)[1] for n in self.keys)
        return max(BLOCK_BYTES // max(row_bytes, 1), 64)

    def read(self, name: str) -> Iterator[NDArray[Any]]:
        """Yield the rows of one feature, with a progress line."""
        key = self.keys[name]
        with progress(f"export {key.name}", len(self.ids), "rows") as advance:
            blocks = self.store.iter_blocks(key, self.ids, self.rows, self.dtype(name))
            for _, block in blocks:
                yield block
                advance(len(block))

    def write(self, file: BinaryIO, name: str) -> None:
        """Write one feature in the form of ``.npy``."""
        header = {"descr": self.dtype(name).newbyteorder("<").str, "fortran_order": False,
                  "shape": self.shape(name)}  # fmt: skip
        np.lib.format.write_array_header_1_0(file, header)
        kind = self.dtype(name).newbyteorder("<")
        file.writelines(np.ascontiguousarray(block, kind).data for block in self.read(name))


def _write_npz(
    path: Path, blocks: _Blocks, texts: dict[str, list[str]], label: NDArray[np.int64]
) -> Path:
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in blocks.keys:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                blocks.write(member, name)  # type: ignore[arg-type]
        for name, column in {"label": label, **texts}.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(column), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getbuffer())
    return path


def _write_npy(
    path: Path, blocks: _Blocks, texts: dict[str, list[str]], label: NDArray[np.int64]
) -> list[Path]:
    files = [path]
    if len(blocks.keys) > 1:
        files = [path.with_suffix(f".{re.sub(r'[^A-Za-z0-9._+-]+', '-', name)}.npy")
                 for name in blocks.keys]  # fmt: skip
    for file, name in zip(files, blocks.keys, strict=True):
        with atomic_file(file) as out:
            blocks.write(out, name)
    columns: dict[str, Any] = {"label": label.tolist(), **texts}
    rows = zip(*(columns[name] for name in COLUMNS), strict=True)
    table = path.with_suffix(".rows.csv")
    write_atomic(table, format_csv([COLUMNS, *rows]).encode("utf-8", "surrogateescape"))
    return [*files, table]


def _write_parquet(
    path: Path, blocks: _Blocks, texts: dict[str, list[str]], label: NDArray[np.int64]
) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"label": label, **texts}
    fields = [(name, pa.int64() if name == "label" else pa.string()) for name in COLUMNS]
    for name in blocks.keys:
        kind = pa.list_(pa.from_numpy_dtype(blocks.dtype(name)), blocks.shape(name)[1])
        fields.append((name, kind))
    schema = pa.schema(fields)
    with atomic_file(path) as file, pq.ParquetWriter(file, schema) as writer:
        start = 0
        for parts in zip(*map(blocks.read, blocks.keys), strict=True):
            stop = start + len(parts[0])
            arrays = [
                pa.array(columns[name][start:stop], schema.field(name).type) for name in COLUMNS
            ]
            arrays += [
                pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), part.shape[1])
                for part in parts
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            start = stop
    return path
