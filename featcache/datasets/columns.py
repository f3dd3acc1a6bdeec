"""Columns of a manifest: numbers as they are, texts as codes into a table of values.

Two rows have equal codes where their texts are equal (paths excepted), so that filters, groups and
joins are operations on integers. Sample ids are kept as 16 bytes, sorted, so that the order of
their codes is the order of the ids. Texts of a file system that are not UTF-8 keep their bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

ID_BYTES = 16

Index = NDArray[np.intp]
Codes = NDArray[np.int32]


class TextTable(Protocol):
    """Distinct texts by number."""

    def __len__(self) -> int: ...

    def texts(self, numbers: NDArray[Any] | None = None) -> list[str]:
        """Return the texts of some numbers; all by default.

        Parameters
        ----------
        numbers : ndarray of int, optional

        Returns
        -------
        list of str
        """
        ...

    def arrow(self) -> pa.Array:
        """Return all texts as UTF-8, or as bytes where one is none.

        Returns
        -------
        pyarrow.Array
        """
        ...


class TextList:
    """A table of few texts, in memory as they are."""

    def __init__(self, values: list[str]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def texts(self, numbers: NDArray[Any] | None = None) -> list[str]:
        """Return the texts of some numbers; all by default.

        Parameters
        ----------
        numbers : ndarray of int, optional

        Returns
        -------
        list of str
        """
        if numbers is None:
            return self.values
        return list(map(self.values.__getitem__, numbers.tolist()))

    def arrow(self) -> pa.Array:
        """Return all texts as UTF-8, or as bytes where they are none.

        Returns
        -------
        pyarrow.Array
        """
        import pyarrow as pa

        data = [text.encode("utf-8", "surrogateescape") for text in self.values]
        return _as_text(pa.array(data, pa.large_binary()))


class TextBuffer:
    """A table of many texts, as Arrow holds them: a text is decoded when it is asked for."""

    def __init__(self, values: pa.Array) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def texts(self, numbers: NDArray[Any] | None = None) -> list[str]:
        """Return the texts of some numbers; all by default.

        Parameters
        ----------
        numbers : ndarray of int, optional

        Returns
        -------
        list of str
        """
        import pyarrow as pa

        part = self.values if numbers is None else self.values.take(pa.array(numbers))
        return [data.decode("utf-8", "surrogateescape") for data in part.to_pylist()]

    def arrow(self) -> pa.Array:
        """Return all texts as UTF-8, or as bytes where they are none.

        Returns
        -------
        pyarrow.Array
        """
        return _as_text(self.values)


def _as_text(values: pa.Array) -> pa.Array:
    import pyarrow as pa

    try:
        return values.cast(pa.large_string())
    except pa.ArrowInvalid:
        return values


class IdTable:
    """Sample ids as 16 bytes each, sorted; all zeros stand for a sample without an id."""

    def __init__(self, raw: NDArray[np.uint8]) -> None:
        self.raw = raw

    def __len__(self) -> int:
        return len(self.raw)

    def texts(self, numbers: NDArray[Any] | None = None) -> list[str]:
        """Return the ids of some numbers in hexadecimal; all by default.

        Parameters
        ----------
        numbers : ndarray of int, optional

        Returns
        -------
        list of str
        """
        return [text.decode() for text in self.digits(numbers).tolist()]

    def digits(self, numbers: NDArray[Any] | None = None) -> NDArray[np.bytes_]:
        """Return the ids of some numbers as an array of S32; all by default.

        Parameters
        ----------
        numbers : ndarray of int, optional

        Returns
        -------
        ndarray of shape (n,), S32
        """
        raw = self.raw if numbers is None else self.raw[numbers]
        digits = np.frombuffer(raw.tobytes().hex().encode(), f"S{2 * ID_BYTES}")
        return np.where(raw.any(axis=1), digits, b"")

    def find(self, text: str) -> int:
        """Return the number of an id by bisection, -1 where it is not there.

        Parameters
        ----------
        text : str

        Returns
        -------
        int
        """
        try:
            raw_id = bytes.fromhex(text or "00" * ID_BYTES)
        except ValueError:
            return -1
        low, high = 0, len(self.raw)
        while low < high:
            middle = (low + high) // 2
            if self.raw[middle].tobytes() < raw_id:
                low = middle + 1
            else:
                high = middle
        there = low < len(self.raw) and self.raw[low].tobytes() == raw_id
        return low if there and self.texts(np.array([low])) == [text] else -1

    def arrow(self) -> pa.Array:
        """Return the ids in hexadecimal.

        Returns
        -------
        pyarrow.Array
        """
        import pyarrow as pa

        return pa.array(self.texts(), pa.large_string())

    @classmethod
    def parse(cls, ids: Sequence[str]) -> IdTable | None:
        """Return the table of ids that are 32 hexadecimal digits or empty; None for others.

        Parameters
        ----------
        ids : sequence of str

        Returns
        -------
        IdTable or None
        """
        joined = "".join(text or "0" * 2 * ID_BYTES for text in ids)
        fits = all(len(text) in (0, 2 * ID_BYTES) for text in ids)
        if not fits or joined != joined.lower() or not joined.isascii():
            return None
        try:
            raw = np.frombuffer(bytes.fromhex(joined), np.uint8).reshape(-1, ID_BYTES)
        except ValueError:
            return None
        # A text of blanks is no id, and an id of zeros would read back as none.
        return cls(raw) if len(raw) == len(ids) and cls(raw).texts() == list(ids) else None


def unique_ids(raw: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Codes]:
    """Return the distinct ids, sorted, and the position of each among them.

    Parameters
    ----------
    raw : ndarray of shape (n, 16), uint8

    Returns
    -------
    ids : ndarray of shape (n_distinct, 16), uint8
    codes : ndarray of shape (n,), int32
    """
    halves = np.ascontiguousarray(raw).view(">u8").astype(np.uint64)
    high, low = halves[:, 0], halves[:, 1]
    order = np.argsort(high)
    tied = high[order][1:] == high[order][:-1]
    if (low[order][1:][tied] != low[order][:-1][tied]).any():  # 64 bits were not enough
        order = np.lexsort((low, high))
    sorted_high, sorted_low = high[order], low[order]
    is_first = np.ones(len(raw), bool)
    is_first[1:] = (sorted_high[1:] != sorted_high[:-1]) | (sorted_low[1:] != sorted_low[:-1])
    codes = np.empty(len(raw), np.int32)
    codes[order] = np.cumsum(is_first) - 1
    return np.ascontiguousarray(raw[order[is_first]]), codes


@dataclass(frozen=True, eq=False)
class Texts:
    """A column of texts.

    Equal texts have equal codes, but for the column ``path``, where texts are hardly ever equal.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,), int32
        Number of the text of each row.
    table : TextTable
        The distinct texts; it may hold some that no row has.
    """

    codes: Codes
    table: TextTable

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, values: Iterable[str]) -> Texts:
        """Encode texts.

        Parameters
        ----------
        values : iterable of str

        Returns
        -------
        Texts
        """
        numbers: dict[str, int] = {}
        codes = [numbers.setdefault(value, len(numbers)) for value in values]
        return cls(np.array(codes, np.int32).reshape(-1), TextList(list(numbers)))

    @classmethod
    def of_ids(cls, values: Sequence[str]) -> Texts:
        """Encode sample ids; the order of the codes is that of the ids.

        Parameters
        ----------
        values : sequence of str

        Returns
        -------
        Texts
        """
        ordered = sorted(set(values))
        numbers = {value: i for i, value in enumerate(ordered)}
        codes = np.array([numbers[value] for value in values], np.int32).reshape(-1)
        return cls(codes, IdTable.parse(ordered) or TextList(ordered))

    @classmethod
    def constant(cls, value: str, n_rows: int) -> Texts:
        """Return a column of one text.

        Parameters
        ----------
        value : str
        n_rows : int

        Returns
        -------
        Texts
        """
        return cls(np.zeros(n_rows, np.int32), TextList([value]))

    def subset(self, rows: NDArray[Any]) -> Texts:
        """Return some rows.

        Parameters
        ----------
        rows : ndarray
            Mask or positions.

        Returns
        -------
        Texts
        """
        return Texts(self.codes[rows], self.table)

    def decode(self) -> list[str]:
        """Return the text of each row.

        Returns
        -------
        list of str
        """
        if isinstance(self.table, TextList) or 2 * len(self.codes) < len(self.table):
            return self.table.texts(self.codes)
        return list(map(self.table.texts().__getitem__, self.codes.tolist()))

    def values(self) -> dict[int, str]:
        """Return the texts that rows have, by number.

        Returns
        -------
        dict of int to str
        """
        used = np.flatnonzero(self.counts())
        return dict(zip(used.tolist(), self.table.texts(used), strict=True))

    def counts(self, rows: NDArray[Any] | None = None) -> NDArray[np.intp]:
        """Return how many rows have each text of the table.

        Parameters
        ----------
        rows : ndarray, optional
            Mask or positions of the rows that count.

        Returns
        -------
        ndarray of shape (len(table),), intp
        """
        codes = self.codes if rows is None else self.codes[rows]
        return np.bincount(codes, minlength=len(self.table))

    def where(self, keep: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Return the rows whose text satisfies a condition.

        Parameters
        ----------
        keep : callable
            Called once for each distinct text.

        Returns
        -------
        ndarray of shape (n_rows,), bool
        """
        chosen = np.zeros(len(self.table), bool)
        for number, text in self.values().items():
            chosen[number] = keep(text)
        return np.asarray(chosen[self.codes])

    def isin(self, texts: Collection[str]) -> NDArray[np.bool_]:
        """Return the rows that have one of some texts.

        Parameters
        ----------
        texts : collection of str

        Returns
        -------
        ndarray of shape (n_rows,), bool
        """
        if not isinstance(self.table, IdTable):
            return self.where(set(texts).__contains__)
        chosen = np.zeros(len(self.table), bool)
        chosen[[n for n in map(self.table.find, texts) if n >= 0]] = True
        return np.asarray(chosen[self.codes])

    def number(self, text: str) -> int:
        """Return the number of a text, -1 where no row has it.

        Parameters
        ----------
        text : str

        Returns
        -------
        int
        """
        return next((number for number, value in self.values().items() if value == text), -1)

    def map(self, change: Callable[[str], str]) -> Texts:
        """Return the column with every distinct text changed.

        Parameters
        ----------
        change : callable

        Returns
        -------
        Texts
        """
        values = self.values()
        new = Texts.of(map(change, values.values()))
        codes = np.zeros(len(self.table), np.int32)
        codes[list(values)] = new.codes
        return Texts(codes[self.codes], new.table)

    def compact(self) -> Texts:
        """Return the column without texts that no row has.

        Returns
        -------
        Texts
        """
        used = np.flatnonzero(self.counts())
        if len(used) == len(self.table):
            return self
        numbers = np.zeros(len(self.table), np.int32)
        numbers[used] = np.arange(len(used))
        table: TextTable
        if isinstance(self.table, IdTable):
            table = IdTable(self.table.raw[used])
        elif isinstance(self.table, TextBuffer):
            import pyarrow as pa

            table = TextBuffer(self.table.values.take(pa.array(used)))
        else:
            table = TextList(self.table.texts(used))
        return Texts(numbers[self.codes], table)

    @property
    def arrow(self) -> pa.Array:
        """The column as an Arrow array: dictionary-encoded, ids as binary values.

        Returns
        -------
        pyarrow.Array
        """
        import pyarrow as pa

        column = self.compact()
        if isinstance(column.table, IdTable):
            buffer = pa.py_buffer(np.ascontiguousarray(column.table.raw[column.codes]))
            return pa.Array.from_buffers(pa.binary(ID_BYTES), len(column), [None, buffer])
        return pa.DictionaryArray.from_arrays(pa.array(column.codes), column.table.arrow())

    def equals(self, other: Texts) -> bool:
        """Say whether another column has the same texts.

        Parameters
        ----------
        other : Texts

        Returns
        -------
        bool
        """
        if len(self) != len(other):
            return False
        both = concatenate([self, other])
        return bool(np.array_equal(both.codes[: len(self)], both.codes[len(self) :]))


Column = Texts | NDArray[Any]
"""A column of a manifest."""


def concatenate(columns: Sequence[Texts]) -> Texts:
    """Join columns of texts one below the other.

    Parameters
    ----------
    columns : sequence of Texts

    Returns
    -------
    Texts
        With one table; equal texts have equal codes.
    """
    if len(columns) == 1:
        return columns[0]
    if all(column.table is columns[0].table for column in columns):
        return Texts(np.concatenate([column.codes for column in columns]), columns[0].table)
    tables = [column.table for column in columns]
    offsets = np.cumsum([0, *map(len, tables)])[:-1]
    places = np.concatenate([c.codes + o for c, o in zip(columns, offsets, strict=True)])
    ids = [table.raw for table in tables if isinstance(table, IdTable)]
    if len(ids) == len(tables):
        raw, numbers = unique_ids(np.concatenate(ids))
        return Texts(numbers[places], IdTable(raw))
    if ids or all(isinstance(table, TextList) for table in tables):
        joined = [text for table in tables for text in table.texts()]
        distinct = Texts.of_ids(joined) if ids else Texts.of(joined)
        return Texts(distinct.codes[places], distinct.table)
    import pyarrow as pa

    parts = [table.arrow().cast(pa.large_binary()) for table in tables]
    column = encode_arrow(pa.concat_arrays(parts))
    return Texts(column.codes[places], column.table)


def buffer_of(values: pa.ChunkedArray) -> TextBuffer:
    """Return a table of texts as they stand; equal ones are not found.

    Parameters
    ----------
    values : pyarrow.ChunkedArray
        Texts, bytes, or a dictionary of them; without nulls.

    Returns
    -------
    TextBuffer
    """
    import pyarrow as pa

    chunks = [chunk.cast(pa.large_binary()) for chunk in values.chunks]
    return TextBuffer(pa.concat_arrays(chunks or [pa.array([], pa.large_binary())]))


def encode_arrow(values: pa.Array | pa.ChunkedArray) -> Texts:
    """Encode an Arrow array of texts or bytes.

    Parameters
    ----------
    values : pyarrow.Array or ChunkedArray
        Texts, bytes, or a dictionary of them; without nulls.

    Returns
    -------
    Texts
    """
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        values = values.unify_dictionaries().combine_chunks()
    if isinstance(values, pa.ChunkedArray):  # without chunks
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if not pa.types.is_dictionary(values.type):
        values = values.cast(pa.large_binary()).dictionary_encode()
    table = values.dictionary.cast(pa.large_binary())
    distinct = table.dictionary_encode()  # a file may hold a text twice in its dictionary
    codes = values.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    if len(distinct.dictionary) < len(table):
        codes = distinct.indices.to_numpy(zero_copy_only=False).astype(np.int32)[codes]
        table = distinct.dictionary
    few = len(table) <= MANY_TEXTS
    return Texts(codes, TextList(TextBuffer(table).texts()) if few else TextBuffer(table))


MANY_TEXTS = 10_000
"""Longer tables of texts stay in Arrow's memory: a Python object takes four times as much."""


def group_rows(*keys: NDArray[Any]) -> tuple[Index, Index]:
    """Number the rows of a table by the combination of some of its columns.

    Parameters
    ----------
    *keys : ndarray of shape (n_rows,), int
        Columns of codes, none negative.

    Returns
    -------
    first : ndarray of shape (n_groups,), intp
        First row of each group; groups are in the order of their codes.
    groups : ndarray of shape (n_rows,), intp
        Group of each row.

    Examples
    --------
    >>> first, groups = group_rows(np.array([1, 0, 1]), np.array([0, 5, 0]))
    >>> first.tolist(), groups.tolist()
    ([1, 0], [1, 0, 1])
    """
    combined = np.zeros(len(keys[0]), np.int64)
    for key in keys:
        size = int(key.max()) + 1 if len(key) else 1
        if size > 1 and len(key) and int(combined.max()) > (2**62) // size:
            combined = np.unique(combined, return_inverse=True)[1].reshape(-1)
        combined = combined * size + key
    _, first, groups = np.unique(combined, return_index=True, return_inverse=True)
    return first, groups.reshape(-1)
