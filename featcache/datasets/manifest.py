"""The table of samples: what each image file is, whose it is, and what it may be used for.

Labels live here and nowhere else. A manifest is a table of columns (:mod:`columns`); samples are
made of its rows when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.datasets.columns import Column, IdTable, Index, Texts, concatenate, group_rows
from featcache.datasets.manifest_files import read_columns, write_manifest
from featcache.datasets.sample import FIELDS, INTEGERS, OWN, Sample, encode

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
SAMPLES_AT_ONCE = 1 << 16
"""Rows that are made into samples at once while a manifest is iterated over."""


class Manifest:
    """Samples in a fixed order, as columns.

    Parameters
    ----------
    samples : iterable of Sample

    Notes
    -----
    Filters share the columns and hold the positions of their rows.
    """

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        rows = [tuple(getattr(sample, name) for name in FIELDS) for sample in samples]
        values = list(zip(*rows, strict=True)) if rows else [()] * len(FIELDS)
        self._columns = encode(dict(zip(FIELDS, values, strict=True)))
        self._rows: Index | None = None
        self.families: Mapping[str, str] | None = None

    @classmethod
    def of(
        cls,
        columns: Mapping[str, Column],
        rows: Index | None = None,
        families: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Return the manifest of some columns.

        Parameters
        ----------
        columns : mapping of str to Texts or ndarray
            All of :data:`FIELDS` and :data:`OWN`.
        rows : ndarray of intp, optional
            Positions of the rows that the manifest has; all by default.
        families : mapping of str to str, optional
            Family of each generator, where it is known with which generators every real is paired;
            see :func:`~featcache.datasets.pairings.resolve_pairs`.

        Returns
        -------
        Manifest
        """
        manifest = cls.__new__(cls)
        manifest._columns = dict(columns)
        manifest._rows = rows
        manifest.families = families
        return manifest

    def __len__(self) -> int:
        return len(self._columns["label"] if self._rows is None else self._rows)

    def __iter__(self) -> Iterator[Sample]:
        for start in range(0, len(self), SAMPLES_AT_ONCE):
            yield from self.subset(
                np.arange(start, min(start + SAMPLES_AT_ONCE, len(self)))
            )._make()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Manifest):
            return NotImplemented
        return len(self) == len(other) and all(
            _equal(self._column(name), other._column(name)) for name in self._columns
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Manifest({len(self):,} samples)"

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """All rows as objects; for a large manifest work with columns instead."""
        return tuple(self)

    def _make(self) -> Iterator[Sample]:
        columns = (self.strings(n) if n not in INTEGERS else self.numbers(n) for n in FIELDS)
        lists = [values if isinstance(values, list) else values.tolist() for values in columns]
        return map(Sample, *lists)

    def _column(self, name: str) -> Column:
        column = self._columns[name]
        if self._rows is None:
            return column
        return column.subset(self._rows) if isinstance(column, Texts) else column[self._rows]

    def texts(self, name: str) -> Texts:
        """Return a column of texts as codes and their values.

        Parameters
        ----------
        name : str
            Any but ``source``, for which there is :meth:`source_codes`.

        Returns
        -------
        Texts
        """
        column = self._column(name)
        assert isinstance(column, Texts)
        return column

    def codes(self, name: str) -> NDArray[np.int32]:
        """Return a number for each row, equal where a column has equal texts.

        Parameters
        ----------
        name : str
            Any column of texts but ``source``.

        Returns
        -------
        ndarray of shape (n_rows,), int32
            For ``sample_id`` in the order of the ids.
        """
        return self.texts(name).codes

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a column of integers.

        Parameters
        ----------
        name : str

        Returns
        -------
        ndarray of shape (n_rows,), int
        """
        column = self._column(name)
        assert not isinstance(column, Texts)
        return column

    def strings(self, name: str) -> list[str]:
        """Return the text of each row.

        Parameters
        ----------
        name : str

        Returns
        -------
        list of str
        """
        texts = self.texts(name).decode()
        if name == "source":
            own = np.flatnonzero(self.numbers(OWN))
            ids = self.subset(own).strings("sample_id")
            for i, text in zip(own.tolist(), ids, strict=True):
                texts[i] = text
        return texts

    @property
    def labels(self) -> NDArray[np.int64]:
        """Label of each row: 0 real, 1 fake; shape (n_rows,), int64."""
        return self.numbers("label").astype(np.int64)

    def is_text(self, name: str, *values: str) -> NDArray[np.bool_]:
        """Return which rows have one of some texts in a column.

        Parameters
        ----------
        name : str
        *values : str

        Returns
        -------
        ndarray of shape (n_rows,), bool
        """
        return self.texts(name).isin(values)

    def has_id(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which rows have one of some sample ids.

        Parameters
        ----------
        ids : ndarray of shape (n_ids,), S32
            Sorted, each once, as the index of a feature key has them.

        Returns
        -------
        ndarray of shape (n_rows,), bool
        """
        column = self.texts("sample_id")
        if not len(ids) or not len(column.table):
            return np.zeros(len(self), bool)
        if isinstance(column.table, IdTable):
            table = column.table.digits()
        else:  # what can be no id matches nothing
            names = column.table.texts()
            fits = (text if text.isascii() and len(text) <= 32 else "?" for text in names)
            table = np.array(list(fits), "S32")
        places = np.minimum(np.searchsorted(ids, table), len(ids) - 1)
        return np.asarray((ids[places] == table)[column.codes])

    def source_codes(self) -> NDArray[np.int64]:
        """Return a number for each row, equal where the samples come from one photograph.

        Rows that were taken of one manifest can be compared.

        A source that was captured from a path is a name within its data set only.

        Returns
        -------
        ndarray of shape (n_rows,), int64
        """
        ids, source = self.texts("sample_id"), self.texts("source")
        named = self.codes("dataset").astype(np.int64) * len(source.table) + source.codes
        return np.where(self.numbers(OWN) != 0, ids.codes, len(ids.table) + named)

    def source_names(self) -> list[str]:
        """Return the source of each row under a name that is unique.

        Returns
        -------
        list of str
            The sample id, or ``dataset/source``.
        """
        own = self.numbers(OWN).tolist()
        rows = zip(own, self.strings("dataset"), self.strings("source"), strict=True)
        return [text if is_own else f"{dataset}/{text}" for is_own, dataset, text in rows]

    def subset(self, rows: NDArray[Any]) -> Manifest:
        """Return some rows.

        Parameters
        ----------
        rows : ndarray of shape (n_rows,), bool, or of positions
            Positions may repeat, and give the order.

        Returns
        -------
        Manifest
        """
        positions = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.intp)
        if rows.dtype == bool and len(positions) == len(self):
            return self
        if self._rows is not None:
            positions = self._rows[positions]
        return Manifest.of(self._columns, positions, self.families)

    def replace(self, **columns: Column) -> Manifest:
        """Return the manifest with other columns.

        Parameters
        ----------
        **columns : Texts or ndarray
            Of this manifest's length.

        Returns
        -------
        Manifest
        """
        kept = {name: self._column(name) for name in self._columns if name not in columns}
        return Manifest.of({**kept, **columns}, families=self.families)

    def where(self, keep: Callable[[Sample], bool] | NDArray[Any]) -> Manifest:
        """Return some of the samples, in the same order.

        Parameters
        ----------
        keep : callable or ndarray
            Predicate of a sample, or a mask, or positions. A mask is faster by far.

        Returns
        -------
        Manifest
        """
        if callable(keep):
            keep = np.fromiter((bool(keep(sample)) for sample in self), bool, len(self))
        return self.subset(keep)

    def readable(self) -> Manifest:
        """Return the samples whose bytes could be read; features need no more than that.

        Returns
        -------
        Manifest
        """
        return self.subset(self.is_text("problem", ""))

    def usable(self) -> Manifest:
        """Return the samples for training and testing: readable, and of one label.

        Images that are real in one place and fake in another are left out; :meth:`conflicts`
        returns them.

        Returns
        -------
        Manifest
        """
        return self.subset(self.is_text("problem", "") & ~self.has_both_labels())

    def has_both_labels(self) -> NDArray[np.bool_]:
        """Return which samples have bytes that are real in one place and fake in another.

        Returns
        -------
        ndarray of shape (n_rows,), bool
        """
        ids = self.texts("sample_id")
        n_fake = ids.counts(self.numbers("label") == 1)
        both = (n_fake > 0) & (n_fake < ids.counts())
        return np.asarray(both[ids.codes] & ~self.is_text("sample_id", ""))

    def conflicts(self) -> list[Sample]:
        """Return the samples whose bytes are real in one place and fake in another.

        Returns
        -------
        list of Sample
            Sorted by content, all places of each.
        """
        chosen = self.subset(self.has_both_labels())
        return sorted(chosen, key=lambda sample: (sample.sample_id, sample.path))

    @property
    def table(self) -> pa.Table:
        """The rows as a pyarrow table: texts dictionary-encoded, sample ids as 16 bytes.

        ``source`` is null where a sample is its own source.
        """
        import pyarrow as pa

        columns = {}
        for name in FIELDS:
            column = self._column(name)
            columns[name] = column.arrow if isinstance(column, Texts) else pa.array(column)
        paths = columns["path"]  # hardly any occurs twice
        columns["path"] = paths.dictionary.take(paths.indices)
        source = columns["source"]
        own = self.numbers(OWN) != 0
        columns["source"] = pa.DictionaryArray.from_arrays(
            pa.array(source.indices.to_numpy(), mask=own), source.dictionary
        )
        return pa.table(columns)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a pandas table, sample ids in hexadecimal.

        Returns
        -------
        pandas.DataFrame
            A column for each field of :class:`Sample`; texts of few values are categorical.
        """
        import pandas as pd

        columns: dict[str, Any] = {}
        for name in FIELDS:
            column = self._column(name)
            if not isinstance(column, Texts):
                columns[name] = column
            elif name in ("path", "source", "sample_id"):
                columns[name] = pd.Series(self.strings(name), dtype=object)
            else:
                compact = column.compact()
                columns[name] = pd.Categorical.from_codes(compact.codes, compact.table.texts())
        return pd.DataFrame(columns)

    def write(self, path: Path) -> None:
        """Write the table, whole or not at all.

        Parameters
        ----------
        path : Path
            As Parquet where it ends in ``.parquet``, else as CSV.
        """
        write_manifest(self, path)

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
        return cls.of(read_columns(path, all_columns=all_columns))


def _equal(a: Column, b: Column) -> bool:
    if isinstance(a, Texts):
        return isinstance(b, Texts) and a.equals(b)
    return not isinstance(b, Texts) and np.array_equal(a, b)


def stack(manifests: Sequence[Manifest]) -> Manifest:
    """Return all rows of several manifests, one below the other.

    Parameters
    ----------
    manifests : sequence of Manifest

    Returns
    -------
    Manifest
    """
    if not manifests:
        return Manifest()
    if len(manifests) == 1:
        return manifests[0]
    columns: dict[str, Column] = {}
    for name in (*FIELDS, OWN):
        parts = [manifest._column(name) for manifest in manifests]
        texts = [part for part in parts if isinstance(part, Texts)]
        numbers = [part for part in parts if not isinstance(part, Texts)]
        columns[name] = concatenate(texts) if texts else np.concatenate(numbers)
    families = [manifest.families for manifest in manifests]
    known = [family for family in families if family is not None]
    joined = dict(chain.from_iterable(family.items() for family in known))
    return Manifest.of(columns, families=joined if len(known) == len(families) else None)


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
    parts = list(manifests)
    joined = stack(parts)
    if len(parts) < 2:
        return joined
    part = np.repeat(np.arange(len(parts)), [len(manifest) for manifest in parts])
    roles = ("sample_id", "generator", "paired_with", "split")
    first, groups = group_rows(*(joined.codes(name) for name in roles))
    return joined.subset((part == part[first][groups]) | joined.is_text("sample_id", ""))
