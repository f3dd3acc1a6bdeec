"""The outside of a shard: where its arrays lie in the file, found with HDF5 and trusted for
nothing.

Reading goes past HDF5: contiguous data are plain bytes at an offset, so once the offsets are
known the payload is read like any file, and every byte of it is checked by the digest.
"""

from __future__ import annotations

import math
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featcache.cache import layout
from featcache.cache.keys import FeatureKey
from featcache.errors import ShardError, StoreError
from featcache.files import open_file, require_file


@dataclass(frozen=True)
class Extent:
    """One array in a shard's file.

    Parameters
    ----------
    offset : int
        First byte in the file; 0 where the array is empty.
    shape : tuple of int
    dtype : str
        As numpy writes it (``"<f4"``).
    """

    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape[1:])

    @property
    def n_bytes(self) -> int:
        """Bytes of the whole array."""
        return self.shape[0] * self.row_bytes


@dataclass(frozen=True)
class Header:
    """What a shard says of itself.

    Parameters
    ----------
    size, mtime_ns : int
        Of the file, when it was looked at: by these a changed file is known.
    digest : str
        Of the payload.
    writer : str
        JSON: versions of what made the features.
    extents : tuple of Extent
        In the order of :data:`layout.DATA_SETS`.
    """

    size: int
    mtime_ns: int
    digest: str
    writer: str
    extents: tuple[Extent, ...]

    @property
    def features(self) -> Extent:
        """Where the features lie."""
        return self.extents[0]


def read_header(path: Path, key: FeatureKey) -> Header:
    """Return the header of a shard of this key.

    Parameters
    ----------
    path : Path
        File or folder.
    key : FeatureKey
        Feature key.

    Returns
    -------
    Header
        The header of a shard of this key.

    Raises
    ------
    ShardError
        If the file is damaged, of another format, hostile, or belongs to another key.
    """
    try:
        require_file(path)
        status = os.stat(path)
        # HDF5 itself instead of h5py's objects: a store of 3,000 shards opens four times as fast.
        with closing(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, _ACCESS)) as file:
            version = int(_scalar(file, layout.ATTR_FORMAT, path))
            if version != layout.FORMAT_VERSION:
                raise StoreError(  # not damaged: nothing may drop it
                    f"The shard {path} has format {version}; this featcache reads"
                    f" {layout.FORMAT_VERSION}. Use the version of featcache that wrote it."
                )
            if _text(file, layout.ATTR_KEY, path) != key.json:
                raise damaged(path, "it belongs to another feature key")
            digest = _text(file, layout.ATTR_DIGEST, path)
            writer = _text(file, layout.ATTR_WRITER, path)
            extents = tuple(_extent(file, name, path, status.st_size) for name in layout.DATA_SETS)
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise vanished(path) from error
    except PermissionError as error:
        raise StoreError(f"The shard {path} cannot be read: permission denied.") from error
    except Exception as error:  # h5py turns what HDF5 finds wrong into nearly any class
        raise damaged(path, str(error)) from error
    if not fit_together(extents):
        shapes = ", ".join(f"{extent.dtype} {extent.shape}" for extent in extents)
        raise damaged(path, f"its arrays do not fit together ({shapes})")
    return Header(status.st_size, status.st_mtime_ns, digest, writer, extents)


def damaged(path: Path, why: str) -> ShardError:
    """Return the error for a shard that is not what was written.

    Parameters
    ----------
    path : Path
        File or folder.
    why : str
        Reason, for the message.

    Returns
    -------
    ShardError
        The error for a shard that is not what was written.
    """
    return ShardError(
        f"The shard {path} is damaged: {why}. Drop it with 'featcache cache verify --repair' and"
        " run the same 'featcache extract' again: only its images are redone."
    )


def names_digest(path: Path, header: Header) -> bool:
    """Return whether a shard's own header carries the digest that an index names.

    Parameters
    ----------
    path : Path
        The shard.
    header : Header
        Header as the index has it.

    Returns
    -------
    bool
        Whether the digest stands in the bytes before or after the data sets.
    """
    extents = [extent for extent in header.extents if extent.n_bytes]
    first = min((extent.offset for extent in extents), default=header.size)
    last = max((extent.offset + extent.n_bytes for extent in extents), default=header.size)
    digest = header.digest.encode("ascii")
    with open_file(path) as file:
        if digest in file.read(first):
            return True
        file.seek(last)
        return digest in file.read()


def wrong_index(folder: Path, path: Path) -> StoreError:
    """Return the error for an index that does not agree with a shard.

    Parameters
    ----------
    folder : Path
        Folder of the key.
    path : Path
        The shard.

    Returns
    -------
    StoreError
    """
    index = folder / layout.INDEX_FILE
    return StoreError(
        f"The index {index} does not agree with the shard {path.name}: it names other samples than "
        "the shard holds. The index is derived from the shards: remove it and run the command "
        "again. If the store came from elsewhere, run 'featcache cache verify' first."
    )


def vanished(path: Path) -> ShardError:
    """Return the error for a shard that was there a moment ago.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    ShardError
        The error for a shard that was there a moment ago.
    """
    return ShardError(f"The shard {path} has vanished. Run the same 'featcache extract' again.")


def _open_options() -> h5py.h5p.PropFAID:
    """Return how files are opened: without HDF5's own locks, which some file systems lack."""
    options = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    options.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    options.set_file_locking(False, False)
    return options


_ACCESS = _open_options()


def _scalar(file: h5py.h5f.FileID, name: str, path: Path) -> Any:
    """Return an attribute, after checking that it is a single value."""
    if not h5py.h5a.exists(file, name.encode()):
        raise damaged(path, f"it has no attribute {name!r}")
    attribute = h5py.h5a.open(file, name.encode())
    if attribute.shape != ():
        raise damaged(path, f"the attribute {name!r} is no single value")
    value = np.empty((), attribute.dtype)
    attribute.read(value)
    return value[()]


def _text(file: h5py.h5f.FileID, name: str, path: Path) -> str:
    value = _scalar(file, name, path)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str) or not value.isascii() or len(value) > layout.MAX_KEY_BYTES:
        raise damaged(path, f"the attribute {name!r} is no text of reasonable length")
    return value


def _extent(file: h5py.h5f.FileID, name: str, path: Path, size: int) -> Extent:
    """Return where a data set lies, after checking that it lies in this file, plain and whole."""
    link = file.links.get_info(name.encode()) if file.links.exists(name.encode()) else None
    if link is None or link.type != h5py.h5l.TYPE_HARD:
        raise damaged(path, f"{name!r} is no data set of this file")
    data = h5py.h5o.open(file, name.encode())
    if not isinstance(data, h5py.h5d.DatasetID):
        raise damaged(path, f"{name!r} is no data set of this file")
    plain = data.get_create_plist()
    if (
        plain.get_layout() != h5py.h5d.CONTIGUOUS
        or plain.get_nfilters()
        or plain.get_external_count()
    ):
        raise damaged(path, f"{name!r} is not stored as plain rows")
    dtype, shape = data.dtype, data.shape
    if dtype.kind not in "fS" or len(shape) not in (1, 2):
        raise damaged(path, f"{name!r} has the type {dtype} and the shape {shape}")
    extent = Extent(data.get_offset() or 0, tuple(map(int, shape)), dtype.str)
    if extent.offset + extent.n_bytes > size or (extent.n_bytes and not extent.offset):
        raise damaged(path, f"{name!r} claims more bytes than the file has")
    return extent


def fit_together(extents: tuple[Extent, ...]) -> bool:
    """Say whether four arrays can be those of a shard: types, shapes and bounds.

    Parameters
    ----------
    extents : tuple[Extent, ...]
        Data sets of the shard.

    Returns
    -------
    bool
    """
    features, ids, rejected, reasons = extents
    return (
        features.dtype in layout.FEATURE_DTYPES
        and len(features.shape) == 2
        and features.shape[1] <= layout.MAX_FEATURES
        and ids.shape == features.shape[:1]
        and ids.dtype == rejected.dtype == f"|{layout.ID_DTYPE}"
        and len(rejected.shape) == 1
        and reasons.shape == rejected.shape
        and reasons.dtype[:2] == "|S"
        and 0 < reasons.row_bytes <= layout.MAX_REASON_BYTES
        and ids.shape[0] + rejected.shape[0] <= layout.MAX_ROWS
    )
