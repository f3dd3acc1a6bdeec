"""Samples that rows describe: lists of paths, Parquet files of images, WebDataset tars."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from featcache.datasets.containers import SEPARATOR, open_container, read_bytes
from featcache.datasets.layouts import EVERY, Place
from featcache.datasets.records import LIST_SUFFIXES, place_of, read_list, value_of
from featcache.datasets.template import LABELS, SPLITS
from featcache.datasets.walk import IMAGE_SUFFIXES, File, Folder, suffix_of
from featcache.errors import DataError

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
        from pyarrow.parquet import ParquetFile

        from featcache.datasets.containers import image_columns

        return not image_columns(ParquetFile(path))
    return path.suffix.lower() in LIST_SUFFIXES


def in_list(path: Path) -> Iterator[tuple[File, Place]]:
    """Yield the samples of a list; paths are relative to its folder unless they are absolute.

    Parameters
    ----------
    path : Path
        File or folder.

    Yields
    ------
    tuple[File, Place]
        The samples of a list.

    Raises
    ------
    DataError
        If it has no column of paths, or a label cannot be read: says the line.
    """
    default = Place("", path.stem, "", -1, layout="list")
    for line, row in read_list(path):
        name = value_of(row, "path")
        if name is None:
            raise DataError(
                f"{path}, line {line}: no path. A list needs a column path (or filename, image) and"
                f" label; its columns are {', '.join(map(str, row))}."
            )
        name = os.fsdecode(name) if isinstance(name, bytes) else str(name)
        full = os.path.normpath(os.path.join(path.parent, name))
        yield stat_file(full), place_of(row, f"{path}, line {line}", default)


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


def in_parquet(folder: Folder, path: str) -> list[tuple[File, Place]]:
    """Return the images in a Parquet file; what its other columns do not say is read from its path.

    Parameters
    ----------
    folder : Folder
        Folder that is read or written.
    path : str
        File or folder.

    Returns
    -------
    list[tuple[File, Place]]
        The images in a Parquet file.
    """
    from featcache.datasets.containers import ParquetFile

    container = open_container(folder.container)
    assert isinstance(container, ParquetFile)  # the folder's suffix says so
    default = _default(path, "parquet")
    rows = list(container.records()) if container.has_records else [{}] * container.n_rows
    samples = []
    for file in folder.files:
        row_text, _, column = file.path.partition(SEPARATOR)[2].partition("/")
        row = _for_column(rows[int(row_text)], column, len(container.columns))
        samples.append((file, place_of(row, f"{folder.container}, row {row_text}", default)))
    return samples


def _for_column(row: dict[str, Any], column: str, n_columns: int) -> dict[str, Any]:
    """Return the row as it holds for one of several image columns (ELSA_D3: ``image_gen2``)."""
    if n_columns == 1:
        return row
    kind = column.removeprefix("image").strip("_")
    model = row.get(f"model_{kind}") or kind or column
    extra = {"label": int(kind.lower() != "real"), "generator": model}
    return {**row, **extra, "source": value_of(row, "source") or row.get("id")}


def in_tar(folder: Folder, path: str) -> list[tuple[File, Place]]:
    """Return the images of a WebDataset: each has a side file of the same stem that gives its
    label.

    Parameters
    ----------
    folder : Folder
        Folder that is read or written.
    path : str
        File or folder.

    Returns
    -------
    list
        Empty where no image has such a file: the tar is then a tree like any other.
    """
    sides: dict[str, dict[str, File]] = {}
    for file in folder.files:
        stem, _, suffix = file.name.partition(".")
        sides.setdefault(stem, {})[f".{suffix.lower()}"] = file
    if not any(side.keys() & {".json", ".cls", ".label"} for side in sides.values()):
        return []
    default = _default(path, "webdataset")
    samples = []
    for stem in sorted(sides):
        row = _read_sides(sides[stem])
        for file in sides[stem].values():
            if suffix_of(file.name) in IMAGE_SUFFIXES:
                samples.append((file, place_of(row, f"{folder.container}, {stem}", default)))
    return samples


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
    splits_text = [re.sub(r"[-_.]?\d+(-of-\d+)?$", "", part) for part in parts]
    splits_named = [SPLITS[word.lower()] for word in splits_text if word.lower() in SPLITS]
    labels = [int(LABELS[word.lower()]) for word in splits_text if word.lower() in LABELS]
    names = [
        word for word in splits_text if word and word.lower() not in (*SPLITS, *LABELS, "data")
    ]
    generator = names[-1] if names else parts[0]
    place = Place("", generator, "", labels[0] if labels else -1, layout=layout)
    return replace(place, split=splits_named[-1]) if splits_named else place
