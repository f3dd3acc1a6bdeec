"""One shard: an immutable HDF5 file of rows, checked by a digest of its payload.

A shard is built in memory and written by :func:`featcache.files.write_atomic`, so that it exists whole
or not at all. No attribute holds a time, a host or a process: the same rows give the same bytes.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from featcache.cache import layout
from featcache.cache.keys import FeatureKey
from featcache.errors import ShardError, StoreError
from featcache.files import write_atomic


@dataclass(frozen=True)
class Rows:
    """What a shard holds.

    Parameters
    ----------
    ids : list of str
        Sample ids, sorted.
    features : ndarray of shape (n_samples, n_features), float32 or float16
    rejects : dict of str to str
        Sample id to the reason why the image gives no feature.
    """

    ids: list[str]
    features: NDArray[Any]
    rejects: dict[str, str] = field(default_factory=dict)


def write_shard(path: Path, key: FeatureKey, rows: Rows, writer: dict[str, str]) -> None:
    """Write a shard, whole or not at all.

    Parameters
    ----------
    path : Path
    key : FeatureKey
    rows : Rows
        At most 4,096; finite.
    writer : dict of str to str
        Versions of what made the features.

    Raises
    ------
    StoreError
        If the rows may not be stored, or the disk says no.
    """
    _check_rows(rows)
    ids, rejected, reasons = _encode(rows)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110"), track_order=False) as file:
        _put(file, layout.FEATURES, np.ascontiguousarray(rows.features))
        _put(file, layout.SAMPLE_ID, ids)
        _put(file, layout.REJECTED_ID, rejected)
        _put(file, layout.REJECTED_REASON, reasons)
        file.attrs[layout.ATTR_FORMAT] = layout.FORMAT_VERSION
        file.attrs[layout.ATTR_KEY] = key.json
        file.attrs[layout.ATTR_WRITER] = json.dumps(writer, sort_keys=True)
        file.attrs[layout.ATTR_DIGEST] = payload_digest(
            key.json, rows.features, ids, rejected, reasons
        )
    write_atomic(path, buffer.getvalue())


def read_shard(path: Path, key: FeatureKey) -> Rows:
    """Read a shard and check that it is what was written, for this key.

    Raises
    ------
    ShardError
        If the file is damaged, of another format, or belongs to another key.
    """
    try:
        with h5py.File(path, "r") as file:
            _check_header(file, path, key)
            features, ids, rejected, reasons = (_get(file, name, path) for name in _DATA_SETS)
            expected = file.attrs[layout.ATTR_DIGEST]
    except ShardError:
        raise
    except FileNotFoundError as error:
        raise ShardError(
            f"The shard {path} has vanished. Run 'featcache extract' again."
        ) from error
    except PermissionError as error:
        raise StoreError(f"The shard {path} cannot be read: permission denied.") from error
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    if payload_digest(key.json, features, ids, rejected, reasons) != expected:
        raise _damaged(path, "its content does not match its digest")
    return Rows(_decode(ids), features, dict(zip(_decode(rejected), _decode(reasons), strict=True)))


def payload_digest(key_json: str, *arrays: NDArray[Any]) -> str:
    """Return the digest that a shard carries, over its key and arrays with their shapes and types."""
    state = xxhash.xxh3_128(key_json.encode("ascii"))
    for array in arrays:
        state.update(f"{array.dtype.str}{array.shape}".encode("ascii"))
        state.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return state.hexdigest()


_DATA_SETS = (layout.FEATURES, layout.SAMPLE_ID, layout.REJECTED_ID, layout.REJECTED_REASON)


def _check_rows(rows: Rows) -> None:
    n_ids, shape = len(rows.ids), rows.features.shape
    if len(shape) != 2 or shape[0] != n_ids or n_ids + len(rows.rejects) > layout.MAX_ROWS:
        raise StoreError(f"A shard of {n_ids} ids cannot hold features of shape {shape}.")
    if rows.features.dtype.name not in layout.FEATURE_DTYPES:
        raise StoreError(f"Features must be float32 or float16, not {rows.features.dtype}.")
    if rows.ids != sorted(set(rows.ids)) or rows.rejects.keys() & set(rows.ids):
        raise StoreError("The sample ids of a shard must be sorted and each there once.")
    if not np.isfinite(rows.features).all():
        raise StoreError("Features with NaN or Inf are never stored.")


def _encode(rows: Rows) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    rejected = sorted(rows.rejects)
    reasons = [rows.rejects[name].encode("utf-8", "backslashreplace") for name in rejected]
    width = max([1, *map(len, reasons)])
    return (
        np.array(rows.ids, dtype=layout.ID_DTYPE),
        np.array(rejected, dtype=layout.ID_DTYPE),
        np.array(reasons, dtype=f"S{width}"),
    )


def _decode(texts: NDArray[Any]) -> list[str]:
    return [text.decode("utf-8") for text in texts.tolist()]


def _put(file: h5py.File, name: str, array: NDArray[Any]) -> None:
    file.create_dataset(name, data=array, track_times=False)


def _get(file: h5py.File, name: str, path: Path) -> NDArray[Any]:
    """Read a data set whole, after checking that it lies in this file and is as small as it claims."""
    data = file.get(name, getlink=True)
    if not isinstance(data, h5py.HardLink) or not isinstance(data := file[name], h5py.Dataset):
        raise _damaged(path, f"{name!r} is no data set of this file")
    if data.is_virtual or data.external or data.chunks or data.dtype.hasobject:
        raise _damaged(path, f"{name!r} is not stored as plain rows")
    if data.size * data.dtype.itemsize > path.stat().st_size:
        raise _damaged(path, f"{name!r} claims more bytes than the file has")
    return np.asarray(data[...])


def _check_header(file: h5py.File, path: Path, key: FeatureKey) -> None:
    version = int(file.attrs[layout.ATTR_FORMAT])
    if version != layout.FORMAT_VERSION:
        raise ShardError(
            f"The shard {path} has format {version}; this featcache reads {layout.FORMAT_VERSION}. "
            "Use the version of featcache that wrote it."
        )
    if file.attrs[layout.ATTR_KEY] != key.json:
        raise _damaged(path, "it belongs to another feature key")


def _damaged(path: Path, why: str) -> ShardError:
    return ShardError(
        f"The shard {path} is damaged: {why}. Delete this file and run the same 'featcache extract' "
        "again: only its images are redone."
    )
