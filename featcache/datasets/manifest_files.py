"""Manifests on disk: Parquet, and the CSV of earlier versions, which is still read.

Texts are UTF-8; where a column holds file names that are not, it holds bytes. Sample ids are values
of 16 bytes, and ``source`` is null where a sample is its own source.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.datasets.columns import Column, IdTable, Texts, buffer_of, encode_arrow, unique_ids
from featcache.datasets.sample import FIELDS, INTEGERS, OWN, encode, shrink
from featcache.errors import DataError
from featcache.files import atomic_file, open_file, read_file, write_atomic
from featcache.parsing import format_csv

if TYPE_CHECKING:
    import pyarrow as pa

    from featcache.datasets.manifest import Manifest

VERSION = b"2"
"""Of the Parquet form; 1 is the CSV."""

MAX_ROWS = 1 << 28
"""Rows of a table that is read: a damaged or hostile file may claim any number."""

OLD_NAMES = {"paired_with": "serves", "family": "group"}
"""Fields whose column has another name in CSV, the one of the first version of the file."""

CSV_COLUMNS = [OLD_NAMES.get(name, name) for name in FIELDS]

LATER = {"tables": "", "has_exif": "0", "layout": ""}
"""Columns that tables written before them lack, and what they hold then: features and labels
need none.
"""


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest, whole or not at all.

    Parameters
    ----------
    manifest : Manifest
    path : Path
        As Parquet where it ends in ``.parquet``, else as CSV.
    """
    if path.suffix != ".parquet":
        columns = [manifest.numbers(n) if n in INTEGERS else manifest.strings(n) for n in FIELDS]
        text = format_csv([CSV_COLUMNS, *zip(*columns, strict=True)])
        write_atomic(path, text.encode("utf-8", "surrogateescape"))
        return
    import pyarrow.parquet as pq

    table = manifest.table.replace_schema_metadata({"featcache.manifest": VERSION})
    many = {"path", "sample_id", "source"}  # values that hardly repeat need no dictionary
    with atomic_file(path) as file:
        pq.write_table(
            table,
            file,
            compression="zstd",
            use_dictionary=[n for n in FIELDS if n not in many and n not in INTEGERS],
            write_page_checksum=True,
        )


def read_columns(path: Path, *, all_columns: bool = False) -> dict[str, Column]:
    """Read the columns of a manifest that :func:`write_manifest` wrote.

    Parameters
    ----------
    path : Path
        Parquet where it ends in ``.parquet``, else CSV.
    all_columns : bool
        Refuse a CSV of before that lacks columns, which otherwise have their defaults.

    Returns
    -------
    dict of str to Texts or ndarray

    Raises
    ------
    DataError
        If the file is damaged, a column is missing, or a value is not what it should be: says the
        file and the reason.
    """
    if path.suffix == ".parquet":
        return _read_parquet(path)
    try:
        return parse_csv(read_file(path), path, all_columns=all_columns)
    except OSError as error:
        raise _refusal(path, error) from error


def _refusal(path: Path | str, reason: object) -> DataError:
    return DataError(f"{path} is no table: {reason}. Run 'featcache datasets scan' again.")


def parse_csv(data: bytes, path: Path | str, *, all_columns: bool = False) -> dict[str, Column]:
    """Read the columns of a manifest in the CSV form.

    Parameters
    ----------
    data : bytes
        The file.
    path : Path or str
        Its name, for messages.
    all_columns : bool
        Refuse a table that lacks columns, which otherwise have their defaults.

    Returns
    -------
    dict of str to Texts or ndarray

    Raises
    ------
    DataError
        As for :func:`read_columns`.
    """
    later = {} if all_columns else LATER
    reader = csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline=""))
    try:
        return _parse_rows(reader, path, later)
    except csv.Error as error:
        raise _refusal(path, error) from error


def _parse_rows(reader: Any, path: Path | str, later: Mapping[str, str]) -> dict[str, Column]:
    names: list[str] = next(reader, [])
    lacking = [name for name in CSV_COLUMNS if name not in names]
    if missing := [name for name in lacking if name not in later]:
        raise DataError(
            f"{path} is no manifest of this version: it lacks the columns "
            f"{', '.join(missing)}. Run 'featcache datasets scan' again to write a new one."
        )
    defaults = [later[name] for name in lacking]  # stand before every row
    places = [[*lacking, *names].index(name) for name in CSV_COLUMNS]
    numbers = [i for i, name in enumerate(FIELDS) if name in INTEGERS]
    label = FIELDS.index("label")
    columns: list[list[Any]] = [[] for _ in FIELDS]
    shared: dict[str, str] = {}  # equal texts are one object
    for row in reader:
        fields = [*defaults, *row]
        try:
            values: list[Any] = [fields[i] for i in places]
            for i in numbers:
                values[i] = int(values[i])
                if not -(2**63) <= values[i] < 2**63:
                    raise ValueError(f"{CSV_COLUMNS[i]} is too large")
            if values[label] not in (0, 1):
                raise ValueError(f"label {values[label]!r} is neither 0 nor 1")
        except (ValueError, IndexError) as error:
            raise DataError(
                f"{path}, line {reader.line_num}: {error}. Run 'featcache datasets scan' again."
            ) from error
        for column, value in zip(columns, values, strict=True):
            column.append(shared.setdefault(value, value) if isinstance(value, str) else value)
    return encode(dict(zip(FIELDS, columns, strict=True)))


def _read_parquet(path: Path) -> dict[str, Column]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_file(path) as file:
            names = pq.read_schema(file).names
            if missing := [name for name in FIELDS if name not in names]:
                raise ValueError(f"it lacks the columns {', '.join(missing)}")
            plain = {*INTEGERS, "sample_id", "path"}
            texts = [name for name in FIELDS if name not in plain]
            parquet = pq.ParquetFile(
                file, read_dictionary=texts, page_checksum_verification=True, memory_map=False
            )
            if parquet.metadata.num_rows > MAX_ROWS:
                raise ValueError(f"it claims {parquet.metadata.num_rows:,} rows")
            columns: dict[str, Column] = {}
            for name in FIELDS:  # one after the other: less memory than all at once
                values = parquet.read(columns=[name]).column(0)
                columns |= _read_column(name, values)
    except (pa.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise _refusal(path, reason.rstrip(".")) from error
    return columns


def _read_column(name: str, values: pa.ChunkedArray) -> dict[str, Column]:
    """Return a column of a Parquet file, and that of own sources beside ``source``."""
    import pyarrow as pa

    if name in INTEGERS:
        if not pa.types.is_integer(values.type) or values.null_count:
            raise ValueError(f"the column {name} holds {values.type} or nothing, not integers")
        numbers = np.asarray(values.cast(pa.int64()).to_numpy())
        if name == "label" and not np.isin(numbers, (0, 1)).all():
            raise ValueError("a label is neither 0 nor 1")
        return {name: shrink(numbers)}
    if name == "sample_id" and values.type == pa.binary(16) and not values.null_count:
        chunks = [_raw_ids(chunk) for chunk in values.chunks]
        raw, codes = unique_ids(np.concatenate([np.empty((0, 16), np.uint8), *chunks]))
        return {name: Texts(codes, IdTable(raw))}
    is_dictionary = pa.types.is_dictionary(values.type)
    kind = values.type.value_type if is_dictionary else values.type
    if not any(
        is_kind(kind)
        for is_kind in (
            *(pa.types.is_string, pa.types.is_large_string),
            *(pa.types.is_binary, pa.types.is_large_binary),
        )
    ):
        raise ValueError(f"the column {name} holds {values.type}, not texts")
    if name == "source":
        own = np.asarray(values.is_null().to_numpy())
        named = Texts.constant("", len(own)) if own.all() else encode_arrow(values.fill_null(""))
        return {name: named, OWN: own.astype(np.int8)}
    if values.null_count:
        raise ValueError(f"the column {name} has rows without a value")
    if name == "path":
        return {name: Texts(np.arange(len(values), dtype=np.int32), buffer_of(values))}
    texts = encode_arrow(values)
    return {name: Texts.of_ids(texts.decode()) if name == "sample_id" else texts}


def _raw_ids(chunk: pa.Array) -> NDArray[np.uint8]:
    data = np.frombuffer(chunk.buffers()[1], np.uint8)
    return data[16 * chunk.offset : 16 * (chunk.offset + len(chunk))].reshape(-1, 16)
