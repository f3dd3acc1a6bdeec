"""What the rows of a list, of Parquet columns and of WebDataset side files say about an image."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from featcache.datasets.evidence import (
    FOLDER_WORDS,
    Evidence,
    LabelMap,
    decide,
    number_of,
    word_evidence,
)
from featcache.datasets.layouts import EVERY, Place
from featcache.datasets.template import split_of_folder
from featcache.errors import DataError
from featcache.files import open_file, open_text, read_file, require_file

LIST_SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")

COLUMNS = {
    "path": (
        *("path", "file", "filename", "file_name", "filepath", "file_path", "image_path"),
        *("img_path", "image", "img", "image_name", "relative_path"),
    ),
    "label": (
        *("label", "labels", "is_fake", "fake", "is_ai", "is_generated", "target", "class"),
        *("ground_truth", "ground truth", "groundtruth", "gt", "is_real", "real", "typ", "cls"),
    ),
    "generator": (
        *("generator", "model_name", "model", "generative_model", "generator_name"),
        *("gen_model", "method", "source_model"),
    ),
    "split": ("split", "subset", "set"),
    "category": ("category", "architecture", "motif"),
    "source": ("source", "source_id", "photo"),
    "serves": ("serves", "paired_with"),
}
"""The names under which the lists of the field have each value; the first that is there counts."""

_TWIN = re.compile(r"label|truth|authentic|^gt|target|class_?(name|text|str)|verdict|fake|^type$")
_ONE_IS_REAL = re.compile(r"^(is_?)?(real|authentic|genuine|natural|human)$")
_ONE_IS_FAKE = re.compile(r"^(is_?)?(fake|ai|generated|synthetic|deepfake|ai_generated)$")
_REAL_GENERATORS = frozenset(
    ("real", "authentic", "camera", "human", "photo", "photograph", "nature", "natural")
)
_NO_GENERATOR = frozenset(("", "none", "null", "nan", "n/a", "na", "-", "original"))


@dataclass
class Reading:
    """What was decided while rows were read, for the notes of a scan.

    Parameters
    ----------
    notes : list of str
        Readings that the user must know, such as a number without words.
    skipped : Counter of str
        Rows that are no samples, by reason.
    evidence : Counter of str
        Deciding evidence to number of samples, for ``datasets explain``.
    """

    notes: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    evidence: Counter[str] = field(default_factory=Counter)


def read_list(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a list with their line numbers.

    Parameters
    ----------
    path : Path
        CSV (any of ``, ; tab |`` as delimiter), TSV, JSON, JSON Lines, Parquet, or a text file
        with a path and a label on each line.

    Yields
    ------
    tuple of int and dict
        Line or row number from 1, and column to value.

    Raises
    ------
    DataError
        If the file is no such list.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            import pyarrow.parquet as pq

            require_file(path)
            batches = pq.ParquetFile(path).iter_batches(batch_size=4096)
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
        elif suffix in (".jsonl", ".ndjson"):
            with open_file(path) as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield number, json.loads(line)
        elif suffix == ".json":
            yield from enumerate(_json_rows(json.loads(read_file(path))), 1)
        elif suffix == ".txt":
            yield from _text_rows(path)
        else:
            yield from _csv_rows(path, "\t" if suffix == ".tsv" else "")
    except (ValueError, csv.Error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as a list: {error}.") from error


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with open_text(path) as file:
        if not delimiter:
            header = file.readline()
            file.seek(0)
            delimiter = max(",;\t|", key=header.count)
        reader = csv.DictReader(file, delimiter=delimiter)
        for row in reader:
            yield reader.line_num, row


def _text_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open_text(path, newline=None) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                parts = re.fullmatch(r"(.+?)[\s,;]+([^\s,;]+)", line.strip())
                name, label = parts.groups() if parts else (line.strip(), None)
                yield number, {"path": name.strip("\"'"), "label": label}


def _json_rows(document: Any) -> list[dict[str, Any]]:
    """Return the rows of a JSON list: records, a dict of columns, or records under one key."""
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
        if document and len(lists) == len(document):
            if all(split_of_folder(name) for name in document):
                return [{"split": name, **row} for name, rows in document.items() for row in rows]
            if all(word_evidence("", name) for name in document):
                return [
                    {"path": path, "label": name} for name in document for path in document[name]
                ]
        records = [value for value in lists if value and isinstance(value[0], dict)]
        if len(records) == 1:
            return list(records[0])
        if lists and len(lists) == len(document):
            return [dict(zip(document, row, strict=True)) for row in zip(*lists, strict=True)]
        if document and all(isinstance(value, dict) for value in document.values()):
            return [{"path": name, **value} for name, value in document.items()]
        return [{"path": name, "label": value} for name, value in document.items()]
    if isinstance(document, list) and all(isinstance(row, dict) for row in document):
        return document
    raise ValueError("it is neither a list of objects nor an object of columns")


def column_of(row: Mapping[str, Any], name: str, mapping: LabelMap) -> str | None:
    """Return the column of a row that holds a field, None where it has none.

    Parameters
    ----------
    row : mapping of str to object
        Column to value.
    name : str
        Field, such as ``label``.
    mapping : LabelMap
        The user's own columns.

    Returns
    -------
    str or None

    Raises
    ------
    DataError
        If the user's column is not there; the columns are listed.
    """
    if own := mapping.columns.get(name):
        if own not in row:
            raise DataError(
                f"--column {name}={own}: there is no such column; there are "
                f"{', '.join(map(str, row))}."
            )
        return own
    lower = {str(key).strip().lower(): key for key in row}
    for column in COLUMNS.get(name, (name,)):
        if column in lower and row[lower[column]] not in (None, ""):
            return str(lower[column])
    return None


def value_of(row: Mapping[str, Any], name: str, mapping: LabelMap | None = None) -> Any:
    """Return a row's value of a field, None where it has none.

    Parameters
    ----------
    row : mapping of str to object
        Column to value.
    name : str
        Field, such as ``label``.
    mapping : LabelMap, optional
        The user's own columns.

    Returns
    -------
    object
    """
    column = column_of(row, name, mapping or LabelMap())
    return None if column is None else row[column]


def read_rows(
    rows: Iterable[tuple[str, dict[str, Any], Place]],
    mapping: LabelMap,
    class_names: Mapping[str, Sequence[str]],
    file: str,
    reading: Reading,
) -> list[Place | None]:
    """Return what each row of one file says; None for a row that is no sample.

    All rows are looked at before a bare number is read: where words beside the numbers show what
    a number means, that meaning holds for the whole file.

    Parameters
    ----------
    rows : iterable of (str, dict, Place)
        File and line for messages, column to value, and what holds where the row says nothing.
    mapping : LabelMap
        The user's own columns and values.
    class_names : mapping of str to sequence of str
        Names of the classes of a column, from the ``ClassLabel`` of its schema.
    file : str
        Path of the file, for notes.
    reading : Reading
        Notes, skipped rows and evidence are added to it.

    Returns
    -------
    list of Place or None

    Raises
    ------
    DataError
        If a label cannot be read or contradicts itself; the message names the flag that decides.
    """
    kept = [
        (where, _with_class_names(row, mapping, class_names), default)
        for where, row, default in rows
    ]
    evidence = [row_evidence(row, where, mapping, class_names) for where, row, _ in kept]
    meaning: dict[int, set[int]] = defaultdict(set)
    for (where, _, _), pieces in zip(kept, evidence, strict=True):
        words = [piece for piece in pieces if piece.label is not None]
        for piece in pieces:
            if piece.label is None and not piece.skip and words:
                meaning[int(piece.value)].add(decide(words, where).label or 0)
    known = {number: labels.pop() for number, labels in meaning.items() if len(labels) == 1}
    bare: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    places: list[Place | None] = []
    for (where, row, default), pieces in zip(kept, evidence, strict=True):
        piece = _conclude(pieces, where, row, default, known, bare)
        if piece.skip:
            reading.skipped["left out by --label"] += 1
            places.append(None)
        else:
            reading.evidence[str(piece)] += 1
            named = _text(value_of(row, "split", mapping)).strip()
            if named and not split_of_folder(named):
                unknown[named] += 1
            places.append(_place(row, piece, default, mapping))
    _note_numbers(known, bare, evidence, file, reading)
    if len(mapping.fake_values()) > 1:
        values = ", ".join(sorted(mapping.fake_values()))
        reading.notes.append(
            f"Several values of --label are fake: {values}. Known words and numbers are categories "
            "of one generator, other values are names of generators."
        )
    if unknown:
        values = ", ".join(repr(value) for value, _ in unknown.most_common(5))
        reading.notes.append(
            f"{file}: the split of {unknown.total():,} rows is {values}, which is neither train, "
            "val nor test. If the column is no split, name another: --column split=NAME."
        )
    return places


def _with_class_names(
    row: dict[str, Any], mapping: LabelMap, class_names: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return a row with names for class numbers, in all columns but that of the label."""
    others = class_names.keys() - {column_of(row, "label", mapping)} if class_names else set()
    named = {
        column: class_names[column][number]
        for column in others
        if (number := number_of(_text(row.get(column)))) is not None
        and number < len(class_names[column])
    }
    return {**row, **named} if named else row


def row_evidence(
    row: Mapping[str, Any],
    where: str,
    mapping: LabelMap,
    class_names: Mapping[str, Sequence[str]],
) -> list[Evidence]:
    """Return the pieces of evidence for the label of a row, the strongest first.

    Parameters
    ----------
    row : mapping of str to object
        Column to value.
    where : str
        File and line, for messages.
    mapping : LabelMap
        The user's own columns and values.
    class_names : mapping of str to sequence of str
        Names of the classes of a column.

    Returns
    -------
    list of Evidence
        A number that says nothing by itself has the label None.

    Raises
    ------
    DataError
        If a class has no name, or its name is no known word.
    """
    pieces: list[Evidence] = []
    label = column_of(row, "label", mapping)
    if label is not None:
        pieces += _label_evidence(label, row[label], where, mapping, class_names)
    for column, value in row.items():
        if column == label or not isinstance(value, str) or not _TWIN.search(str(column).lower()):
            continue
        if piece := word_evidence(f"column {column!r}", value):
            pieces.append(piece)
    generator = column_of(row, "generator", mapping)
    if generator is not None and _text(row[generator]).strip().lower() in _REAL_GENERATORS:
        pieces.append(Evidence(f"column {generator!r}", _text(row[generator]), 0))
    path = value_of(row, "path", mapping)
    if isinstance(path, str):
        for folder in re.split(r"[/\\]", path)[:-1]:
            if folder.lower() in FOLDER_WORDS:
                pieces.append(Evidence("folder", folder, FOLDER_WORDS[folder.lower()]))
    return pieces


def _label_evidence(
    column: str,
    value: Any,
    where: str,
    mapping: LabelMap,
    class_names: Mapping[str, Sequence[str]],
) -> list[Evidence]:
    """Return the evidence in the label column: the user's map, a class name, a word, a number."""
    number = number_of(_text(value))
    if (piece := mapping.label_of(_text(value))) is not None:
        return [piece]
    if column in class_names and number is not None:
        names = class_names[column]
        name = names[number] if number < len(names) else ""
        piece = mapping.label_of(name) or word_evidence(f"name of {column!r} in the schema", name)
        if piece is None and set(names) != {"0", "1"}:
            raise DataError(
                f"{where}: class {number} of column {column!r} is called {name!r}, which is no "
                f"known word for real or fake (classes: {', '.join(names)}). Say what each means: "
                f"--label {name or number}=real|fake|skip."
            )
        if piece is not None:
            return [piece]
    if piece := word_evidence(f"column {column!r}", _text(value)):
        return [piece]
    if number is not None:
        bare_name = column.strip().lower().replace(" ", "_")
        if number in (0, 1) and _ONE_IS_REAL.match(bare_name):
            return [Evidence(f"column {column!r}", str(number), 1 - number)]
        if number in (0, 1) and _ONE_IS_FAKE.match(bare_name):
            return [Evidence(f"column {column!r}", str(number), number)]
        return [Evidence(f"column {column!r}", str(number), None)]
    if column.strip().lower() == "typ":  # GRIP's lists: the column names the generator of a fake
        return [Evidence(f"column {column!r}", _text(value), 1)]
    return []


def _conclude(
    pieces: Sequence[Evidence],
    where: str,
    row: Mapping[str, Any],
    default: Place,
    known: Mapping[int, int],
    bare: Counter[str],
) -> Evidence:
    """Return the deciding evidence of a row."""
    if mapped := [piece for piece in pieces if piece.source == "--label"]:
        return mapped[0]
    words = [piece for piece in pieces if piece.label is not None]
    if words:
        return decide(words, where)
    for piece in pieces:
        number = int(piece.value)
        if number in known:
            return Evidence(f"{piece.source}, as other rows show", piece.value, known[number])
        if number in (0, 1):
            bare[piece.source] += 1
            return Evidence(piece.source, piece.value, number)
        raise DataError(
            f"{where}: {piece.source} is {number}, and nothing says what that means. Say it: "
            f"--label {number}=real|fake|skip."
        )
    if default.label >= 0:
        return Evidence("folder", default.layout, default.label)
    generator = _text(value_of(row, "generator"))
    if generator.lower() not in _NO_GENERATOR:
        return Evidence("column of the generator", generator, 1)
    value = value_of(row, "label")
    problem = "no label" if value is None else f"the label {value!r} is no known word"
    raise DataError(
        f"{where}: {problem}. Expected a column {', '.join(COLUMNS['label'][:3])} with "
        f"0, 1, real or fake; the columns are {', '.join(map(str, row))}. Say which one holds it: "
        "--column label=NAME (and --label VALUE=real|fake|skip)."
    )


def _note_numbers(
    known: Mapping[int, int],
    bare: Counter[str],
    evidence: Sequence[Sequence[Evidence]],
    file: str,
    reading: Reading,
) -> None:
    """Add the notes on numbers: what words say about them, or that nothing does."""
    if any(number in (0, 1) and number != label for number, label in known.items()):
        words = next(
            piece
            for pieces in evidence
            for piece in pieces
            if piece.label is not None and any(p.label is None for p in pieces)
        )
        read = ", ".join(
            f"{number} is {('real', 'fake')[label]}" for number, label in sorted(known.items())
        )
        reading.notes.append(f"{file}: in the numeric label {read}, as {words.source} says.")
    for source, count in bare.items():
        reading.notes.append(
            f"{file}: {source} of {count:,} rows is read as 0 = real, 1 = fake; no word in the file"
            " confirms it. If it is the other way round: --label 0=fake --label 1=real."
        )


def _place(row: Mapping[str, Any], piece: Evidence, default: Place, mapping: LabelMap) -> Place:
    """Join the label with what the other columns say."""
    label = piece.label or 0
    generator = _text(value_of(row, "generator", mapping)).strip()
    if generator.lower() in _NO_GENERATOR | _REAL_GENERATORS:
        generator = ""
    if label and not generator:
        named = piece.source.lower() == "column 'typ'"
        generator = piece.value if named else default.generator
    category = _text(value_of(row, "category", mapping)) or piece.category or default.category
    if piece.source == "--label" and label and len(mapping.fake_values()) > 1:
        value = piece.value.rpartition("=")[0]
        if word_evidence("", value) or number_of(value) is not None:
            category = category or value
        elif generator == default.generator:
            generator = value
    paired_with = _text(value_of(row, "serves", mapping))
    shared = not label and not generator
    split = split_of_folder(_text(value_of(row, "split", mapping)))
    return Place(
        split=split[0] if split else default.split,
        generator=default.generator if shared else generator,
        category=category,
        label=label,
        paired_with=paired_with or (EVERY if shared else ""),
        source=_text(value_of(row, "source", mapping)),
        layout=default.layout,
    )


def local_path(name: str, folder: Path) -> str:
    """Return the path of a listed file; Windows separators are accepted where they are meant.

    Parameters
    ----------
    name : str
        Path in the list, absolute or relative to the folder.
    folder : Path
        Folder of the list, or the root given for it.

    Returns
    -------
    str
    """
    full = os.path.normpath(os.path.join(folder, name))
    if "\\" in name and not os.path.exists(full):
        windows = PureWindowsPath(name)
        return os.path.normpath(
            os.path.join(folder, windows.relative_to(windows.anchor).as_posix())
        )
    return full


def _text(value: Any) -> str:
    if value is None:
        return ""
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)
