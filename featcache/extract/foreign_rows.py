"""The rows of foreign features: which image each vector is of, and what a table says about it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featcache.cache import FeatureStore
from featcache.datasets import Manifest, Sample, load_manifests
from featcache.datasets.evidence import LabelMap
from featcache.datasets.families import group_of
from featcache.datasets.file_metadata import FileMetadata, metadata_of
from featcache.datasets.layouts import Place, is_shared
from featcache.datasets.library import list_manifests
from featcache.datasets.listed import stat_file
from featcache.datasets.records import (
    Reading,
    column_of,
    local_path,
    read_list,
    read_rows,
    value_of,
)
from featcache.datasets.sample import REAL
from featcache.datasets.scan import dataset_name, split_of
from featcache.errors import DataError
from featcache.extract.foreign_arrays import Row
from featcache.extract.foreign_sources import ForeignArrays
from featcache.files import digest_bytes, printable

LAYOUT = "features"
"""``layout`` of samples that came with imported features."""

_SAMPLE_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class ForeignOptions:
    """How rows of foreign features are read.

    Parameters
    ----------
    name : str
        Name of the features; the store calls them ``NAME#foreign``.
    rows : Path, optional
        Table with a row for each feature vector; None takes what came along with the features.
    dataset : str
        Name of the data set; by default that of the table.
    images : Path, optional
        Folder that paths of the table are relative to; by default the table's own.
    array : str
        Name of the array or column.
    hash_images : bool
        Whether image files that the paths name are read for their digests.
    mapping : LabelMap
        The user's own columns and values.
    test_fraction : float in (0, 1)
        Share of the sources held out where no row names a split.
    groups : mapping of str to collection of str
        The user's own families of generators.
    workers : int
        Readers of image files; 0 means one per core.
    """

    name: str
    rows: Path | None = None
    dataset: str = ""
    images: Path | None = None
    array: str = ""
    hash_images: bool = True
    mapping: LabelMap = field(default_factory=LabelMap)
    test_fraction: float = 0.3
    groups: Mapping[str, list[str]] = field(default_factory=dict)
    workers: int = 0


@dataclass
class ForeignTable:
    """The rows beside the features, in their order.

    Parameters
    ----------
    rows : list of (str, dict)
    ids : list of str
        Sample ids.
    paths : list of str
        Path of the image file, or what the row calls itself.
    facts : dict of int to FileMetadata
        Of the rows whose image file was read.
    notes : list of str
    """

    rows: list[Row]
    ids: list[str]
    paths: list[str]
    facts: dict[int, FileMetadata]
    notes: list[str]


def read_table(arrays: ForeignArrays, options: ForeignOptions, source: Path) -> ForeignTable:
    """Return a row for each feature vector, with its sample id.

    Parameters
    ----------
    arrays : ForeignArrays
    options : ForeignOptions
    source : Path
        Where the features lie, for messages.

    Returns
    -------
    ForeignTable

    Raises
    ------
    DataError
        If there is no table, or it has another number of rows than the features.
    """
    notes: list[str] = []
    mapping = options.mapping
    if options.rows is None:
        if arrays.rows is None:
            raise DataError(
                f"{source} says nothing about its rows. Give a table with a row for each vector "
                "(path or id, label, generator, split, source): --rows TABLE.csv."
            )
        rows = arrays.rows
    else:
        rows = [(f"{options.rows}, line {line}", row) for line, row in read_list(options.rows)]
        if arrays.rows is not None and _row_name(arrays.rows[0][1], LabelMap()):
            rows = _join(arrays.rows, rows, options, notes)
        elif len(rows) != arrays.n_rows:
            raise DataError(
                f"{options.rows} has {len(rows):,} rows and {source} has {arrays.n_rows:,} feature "
                "vectors. Row i of the table must be vector i."
            )
    folder = options.images or (options.rows or source).resolve().parent
    names = [_row_name(row, mapping) for _, row in rows]
    if n_unnamed := names.count(""):
        notes.append(
            f"{n_unnamed:,} rows have neither path nor id and are known by their number in "
            f"{(options.rows or source).name}; they join with no other features."
        )
    dataset = options.dataset or dataset_name((options.rows or source).resolve())
    paths = [name or f"row {i}" for i, name in enumerate(names)]
    ids = [digest_bytes(f"foreign\0{dataset}\0{path}".encode("utf-8", "surrogateescape"))
           for path in paths]  # fmt: skip
    facts: dict[int, FileMetadata] = {}
    files = []
    for i, (_, row) in enumerate(rows):
        given = str(row.get("sample_id") or "")
        if _SAMPLE_ID.fullmatch(given):  # an export of featcache
            ids[i] = given
        elif names[i] and options.hash_images and value_of(row, "path", mapping) is not None:
            local = local_path(names[i], folder)
            if os.path.isfile(local):
                files.append((i, local))
    facts_of_files = metadata_of([stat_file(path) for _, path in files], None, options.workers)
    for (i, path), fact in zip(files, facts_of_files, strict=True):
        assert isinstance(fact, FileMetadata)  # no earlier manifest was given
        if fact.sample_id:
            ids[i], paths[i], facts[i] = fact.sample_id, path, fact
        else:
            notes.append(f"{printable(path)}: {fact.problem}; its row goes by its name.")
    n_derived = len({*ids}) - len({ids[i] for i in facts})
    if n_derived and not any(row.get("sample_id") for _, row in rows):
        notes.append(
            f"{n_derived:,} rows name no image file that is there: their sample ids are derived "
            f"from the data set's name {dataset!r} and the row's path or id. They join with other "
            "features imported under the same data set and ids, not with features of the images."
        )
    return ForeignTable(rows, ids, paths, facts, notes)


def _row_name(row: Mapping[str, Any], mapping: LabelMap) -> str:
    """Return what a row calls itself: its path, else its id."""
    value = value_of(row, "path", mapping)
    value = value_of(row, "id", mapping) if value is None else value
    if value is None:
        return ""
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)


def _join(
    own: Sequence[Row], rows: Sequence[Row], options: ForeignOptions, notes: list[str]
) -> list[Row]:
    """Return the table's row of each vector, by the path or id that came along with the vector."""
    by_name: dict[str, Row] = {}
    for row in rows:
        name = os.path.normpath(_row_name(row[1], options.mapping))
        if by_name.setdefault(name, row) is not row:
            raise DataError(f"{row[0]}: {name!r} stands twice in the table.")
    names = [os.path.normpath(_row_name(row, LabelMap())) for _, row in own]
    if missing := [name for name in names if name not in by_name]:
        raise DataError(
            f"{options.rows} has no row for {len(missing):,} of {len(own):,} vectors (first: "
            f"{missing[0]!r}). Paths or ids must be written as they came along with the features."
        )
    if n_more := len(by_name) - len(set(names)):
        notes.append(f"{n_more:,} rows of {options.rows} have no vector and are passed over.")
    return [by_name[name] for name in names]


def read_labels(
    store: FeatureStore, table: ForeignTable, dataset: str, options: ForeignOptions, source: Path
) -> Manifest | None:
    """Return the manifest that the rows make; None where the store's own say every label.

    Parameters
    ----------
    store : FeatureStore
    table : ForeignTable
        Notes are added to it.
    dataset : str
        Name of the data set.
    options : ForeignOptions
    source : Path
        Where the features lie, for messages.

    Returns
    -------
    Manifest or None

    Raises
    ------
    DataError
        If an image has no label, or both.
    """
    mapping = options.mapping
    labelled = any(
        column_of(row, name, mapping) is not None
        for _, row in table.rows
        for name in ("label", "generator")
    )
    if not labelled:
        _require_known(store, table, options.rows or source)
        return None
    reading = Reading()
    default = Place("", dataset, "", -1, layout=LAYOUT)
    rows = [(where, row, default) for where, row in table.rows]
    places = read_rows(rows, mapping, {}, str(options.rows or source), reading)
    table.notes += reading.notes
    root = str((options.rows or source).resolve())
    samples, labels = [], dict[str, tuple[int, str]]()
    for i, place in enumerate(places):
        if place is None:
            continue
        sample = _sample(table, i, place, (dataset, root), options)
        where = table.rows[i][0]
        label, first = labels.setdefault(sample.sample_id, (sample.label, where))
        if label != sample.label:
            raise DataError(
                f"{where}: {printable(sample.path)!r} is {'real' if not sample.label else 'fake'} "
                f"here and {'real' if not label else 'fake'} in {first}. Remove one of the rows, "
                "or both."
            )
        samples.append(sample)
    if not samples:
        raise DataError(f"{options.rows or source}: no row is a sample ({dict(reading.skipped)}).")
    return _with_earlier(store, dataset, samples)


def _require_known(store: FeatureStore, table: ForeignTable, path: Path) -> None:
    """Refuse rows without labels whose images the store does not know."""
    try:
        known = set(load_manifests(store.root).strings("sample_id"))
    except DataError:
        known = set()
    unknown = [i for i, name in enumerate(table.ids) if name not in known]
    if unknown:
        raise DataError(
            f"{path} says no label (columns: {', '.join(map(str, table.rows[0][1])) or 'none'}), "
            f"and {len(unknown):,} of {len(table.ids):,} rows are no images that the store knows "
            f"(first: {printable(table.paths[unknown[0]])!r}). Add columns label and generator "
            "(--column FIELD=NAME), or first run 'featcache datasets scan' on the images."
        )


def _sample(
    table: ForeignTable, i: int, place: Place, dataset: tuple[str, str], options: ForeignOptions
) -> Sample:
    facts = table.facts.get(i)
    paired_with = place.paired_with or place.generator
    source = place.source or table.ids[i]
    file = {} if facts is None else facts._asdict() | {"problem": ""}
    return Sample(
        dataset=dataset[0],
        root=dataset[1],
        path=table.paths[i],
        label=place.label,
        generator=place.generator if place.label else REAL,
        paired_with=paired_with,
        family="" if is_shared(paired_with) else group_of(paired_with, options.groups),
        split=place.split or split_of(source, options.test_fraction),
        category=place.category,
        source=source,
        layout=LAYOUT,
        **{**file, "sample_id": table.ids[i]},
    )


def _with_earlier(store: FeatureStore, dataset: str, samples: list[Sample]) -> Manifest:
    """Return the samples behind those that earlier imports of this data set wrote."""
    path = list_manifests(store.root).get(dataset)
    earlier = list(Manifest.read(path)) if path else []
    if any(sample.layout != LAYOUT for sample in earlier):
        raise DataError(
            f"The store has a data set {dataset!r} already, of the images in {earlier[0].root}. "
            "Give this one another name: --dataset NAME."
        )
    labels = {sample.sample_id: sample.label for sample in earlier}
    for sample in samples:
        if labels.get(sample.sample_id, sample.label) != sample.label:
            raise DataError(
                f"{printable(sample.path)!r} has another label in an earlier import of the data "
                f"set {dataset!r}. Give this one another name: --dataset NAME."
            )
    roles = {
        (s.sample_id, s.paired_with, s.split, s.category): s for s in (*samples, *earlier)
    }  # the earlier ones keep what they are
    order = dict.fromkeys((*map(_role, earlier), *map(_role, samples)))
    return Manifest(tuple(roles[role] for role in order))


def _role(sample: Sample) -> tuple[str, str, str, str]:
    return (sample.sample_id, sample.paired_with, sample.split, sample.category)
