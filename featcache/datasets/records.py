"""What a row of a list says about an image: lists, Parquet columns and WebDataset side files
alike.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from featcache.datasets.layouts import EVERY, Place
from featcache.datasets.template import LABELS, SPLITS
from featcache.errors import DataError

LIST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

COLUMNS = {
    "path": (
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "image_path",
        "image",
        "image_name",
    ),
    "label": ("label", "is_fake", "fake", "target", "class", "typ", "cls"),
    "generator": ("generator", "model_name", "model", "generative_model", "generator_name"),
    "split": ("split",),
    "category": ("category", "architecture", "motif"),
    "source": ("source", "source_id", "photo"),
    "serves": ("serves",),
}
"""The names under which the field's lists have each value; the first that is there counts."""

REAL_WORDS = frozenset(("real", "photo", "photograph", "nature", "human", "camera"))


def read_list(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a CSV, TSV, JSON Lines or Parquet list with their line numbers.

    Parameters
    ----------
    path : Path
        File or folder.

    Yields
    ------
    tuple[int, dict[str, Any]]
        The rows of a CSV, TSV, JSON Lines or Parquet list with their line numbers.

    Raises
    ------
    DataError
        If the file is no such list.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            rows: Any = _parquet_rows(path)
        elif suffix in (".jsonl", ".ndjson"):
            with path.open("rb") as lines:
                yield from (
                    (i, json.loads(line)) for i, line in enumerate(lines, 1) if line.strip()
                )
            return
        else:
            yield from _csv_rows(path, "\t" if suffix == ".tsv" else ",")
            return
        yield from enumerate(rows, 1)
    except (ValueError, csv.Error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as a list: {error}.") from error


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        for row in reader:
            yield reader.line_num, row


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(batch_size=4096):
        yield from batch.to_pylist()


def value_of(row: Mapping[str, Any], name: str) -> Any:
    """Return a row's value under any of the names that it may have, None where it has none.

    Parameters
    ----------
    row : Mapping[str, Any]
        Row to describe.
    name : str
        Name to look up or to show.

    Returns
    -------
    Any
        A row's value under any of the names that it may have, None where it has none.
    """
    lower = {str(key).lower(): value for key, value in row.items()}
    for column in COLUMNS[name]:
        value = lower.get(column)
        if value is not None and value != "":
            return value
    return None


def place_of(row: Mapping[str, Any], where: str, default: Place) -> Place:
    """Return what a row says.

    Parameters
    ----------
    row : mapping
    where : str
        File and line, for the message.
    default : Place
        What holds where the row says nothing; a ``label`` of -1 means that it must.

    Returns
    -------
    Place
        What a row says.

    Raises
    ------
    DataError
        If no label can be read: says the columns that were looked for.
    """
    generator = _text(value_of(row, "generator"))
    label, named = _label(row, generator, where, default.label)
    if label and not generator:
        generator = named or default.generator
    paired_with = _text(value_of(row, "serves"))
    shared = not label and (not generator or generator.lower() in REAL_WORDS)
    split = _text(value_of(row, "split")).lower()
    return Place(
        split=SPLITS.get(split, default.split),
        generator=default.generator if shared else generator,
        category=_text(value_of(row, "category")) or default.category,
        label=label,
        paired_with=paired_with or (EVERY if shared else ""),
        source=_text(value_of(row, "source")),
        layout=default.layout,
    )


def _label(row: Mapping[str, Any], generator: str, where: str, default: int) -> tuple[int, str]:
    """Return the label, and the generator where the label column names it (GRIP's ``typ``)."""
    value = value_of(row, "label")
    if value is None:
        if generator:
            return int(generator.lower() not in REAL_WORDS), ""
        if default >= 0:
            return default, ""
    text = _text(value).strip().lower()
    if text in ("0", "1", "0.0", "1.0", "true", "false"):
        return int(text in ("1", "1.0", "true")), ""
    if text in LABELS:
        return int(LABELS[text]), ""
    if text in REAL_WORDS:
        return 0, ""
    if text in ("generated", "synthetic", "ai-generated", "aigc"):
        return 1, ""
    if text and "typ" in {str(key).lower() for key in row}:
        return 1, _text(value)
    raise DataError(
        f"{where}: the label {value!r} is none. A list needs a column "
        f"{' or '.join(COLUMNS['label'][:3])} with 0, 1, real or fake; its columns are "
        f"{', '.join(map(str, row))}."
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)
