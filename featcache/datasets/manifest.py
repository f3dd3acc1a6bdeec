"""The table of samples: what each image file is, whose it is, and what it may be used for.

Labels live here and nowhere else. Written as CSV; file names that are not UTF-8 keep their bytes.
"""

from __future__ import annotations

import csv
import gc
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from featcache.errors import DataError
from featcache.files import read_file, write_atomic
from featcache.parsing import format_csv

REAL = "real"
"""The ``generator`` of a photograph."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file.

    Parameters
    ----------
    dataset : str
        Name of the tree that it was found in.
    root, path : str
        Folder of the dataset, and the file, both absolute.
    label : int
        0 real, 1 fake.
    generator : str
        The program that made it; ``"real"`` for photographs.
    paired_with : str
        The generator whose test or training set it belongs to; for a fake its own generator. In a
        table on disk a shared real has several (``a|b``, or ``*`` for all);
        :func:`~featcache.datasets.shared_reals.expand` gives it one row for each.
    family : str
        Family of the generator that it is paired with.
    split : {"train", "val", "test"}
    category : str
        Content class (``"cat"``), empty where the layout has none.
    source : str
        The photograph that it comes from: samples of one source are not independent.
    sample_id : str
        Digest of the file's bytes; empty where they could not be read.
    format, mode : str
        As Pillow calls them, from the header; empty where it is no image.
    width, height : int, pixels
    n_bytes, mtime_ns : int
        Size and time of change, by which a later scan knows the file again.
    jpeg_quality : int in [0, 100]
    tables : str
        Name of the JPEG quantisation tables, empty for other formats.
    has_exif : int in {0, 1}
    layout : str
        The layout that the file was found by.
    problem : str
        Why the file cannot be used; empty where it can be tried.
    """

    dataset: str
    root: str
    path: str
    label: int
    generator: str
    paired_with: str
    family: str
    split: str
    category: str = ""
    source: str = ""
    sample_id: str = ""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    n_bytes: int = 0
    mtime_ns: int = 0
    jpeg_quality: int = 0
    tables: str = ""
    has_exif: int = 0
    layout: str = ""
    problem: str = ""


_FIELDS = [field.name for field in fields(Sample)]
_OLD_NAMES = {"paired_with": "serves", "family": "group"}
"""Fields whose column keeps the name that it had in the first version of the file."""
_COLUMNS = [_OLD_NAMES.get(name, name) for name in _FIELDS]
_INTEGERS = {field.name for field in fields(Sample) if field.type in ("int", int)}
_row_of = attrgetter(*_FIELDS)
LATER = {"tables": "", "has_exif": "0", "layout": ""}
"""Columns that tables written before them lack, and what they hold then: features and labels
need none.
"""


@dataclass(frozen=True)
class Manifest:
    """Samples in a fixed order.

    Parameters
    ----------
    samples : tuple of Sample
    """

    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def where(self, keep: Callable[[Sample], bool]) -> Manifest:
        """Return the samples for which ``keep`` says yes, in the same order.

        Parameters
        ----------
        keep : Callable[[Sample], bool]
            Predicate of the samples to keep.

        Returns
        -------
        Manifest
            The samples for which ``keep`` says yes, in the same order.
        """
        return Manifest(tuple(sample for sample in self.samples if keep(sample)))

    def readable(self) -> Manifest:
        """Return the samples whose bytes could be read; features need no more than that.

        Returns
        -------
        Manifest
        """
        return self.where(lambda sample: not sample.problem)

    def usable(self) -> Manifest:
        """Return the samples for training and testing: readable, and of one label.

        Images that are real in one place and fake in another are left out; :meth:`conflicts`
        returns them.

        Returns
        -------
        Manifest
        """
        both = {sample.sample_id for sample in self.conflicts()}
        return self.where(lambda sample: not sample.problem and sample.sample_id not in both)

    def conflicts(self) -> list[Sample]:
        """Return the samples whose bytes are real in one place and fake in another.

        Returns
        -------
        list of Sample
            Sorted by content, all places of each.
        """
        labels: dict[str, int] = {}
        both = set()
        for sample in self.samples:
            if labels.setdefault(sample.sample_id, sample.label) != sample.label:
                both.add(sample.sample_id)
        both.discard("")
        chosen = [sample for sample in self.samples if sample.sample_id in both]
        return sorted(chosen, key=lambda sample: (sample.sample_id, sample.path))

    def write(self, path: Path) -> None:
        """Write the table as CSV, whole or not at all.

        Parameters
        ----------
        path : Path
            File or folder.
        """
        text = format_csv([_COLUMNS, *map(_row_of, self.samples)])
        write_atomic(path, text.encode("utf-8", "surrogateescape"))

    @classmethod
    def read(cls, path: Path, *, all_columns: bool = False) -> Manifest:
        """Read a table that :meth:`write` wrote.

        Parameters
        ----------
        path : Path
        all_columns : bool
            Refuse a table of before that lacks columns, which otherwise have their defaults.

        Returns
        -------
        Manifest

        Raises
        ------
        DataError
            If a column is missing or a value is not what it should be: says the file and the row.
        """
        try:
            return cls._read(path, {} if all_columns else LATER)
        except (csv.Error, OSError) as error:
            raise DataError(
                f"{path} is no table: {error}. Run 'featcache datasets scan' again."
            ) from error

    @classmethod
    def _read(cls, path: Path, later: Mapping[str, str]) -> Manifest:
        text = read_file(path).decode("utf-8", "surrogateescape")
        reader = csv.reader(io.StringIO(text, newline=""))
        names = next(reader, [])
        lacking = [name for name in _COLUMNS if name not in names]
        if missing := [name for name in lacking if name not in later]:
            raise DataError(
                f"{path} is no manifest of this version: it lacks the columns "
                f"{', '.join(missing)}. Run 'featcache datasets scan' again to write a new one."
            )
        defaults = [later[name] for name in lacking]  # stand before every row
        places = [[*lacking, *names].index(name) for name in _COLUMNS]
        # Hundreds of thousands of objects that live on: the collector would look at them in vain.
        with paused_gc():
            return cls(
                tuple(_parse([*defaults, *row], places, path, reader.line_num) for row in reader)
            )


@contextmanager
def paused_gc() -> Iterator[None]:
    """Keep the garbage collector from running while many lasting objects are made.

    Yields
    ------
    None
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def merge(manifests: Iterable[Manifest]) -> Manifest:
    """Return one table of several, each sample once.

    A folder that was scanned under two names, or moved and scanned again, gives the same content in
    the same role twice; only the first is kept. Repeats inside one table are left as they are.

    Parameters
    ----------
    manifests : Iterable[Manifest]
        Manifests to join.

    Returns
    -------
    Manifest
        One table of several, each sample once.

    Notes
    -----
    One content may be real in one place and fake in another: see :meth:`Manifest.conflicts`.
    """
    seen: set[tuple[str, ...]] = set()
    samples: list[Sample] = []
    for manifest in manifests:
        fresh = [sample for sample in manifest if _role(sample) not in seen]
        seen.update(_role(sample) for sample in fresh if sample.sample_id)
        samples.extend(fresh)
    return Manifest(tuple(samples))


def _role(sample: Sample) -> tuple[str, ...]:
    return (sample.sample_id, sample.generator, sample.paired_with, sample.split)


_NUMBERS = [i for i, name in enumerate(_COLUMNS) if name in _INTEGERS]
_LABEL = _COLUMNS.index("label")


def _parse(row: list[str], places: list[int], path: Path, line: int) -> Sample:
    """Return the sample in a row; ``places`` are the columns in the order of the fields."""
    try:
        values: list[Any] = [row[i] for i in places]
        for i in _NUMBERS:
            values[i] = int(values[i])
        if values[_LABEL] not in (0, 1):
            raise ValueError(f"label {values[_LABEL]!r} is neither 0 nor 1")
    except (ValueError, IndexError) as error:
        raise DataError(
            f"{path}, line {line}: {error}. Run 'featcache datasets scan' again."
        ) from error
    return Sample(*values)
