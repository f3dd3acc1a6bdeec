"""Tables with columns of image bytes: Parquet files, and Arrow files of the library ``datasets``.

A member is named ``row/column``.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from featcache.datasets.archives import MAX_MEMBER_BYTES, Member
from featcache.datasets.evidence import word_evidence
from featcache.files import TEMPORARY_PREFIX, open_file, read_file, require_file
from featcache.images import is_image

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


class TableFile:
    """A table with columns of image bytes.

    Parameters
    ----------
    source : pyarrow.parquet.ParquetFile or _ArrowBatches
        Opened file.
    n_rows : int
    """

    def __init__(self, source: pq.ParquetFile | _ArrowBatches, n_rows: int) -> None:
        self._source = source
        self.n_rows = n_rows
        self.columns = image_columns(source)
        """Columns whose images are samples; none in a table without images."""
        self.is_elsa = any(name.startswith("model_gen") for name in source.schema_arrow.names)
        self.class_names = class_names(source)

    @property
    def has_records(self) -> bool:
        """Whether there are columns beside the images."""
        return len(self._source.schema_arrow.names) > len(self.columns)

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
        binary = _binary_columns(self._source)
        names = [name for name in self._source.schema_arrow.names if name not in binary]
        for batch in self._source.iter_batches(batch_size=4096, columns=names):
            yield from batch.to_pylist()

    def _cell(self, name: str) -> tuple[int, str]:
        """Return the row and column of a member."""
        row_text, _, column = name.partition("/")
        row = int(row_text)
        if column not in self.columns or not 0 <= row < self.n_rows:
            raise KeyError(name)
        return row, column


class ParquetFile(TableFile):
    """A Parquet table with columns of image bytes, as Hugging Face writes them.

    Parquet can only be decoded by whole groups of rows, and features are made in the order of
    sample ids. A group is therefore decoded once, into an unnamed temporary file, and its rows
    are read from there.

    Parameters
    ----------
    path : str
    """

    def __init__(self, path: str) -> None:
        # pyarrow takes a while to import, and most data sets have no tables.
        import pyarrow.parquet as pq

        require_file(path)
        self._file = pq.ParquetFile(path)
        counts = [
            self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)
        ]
        self._ends = list(accumulate(counts))
        super().__init__(self._file, self._ends[-1] if self._ends else 0)
        self._lock = threading.Lock()
        self._spool: _Spool | None = None

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
        row, column = self._cell(name)
        group = bisect_right(self._ends, row)
        start = self._ends[group - 1] if group else 0
        with self._lock:
            if self._spool is None:
                self._spool = _Spool(self._file, self.columns)
            self._spool.add(group, start)
        return self._spool.read(column, row)


class _ArrowBatches:
    """The batches of an Arrow file (stream or random access), mapped into memory and checked."""

    def __init__(self, path: str) -> None:
        import pyarrow as pa

        with open_file(path) as file:
            is_random_access = file.read(6) == b"ARROW1"
        mapped = pa.memory_map(path)
        if is_random_access:
            reader = pa.ipc.open_file(mapped)
            self.batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        else:
            reader = pa.ipc.open_stream(mapped)
            self.batches = list(reader)
        self.schema_arrow: pa.Schema = reader.schema
        for batch in self.batches:
            batch.validate(full=True)  # offsets of a damaged file lead anywhere

    def iter_batches(self, batch_size: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most ``batch_size`` rows."""
        for batch in self.batches:
            for start in range(0, batch.num_rows, batch_size):
                yield batch.slice(start, batch_size).select(columns)


class ArrowFile(TableFile):
    """An Arrow table with columns of image bytes, as ``Dataset.save_to_disk`` writes it.

    Parameters
    ----------
    path : str
    """

    def __init__(self, path: str) -> None:
        require_file(path)
        file = _ArrowBatches(path)
        self._batches = file.batches
        self._ends = list(accumulate(batch.num_rows for batch in file.batches))
        super().__init__(file, self._ends[-1] if self._ends else 0)

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
        row, column = self._cell(name)
        index = bisect_right(self._ends, row)
        start = self._ends[index - 1] if index else 0
        value = self._batches[index].column(column)[row - start].as_py()
        data = image_bytes(value)
        if not data and isinstance(value, dict) and value.get("path"):
            # The library's cache names images that lie elsewhere on this machine.
            return read_file(value["path"], MAX_MEMBER_BYTES)
        return data


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


def _binary_columns(file: pq.ParquetFile | _ArrowBatches) -> list[str]:
    """Return the columns of bytes: binary, or Hugging Face's struct with ``bytes``."""
    names = []
    for item in file.schema_arrow:
        text = str(item.type)
        struct = text.startswith("struct<") and item.type.get_field_index("bytes") >= 0
        if text in ("binary", "large_binary") or struct:
            names.append(item.name)
    return names


def image_columns(file: pq.ParquetFile | _ArrowBatches) -> list[str]:
    """Return the columns whose images are samples.

    Masks, thumbnails and bytes that are no images are left out. Where several columns are left,
    all are samples only if they are called by classes (``real``, ``fake_image``) or follow ELSA's
    scheme (``image_gen0`` beside ``model_gen0``); otherwise the one called ``image`` or the like.

    Parameters
    ----------
    file : pyarrow.parquet.ParquetFile or _ArrowBatches
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


def _holds_images(file: pq.ParquetFile | _ArrowBatches, column: str) -> bool:
    """Return whether one of the first values of a column is an image, or it has no value."""
    for batch in file.iter_batches(batch_size=16, columns=[column]):
        heads = [value[:65536] for row in batch.to_pylist() if (value := image_bytes(row[column]))]
        if heads:
            return column.lower() in _PRIMARY or any(map(is_image, heads))
    return True


def class_names(file: pq.ParquetFile | _ArrowBatches) -> dict[str, list[str]]:
    """Return the names of the classes of each ``ClassLabel`` column, from the schema's metadata.

    Parameters
    ----------
    file : pyarrow.parquet.ParquetFile or _ArrowBatches
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
