"""Images inside tar, zip and Parquet files, read in place.

A member is named by a path of its own: the container's path, ``::`` and the member's name (for
Parquet ``row/column``). :func:`read_bytes` reads such a path and an ordinary one alike.

Images in the rows of a Parquet file, as Hugging Face and Community Forensics keep them.
"""

from __future__ import annotations

import json
import lzma
import os
import re
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from featcache.datasets.evidence import word_evidence
from featcache.errors import DataError
from featcache.files import TEMPORARY_PREFIX, open_file, read_file, require_file
from featcache.images import is_image

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SEPARATOR = "::"
"""Between a container and its member."""

SUFFIXES = (".tar", ".zip", ".parquet")
OPEN_CONTAINERS = 64
"""Containers of a process whose tables of contents are kept."""
MAX_MEMBERS = 20_000_000
"""Members of a container at the most: the largest published archives hold a few millions."""
MAX_MEMBER_BYTES = 1 << 30
"""Bytes of one image file at the most."""
MAX_RATIO = 1000
"""Unpacked over packed bytes of a member at the most; deflate cannot do more than 1,032."""
RATIO_FROM_BYTES = 1 << 26
"""Below this size a member may be as compressible as it likes: flat masks are."""


def _check_count(n: int) -> None:
    if n > MAX_MEMBERS:
        raise ValueError(f"it has more than {MAX_MEMBERS:,} members")


def _check_size(name: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise OSError(f"{name!r} has {size:,} bytes; {MAX_MEMBER_BYTES:,} are the limit")


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a container: its name there and its size."""

    name: str
    n_bytes: int


class Container(Protocol):
    """A file that holds files; reading is safe from several threads."""

    def members(self) -> Iterator[Member]:
        """Yield the files, in the container's order.

        Returns
        -------
        Iterator[Member]
            The files, in the container's order.
        """

    def read(self, name: str) -> bytes:
        """Return the bytes of a member; ``KeyError`` where there is none of the name.

        Parameters
        ----------
        name : str
            Name to look up or to show.

        Returns
        -------
        bytes
            The bytes of a member.
        """


def is_container(name: str) -> bool:
    """Say whether a file of this name is read as a container.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Returns
    -------
    bool
    """
    return name.lower().endswith(SUFFIXES)


def read_bytes(path: str) -> bytes:
    """Return the bytes of a sample: of a file, or of a member of a container.

    Parameters
    ----------
    path : str
        As it stands in a manifest.

    Returns
    -------
    bytes
        The bytes of a sample.

    Raises
    ------
    OSError
        If the file cannot be read, or the container has no such member.
    """
    head, separator, member = path.partition(SEPARATOR)
    if not separator or os.path.exists(path):
        return read_file(path, MAX_MEMBER_BYTES)
    try:
        return open_container(head).read(member)
    except KeyError as error:
        raise FileNotFoundError(2, f"{head} has no member", member) from error
    except DataError as error:
        raise OSError(str(error)) from error


def open_container(path: str) -> Container:
    """Return the container; its table of contents is read once per process.

    Parameters
    ----------
    path : str
        File or folder.

    Returns
    -------
    Container
        The container.

    Raises
    ------
    DataError
        If it is damaged or of another kind than its name says.
    """
    status = os.stat(path)
    return _open(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=OPEN_CONTAINERS)
def _open(path: str, size: int, mtime_ns: int) -> Container:
    suffix = Path(path).suffix.lower()
    try:
        if suffix == ".parquet":
            return ParquetFile(path)
        return TarFile(path) if suffix == ".tar" else ZipFile(path)
    except (tarfile.TarError, zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{path!r} is no readable {suffix[1:]} file: {error}. Remove or replace it."
        ) from error


class TarFile:
    """An uncompressed tar: members are read at their offsets, without a lock."""

    def __init__(self, path: str) -> None:
        self._at: dict[str, tuple[int, int]] = {}
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            n_bytes = os.fstat(file.fileno()).st_size
            for member in tar:
                # tarfile keeps every header; only ours are needed.
                tar.members.clear()  # type: ignore[attr-defined]
                if member.isreg():
                    if member.offset_data + member.size > n_bytes:
                        raise ValueError(f"the member {member.name!r} is cut off")
                    self._at[member.name] = (member.offset_data, member.size)
                    _check_count(len(self._at))
        self._path = path

    def members(self) -> Iterator[Member]:
        """Yield the regular files.

        Yields
        ------
        Member
            The regular files.
        """
        yield from (Member(name, size) for name, (_, size) in self._at.items())

    def read(self, name: str) -> bytes:
        """Return the bytes of a member.

        Parameters
        ----------
        name : str
            Name to look up or to show.

        Returns
        -------
        bytes
            The bytes of a member.
        """
        offset, size = self._at[name]
        _check_size(name, size)
        with open_file(self._path) as file:
            file.seek(offset)
            return file.read(size)


_ZIP_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(RuntimeError, NotImplementedError, ValueError),
)
"""What reading a member raises that is damaged, encrypted or packed in an unknown way."""


class ZipFile:
    """A zip; one reader at a time."""

    def __init__(self, path: str) -> None:
        file = open_file(path)
        try:
            self._zip = zipfile.ZipFile(file)
            _check_count(len(self._zip.infolist()))
        except BaseException:
            file.close()
            raise
        weakref.finalize(self, file.close)  # zipfile closes only what it has opened itself
        self._lock = threading.Lock()

    def members(self) -> Iterator[Member]:
        """Yield the files.

        Yields
        ------
        Member
            The files.
        """
        for info in self._zip.infolist():
            if not info.is_dir():
                yield Member(info.filename, info.file_size)

    def read(self, name: str) -> bytes:
        """Return the bytes of a member; a damaged or encrypted one is an OSError.

        Parameters
        ----------
        name : str
            Name to look up or to show.

        Returns
        -------
        bytes
            The bytes of a member.

        Raises
        ------
        OSError
            If the file cannot be read.
        """
        with self._lock:
            try:
                info = self._zip.getinfo(name)
                _check_size(name, info.file_size)
                if info.file_size > max(RATIO_FROM_BYTES, MAX_RATIO * info.compress_size):
                    raise OSError(f"it unpacks to more than {MAX_RATIO:,} times its size")
                with self._zip.open(info) as member:
                    data = member.read(info.file_size)
                    if member.read(1):
                        raise OSError("it unpacks to more bytes than it declares")
                if len(data) != info.file_size:
                    raise OSError("it unpacks to fewer bytes than it declares")
                return data
            except (
                zipfile.BadZipFile,
                RuntimeError,
                NotImplementedError,
                EOFError,
                ValueError,
                zlib.error,
                lzma.LZMAError,
            ) as error:
                raise OSError(f"damaged or encrypted in the zip file: {error}") from error


class ParquetFile:
    """A Parquet table with columns of image bytes, as Hugging Face writes them.

    Parquet can only be decoded by whole groups of rows, and features are made in the order of
    sample ids. A group is therefore decoded once, into an unnamed temporary file, and its rows
    are read from there.
    """

    def __init__(self, path: str) -> None:
        # pyarrow takes a while to import, and most data sets have no Parquet.
        import pyarrow.parquet as pq

        require_file(path)
        self._file = pq.ParquetFile(path)
        self.columns = image_columns(self._file)
        self.is_elsa = any(name.startswith("model_gen") for name in self._file.schema_arrow.names)
        self.class_names = class_names(self._file)
        if not self.columns:
            raise ValueError(f"it has no column of image bytes (columns: {self._names()})")
        counts = [
            self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)
        ]
        self._ends = [sum(counts[: i + 1]) for i in range(len(counts))]
        self._lock = threading.Lock()
        self._spool: _Spool | None = None

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return self._ends[-1] if self._ends else 0

    @property
    def has_records(self) -> bool:
        """Whether there are columns beside the images."""
        return len(self._file.schema_arrow.names) > len(self.columns)

    def _names(self) -> str:
        return ", ".join(self._file.schema_arrow.names)

    def members(self) -> Iterator[Member]:
        """Yield the images as ``row/column``; sizes are known only from the rows, so 0 here.

        Yields
        ------
        Member
            The images as ``row/column``.
        """
        for row in range(self.n_rows):
            for column in self.columns:
                yield Member(f"{row}/{column}", 0)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the other columns of each row, small ones only.

        Yields
        ------
        dict[str, Any]
            The other columns of each row, small ones only.
        """
        binary = _binary_columns(self._file)
        names = [name for name in self._file.schema_arrow.names if name not in binary]
        for batch in self._file.iter_batches(batch_size=4096, columns=names):
            yield from batch.to_pylist()

    def read(self, name: str) -> bytes:
        """Return the image at ``row/column``.

        Parameters
        ----------
        name : str
            Name to look up or to show.

        Returns
        -------
        bytes
            The image at ``row/column``.

        Raises
        ------
        KeyError
            If there is no such item.
        """
        row_text, _, column = name.partition("/")
        row = int(row_text)
        if column not in self.columns or not 0 <= row < self.n_rows:
            raise KeyError(name)
        group = next(i for i, end in enumerate(self._ends) if row < end)
        start = self._ends[group - 1] if group else 0
        with self._lock:
            if self._spool is None:
                self._spool = _Spool(self._file, self.columns)
            self._spool.add(group, start)
        return self._spool.read(column, row)


class _Spool:
    """The images of a file's groups of rows in one temporary file that has no name.

    One for all groups: a file handle for each would run out with a file of thousands of groups.
    """

    def __init__(self, source: pq.ParquetFile, columns: list[str]) -> None:
        # A handle of a temporary file that goes away with it.
        self._handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX)
        os.unlink(name)
        weakref.finalize(self, os.close, self._handle)
        self._source, self._columns = source, columns
        self._groups: set[int] = set()
        self._at: dict[tuple[str, int], tuple[int, int]] = {}
        self._end = 0

    def add(self, group: int, first_row: int) -> None:
        """Unpack a group of rows unless it is there; the caller holds the lock."""
        if group in self._groups:
            return
        table = self._source.read_row_group(group, columns=self._columns)
        with open(self._handle, "wb", closefd=False) as file:
            file.seek(self._end)
            for column in self._columns:
                for row, value in enumerate(table.column(column), first_row):
                    data = image_bytes(value.as_py())
                    file.write(data)
                    self._at[column, row] = (self._end, len(data))
                    self._end += len(data)
        self._groups.add(group)

    def read(self, column: str, row: int) -> bytes:
        offset, size = self._at[column, row]
        return os.pread(self._handle, size, offset)


_NO_SAMPLE = re.compile(
    r"mask|thumb|md5|sha\d|hash|embed|latent|depth|segment|annot|heatmap|saliency|landmark|canny"
)
"""Columns of bytes that are no images of the data set, whatever they hold."""

_PRIMARY = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "file")
"""Names of the image column where several hold images, in order of preference."""


def _binary_columns(file: pq.ParquetFile) -> list[str]:
    """Return the columns of bytes: binary, or Hugging Face's struct with ``bytes``."""
    names = []
    for item in file.schema_arrow:
        text = str(item.type)
        struct = text.startswith("struct<") and item.type.get_field_index("bytes") >= 0
        if text in ("binary", "large_binary") or struct:
            names.append(item.name)
    return names


def image_columns(file: pq.ParquetFile) -> list[str]:
    """Return the columns whose images are samples.

    Masks, thumbnails and bytes that are no images are left out. Where several columns are left,
    all are samples only if they are called by classes (``real``, ``fake_image``) or follow ELSA's
    scheme (``image_gen0`` beside ``model_gen0``); otherwise the one called ``image`` or the like.

    Parameters
    ----------
    file : pyarrow.parquet.ParquetFile
        Opened file.

    Returns
    -------
    list of str
        Names of columns; empty for a list without images.
    """
    columns = [name for name in _binary_columns(file) if not _NO_SAMPLE.search(name.lower())]
    columns = [name for name in columns if _holds_images(file, name)]
    if len(columns) < 2 or any(name.startswith("model_gen") for name in file.schema_arrow.names):
        return columns
    kinds = [re.sub(r"^image_?|_?image$", "", name.lower()).strip("_") for name in columns]
    if all(word_evidence("column", kind) for kind in kinds):
        return columns
    lower = {name.lower(): name for name in reversed(columns)}
    return [next((lower[name] for name in _PRIMARY if name in lower), columns[0])]


def _holds_images(file: pq.ParquetFile, column: str) -> bool:
    """Return whether one of the first values of a column is an image, or it has no value."""
    for batch in file.iter_batches(batch_size=16, columns=[column]):
        heads = [value[:65536] for row in batch.to_pylist() if (value := image_bytes(row[column]))]
        if heads:
            return column.lower() in _PRIMARY or any(map(is_image, heads))
    return True


def class_names(file: pq.ParquetFile) -> dict[str, list[str]]:
    """Return the names of the classes of each ``ClassLabel`` column, from the schema's metadata.

    Parameters
    ----------
    file : pyarrow.parquet.ParquetFile
        Opened file.

    Returns
    -------
    dict of str to list of str
        Column to the names of classes 0, 1, …; empty where the file has no such metadata.
    """
    metadata = file.schema_arrow.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: [str(word) for word in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def image_bytes(value: Any) -> bytes:
    """Return the bytes in a cell, empty where there are none.

    Parameters
    ----------
    value : Any
        Value to convert.

    Returns
    -------
    bytes
        The bytes in a cell, empty where there are none.
    """
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else b""
