"""One shard: an immutable HDF5 file of rows, checked by a digest of its payload.

A shard is built in memory and written by :func:`featcache.files.write_atomic`, so that it exists
whole or not at all. No attribute holds a time, a host or a process: the same rows give the same
bytes.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from featcache.cache import layout
from featcache.cache.header import Extent, Header, damaged, read_header, vanished
from featcache.cache.keys import FeatureKey
from featcache.errors import StoreError
from featcache.files import open_file, store_error, write_atomic

BLOCK_BYTES = 1 << 21
"""What is read, hashed and passed on at a time: small enough for a cache, large enough for
threads not to wait for the interpreter.
"""


class Sink(Protocol):
    """Takes the rows of a shard's features as they are read, before they are known to be good."""

    def buffer(self, start: int, n: int) -> NDArray[Any] | None:
        """Return the array (n, D) into which rows from ``start`` on can be read at once, if there
        is one.

        Parameters
        ----------
        start : int
            Index of the first row.
        n : int
            Number of items.

        Returns
        -------
        ndarray | None
            The array (n, D) into which rows from ``start`` on can be read at once, if there is
            one.
        """

    def consume(self, start: int, block: NDArray[Any]) -> None:
        """Take rows from ``start`` on; the block (n, D) is only lent.

        Parameters
        ----------
        start : int
            Index of the first row.
        block : ndarray
            Rows of a shard.
        """


class Discard:
    """A sink for those who only want to know whether a shard is good."""

    def buffer(self, start: int, n: int) -> None:
        """Offer no room.

        Parameters
        ----------
        start : int
            Index of the first row.
        n : int
            Number of items.
        """

    def consume(self, start: int, block: NDArray[Any]) -> None:
        """Drop the rows.

        Parameters
        ----------
        start : int
            Index of the first row.
        block : ndarray
            Rows of a shard.
        """


@dataclass
class WholeArray:
    """A sink that keeps all rows.

    Parameters
    ----------
    array : ndarray of shape (N, D)
    """

    array: NDArray[Any]

    def buffer(self, start: int, n: int) -> NDArray[Any]:
        """Return the rows' own place.

        Parameters
        ----------
        start : int
            Index of the first row.
        n : int
            Number of items.

        Returns
        -------
        ndarray
            The rows' own place.
        """
        return self.array[start : start + n]

    def consume(self, start: int, block: NDArray[Any]) -> None:
        """Keep the rows.

        Parameters
        ----------
        start : int
            Index of the first row.
        block : ndarray
            Rows of a shard.
        """
        self.array[start : start + len(block)] = block


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


@dataclass(frozen=True)
class Contents:
    """The small arrays of a shard.

    Parameters
    ----------
    ids : ndarray of shape (N,), S32
    rejects : dict of str to str
    """

    ids: NDArray[Any]
    rejects: dict[str, str]


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
    features = np.ascontiguousarray(rows.features, rows.features.dtype.newbyteorder("<"))
    rejected = sorted(rows.rejects)
    limit = layout.MAX_REASON_BYTES
    reasons = [rows.rejects[name].encode("utf-8", "backslashreplace")[:limit] for name in rejected]
    width = max([1, *map(len, reasons)])
    arrays = (
        features,
        *(
            (
                np.array(rows.ids, dtype=layout.ID_DTYPE),
                np.array(rejected, dtype=layout.ID_DTYPE),
                np.array(reasons, dtype=f"S{width}"),
            )
        ),
    )
    made_by = json.dumps(writer, sort_keys=True)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110"), track_order=False) as file:
        for name, array in zip(layout.DATA_SETS, arrays, strict=True):
            file.create_dataset(name, data=array, track_times=False)
        file.attrs[layout.ATTR_FORMAT] = layout.FORMAT_VERSION
        file.attrs[layout.ATTR_KEY] = key.json
        file.attrs[layout.ATTR_WRITER] = made_by
        file.attrs[layout.ATTR_DIGEST] = payload_digest(key.json, made_by, *arrays)
    write_atomic(path, buffer.getvalue())


def read_shard(path: Path, key: FeatureKey) -> Rows:
    """Read a shard whole and check that it is what was written, for this key.

    Parameters
    ----------
    path : Path
        File or folder.
    key : FeatureKey
        Feature key.

    Returns
    -------
    Rows

    Raises
    ------
    ShardError
        If the file is damaged, of another format, or belongs to another key.
    """
    header = read_header(path, key)
    buffer = WholeArray(np.empty(header.features.shape, header.features.dtype))
    contents = read_payload(path, key, header, buffer)
    return Rows(_decode(contents.ids), buffer.array, contents.rejects)


def read_payload(path: Path, key: FeatureKey, header: Header, sink: Sink) -> Contents:
    """Read all arrays of a shard once, in order, and check them against the digest.

    Parameters
    ----------
    path : Path
    key : FeatureKey
    header : Header
        Where the arrays lie; a wrong one is found out by the digest.
    sink : Sink
        Gets the features block by block; on an error they must be dropped.

    Returns
    -------
    Contents

    Raises
    ------
    ShardError
        If any byte is not what was written.
    """
    state = xxhash.xxh3_128(f"{key.json}\n{header.writer}\n".encode("ascii"))
    try:
        with open_file(path, buffering=0) as file:
            _stream(file, header.features, state, sink)
            small = [_load(file, extent, state) for extent in header.extents[1:]]
    except FileNotFoundError as error:
        raise vanished(path) from error
    except OSError as error:
        raise store_error(error, path, verb="read") from error
    except ValueError as error:
        raise damaged(path, str(error)) from error
    if state.hexdigest() != header.digest:
        raise damaged(path, "its content does not match its digest")
    ids, rejected, reasons = small
    return Contents(ids, dict(zip(_decode(rejected), _decode(reasons), strict=True)))


def payload_digest(key_json: str, writer_json: str, *arrays: NDArray[Any]) -> str:
    """Return the digest that a shard carries: over key, writer, and arrays with shapes and types.

    Parameters
    ----------
    key_json : str
        Canonical JSON of the feature key.
    writer_json : str
        JSON of the writer attribute.
    *arrays : ndarray
        Arrays, in order.

    Returns
    -------
    str
        The digest that a shard carries.
    """
    state = xxhash.xxh3_128(f"{key_json}\n{writer_json}\n".encode("ascii"))
    for array in arrays:
        state.update(_heading(array.dtype.str, array.shape))
        state.update(array.view(np.uint8).data if array.size else b"")
    return state.hexdigest()


def _heading(dtype: str, shape: tuple[int, ...]) -> bytes:
    return f"{dtype}{shape}".encode("ascii")


def _stream(file: io.FileIO, extent: Extent, state: xxhash.xxh3_128, sink: Sink) -> None:
    """Read, hash and pass on the rows of an array, a block at a time."""
    state.update(_heading(extent.dtype, extent.shape))
    row_bytes = extent.row_bytes
    n_all = extent.shape[0] if row_bytes else 0
    n_rows = max(1, BLOCK_BYTES // max(row_bytes, 1))
    buffer: NDArray[Any] | None = None
    file.seek(extent.offset)
    for start in range(0, n_all, n_rows):
        n = min(n_rows, n_all - start)
        room = sink.buffer(start, n)
        if room is None:
            buffer = np.empty((n, *extent.shape[1:]), extent.dtype) if buffer is None else buffer
        block = room if room is not None else buffer[:n]  # type: ignore[index]
        raw = block.reshape(-1).view(np.uint8).data
        _fill(file, raw)
        state.update(raw)
        if room is None:
            sink.consume(start, block)


def _load(file: io.FileIO, extent: Extent, state: xxhash.xxh3_128) -> NDArray[Any]:
    buffer = WholeArray(np.empty(extent.shape, extent.dtype))
    _stream(file, extent, state, buffer)
    return buffer.array


def _fill(file: io.FileIO, part: memoryview) -> None:
    """Fill a buffer from the file: a read may give less than it was asked for."""
    while len(part):
        n = file.readinto(part)
        if not n:
            raise ValueError("it is shorter than it says")
        part = part[n:]


def _check_rows(rows: Rows) -> None:
    n_ids, shape = len(rows.ids), rows.features.shape
    if len(shape) != 2 or shape[0] != n_ids or n_ids + len(rows.rejects) > layout.MAX_ROWS:
        raise StoreError(f"A shard of {n_ids} ids cannot hold features of shape {shape}.")
    if shape[1] > layout.MAX_FEATURES:
        raise StoreError(
            f"Features of {shape[1]:,} numbers are longer than {layout.MAX_FEATURES:,}."
        )
    if rows.features.dtype.newbyteorder("<").str not in layout.FEATURE_DTYPES:
        raise StoreError(f"Features must be float32 or float16, not {rows.features.dtype}.")
    if rows.ids != sorted(set(rows.ids)) or rows.rejects.keys() & set(rows.ids):
        raise StoreError("The sample ids of a shard must be sorted and each there once.")
    if not np.isfinite(rows.features).all():
        raise StoreError("Features with NaN or Inf are never stored.")


def _decode(texts: NDArray[Any]) -> list[str]:
    return [text.decode("utf-8", "replace") for text in texts.tolist()]


def decode_ids(ids: NDArray[Any]) -> set[str]:
    """Return the ids of an array (n,) of S32 as text; what is no text matches nothing.

    Parameters
    ----------
    ids : ndarray
        Sample ids.

    Returns
    -------
    set[str]
        The ids of an array (n,) of S32 as text.
    """
    return set(_decode(ids))
