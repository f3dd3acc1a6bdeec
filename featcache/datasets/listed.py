"""Samples that rows describe: lists of paths, Parquet files of images, WebDataset tars."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from featcache.datasets.containers import (
    SEPARATOR,
    container_suffix,
    open_container,
    read_bytes,
)
from featcache.datasets.evidence import LabelMap
from featcache.datasets.layouts import EVERY, Place
from featcache.datasets.records import (
    LIST_SUFFIXES,
    Reading,
    local_path,
    read_list,
    read_rows,
    value_of,
)
from featcache.datasets.tables import TableFile, image_columns
from featcache.datasets.template import LABELS, split_of_stem
from featcache.datasets.walk import IMAGE_SUFFIXES, File, Folder, suffix_of
from featcache.errors import DataError
from featcache.files import open_text, require_file

SIDE_FILES = (".json", ".cls", ".txt", ".label")
"""Files beside an image of a WebDataset that say what it is."""


def is_list(path: Path) -> bool:
    """Say whether a file is a list of images rather than a container of them.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    bool
    """
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        require_file(path)
        return not image_columns(pq.ParquetFile(path))
    if path.suffix.lower() == ".txt":
        with open_text(path, newline=None) as file:
            first = next((line for line in file if line.strip()), "")
        return any(
            suffix_of(word.strip("\"',")) in IMAGE_SUFFIXES for word in re.split(r"[\s,;]+", first)
        )
    return path.suffix.lower() in LIST_SUFFIXES


def in_list(path: Path, mapping: LabelMap, reading: Reading) -> Iterator[tuple[File, Place]]:
    """Yield the samples of a list; paths are relative to its folder unless they are absolute.

    Parameters
    ----------
    path : Path
        CSV, TSV, JSON, JSON Lines, text or Parquet list.
    mapping : LabelMap
        The user's own columns and values.
    reading : Reading
        Notes and counts are added to it.

    Yields
    ------
    (File, Place)
        The samples of the list.

    Raises
    ------
    DataError
        If it has no column of paths, or a label cannot be read; the message names the line.
    """
    _, split = split_of_stem(path.stem)
    default = Place(split, path.stem, "", -1, layout="list")
    files, rows = [], []
    for line, row in read_list(path):
        name = value_of(row, "path", mapping)
        if name is None:
            raise DataError(
                f"{path}, line {line}: no path. A list needs a column path (or filename, image) and"
                f" label; its columns are {', '.join(map(str, row))}. Say which one it is: "
                "--column path=NAME."
            )
        name = os.fsdecode(name) if isinstance(name, bytes) else str(name)
        files.append(stat_file(local_path(name, path.parent)))
        rows.append((f"{path}, line {line}", row, default))
    places = read_rows(rows, mapping, {}, str(path), reading)
    for file, place in zip(files, places, strict=True):
        if place is not None:
            yield file, place


def stat_file(path: str) -> File:
    """Return a file with its size and time, or with the reason why it has none.

    Parameters
    ----------
    path : str
        File or folder.

    Returns
    -------
    File
        A file with its size and time, or with the reason why it has none.
    """
    try:
        status = os.stat(path.partition(SEPARATOR)[0] if not os.path.exists(path) else path)
    except OSError as error:
        return File(
            os.path.basename(path), path, 0, 0, f"cannot be read: {error.strerror or error}"
        )
    problem = "" if os.path.isfile(path) or SEPARATOR in path else "is no regular file"
    return File(os.path.basename(path), path, status.st_size, status.st_mtime_ns, problem)


def in_table(
    folder: Folder, path: str, mapping: LabelMap, reading: Reading
) -> list[tuple[File, Place]]:
    """Return the images in a table; what its other columns do not say is read from its path.

    Parameters
    ----------
    folder : Folder
        The Parquet or Arrow file as a folder of images.
    path : str
        Its path, the root's name first.
    mapping : LabelMap
        The user's own columns and values.
    reading : Reading
        Notes and counts are added to it.

    Returns
    -------
    list of (File, Place)
        The images with what their rows say.
    """
    container = open_container(folder.container)
    assert isinstance(container, TableFile)  # the folder's suffix says so
    default = _default(path, container_suffix(folder.container)[1:])
    records = list(container.records()) if container.has_records else [{}] * container.n_rows
    files, rows = [], []
    for file in folder.files:
        row_text, _, column = file.path.partition(SEPARATOR)[2].partition("/")
        row = _for_column(records[int(row_text)], column, container)
        files.append(file)
        rows.append((f"{folder.container}, row {row_text}", row, default))
    places = read_rows(rows, mapping, container.class_names, folder.container, reading)
    return [(f, place) for f, place in zip(files, places, strict=True) if place is not None]


def _for_column(row: dict[str, Any], column: str, container: TableFile) -> dict[str, Any]:
    """Return the row as it holds for one of several image columns.

    Several columns are samples in two schemes: ELSA's (``image_gen2`` beside ``model_gen2``), and
    columns that are called by a class (``real``, ``fake_image``).
    """
    if len(container.columns) == 1:
        return row
    kind = re.sub(r"^image_?|_?image$", "", column.lower()).strip("_")
    if container.is_elsa:
        model = row.get(f"model_{kind}") or kind or column
        label = "real" if kind == "real" else "fake"
        source = value_of(row, "source") or row.get("id")
        return {**row, "label": label, "generator": model, "source": source}
    own = {key: value for key, value in row.items() if key.lower() != "label"}
    return {**own, "label": kind}


def in_tar(
    folder: Folder, path: str, mapping: LabelMap, reading: Reading
) -> list[tuple[File, Place]]:
    """Return the images of a WebDataset: each has a side file of the same stem with its label.

    Parameters
    ----------
    folder : Folder
        The tar as a folder of files.
    path : str
        Its path, the root's name first.
    mapping : LabelMap
        The user's own columns and values.
    reading : Reading
        Notes and counts are added to it.

    Returns
    -------
    list of (File, Place)
        Empty where no image has such a file: the tar is then a tree like any other.
    """
    sides: dict[str, dict[str, File]] = {}
    for file in folder.files:
        stem, _, suffix = file.name.partition(".")
        sides.setdefault(stem, {})[f".{suffix.lower()}"] = file
    if not any(side.keys() & {".json", ".cls", ".label"} for side in sides.values()):
        return []
    default = _default(path, "webdataset")
    files, rows = [], []
    for stem in sorted(sides):
        row = _read_sides(sides[stem])
        for file in sides[stem].values():
            if suffix_of(file.name) in IMAGE_SUFFIXES:
                files.append(file)
                rows.append((f"{folder.container}, {stem}", row, default))
    places = read_rows(rows, mapping, {}, folder.container, reading)
    return [(f, place) for f, place in zip(files, places, strict=True) if place is not None]


def _read_sides(files: dict[str, File]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if ".json" in files:
        try:
            row = dict(json.loads(read_bytes(files[".json"].path)))
        except (ValueError, TypeError) as error:
            raise DataError(f"{files['.json'].path} is no JSON object: {error}.") from error
    for suffix in (".cls", ".label"):
        if suffix in files:
            row["label"] = read_bytes(files[suffix].path).decode("utf-8", "replace").strip()
    return row


def share_reals(samples: list[tuple[File, Place]]) -> list[tuple[File, Place]]:
    """Let reals whose generator made no fake here (``lsun``, ``raise``) serve every generator.

    Parameters
    ----------
    samples : list[tuple[File, Place]]
        Samples, in the order of the rows.

    Returns
    -------
    list[tuple[File, Place]]
    """
    makers = {place.generator for _, place in samples if place.label}
    return [
        (
            (file, place)
            if place.label or place.paired_with or place.generator in makers
            else (file, replace(place, paired_with=EVERY))
        )
        for file, place in samples
    ]


def _default(path: str, layout: str) -> Place:
    """Return what the path of a shard says: ``train/progan-000001`` or ``train-00000-of-00010``."""
    parts = path.split("/")
    splits, names, labels = [], [], []
    for part in parts:
        word = re.sub(r"[-_.]?\d+(-of-\d+)?$", "", part)
        rest, split = split_of_stem(word)
        if split:
            splits.append(split)
        if word.lower() in LABELS:
            labels.append(int(LABELS[word.lower()]))
        elif rest and rest.lower() != "data":
            names.append(rest)
    generator = names[-1] if names else parts[0]
    place = Place("", generator, "", labels[0] if labels else -1, layout=layout)
    return replace(place, split=splits[-1]) if splits else place
