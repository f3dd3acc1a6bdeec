"""Rows of several keys, joined by sample id, with one sequential and checked read of each shard."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.header import damaged, names_digest, vanished, wrong_index
from featcache.cache.index import Entry, Index
from featcache.cache.keys import FeatureKey
from featcache.cache.shard import read_payload
from featcache.errors import MissingFeaturesError
from featcache.files import open_file, store_error
from featcache.progress import Advance, no_progress

MAX_THREADS = 4
"""Shards that are read and checked at the same time."""


class Reader:
    """The features of given samples under given keys.

    Parameters
    ----------
    sources : sequence of (FeatureKey, Path, Index)
        Key, its folder, and what lies there.
    ids : sequence of str

    Raises
    ------
    MissingFeaturesError
        If a sample lacks a feature.
    """

    def __init__(
        self, sources: Sequence[tuple[FeatureKey, Path, Index]], ids: Sequence[str]
    ) -> None:
        self._columns: list[_Column] = []
        start = 0
        for key, folder, index in sources:
            shards, rows = index.locate(ids)
            if (shards < 0).any() or not index.entries:
                missing = [name for name, shard in zip(ids, shards, strict=True) if shard < 0]
                n_all = len(ids)
                first = f" (first: {missing[0]})" if missing else ""
                raise MissingFeaturesError(
                    f"The feature {key.name!r} is missing for {len(missing):,} of {n_all:,}"
                    f" samples{first}. Run 'featcache extract --backbone {key.name}' on the same"
                    " data first."
                )
            self._columns.append(_Column(key, folder, index, shards, rows, start))
            start += index.n_features
        self.n_features = start

    def read(self, part: slice, out: NDArray[Any], advance: Advance = no_progress) -> None:
        """Put the features of some samples into an array.

        Parameters
        ----------
        part : slice
            Which of the ids.
        out : ndarray of shape (number of them, n_features)
        advance : callable
            Is told of the rows that have been read, for each key.
        """
        tasks = [task for column in self._columns for task in column.tasks(part, out)]
        if len(tasks) < 2:
            for task in tasks:
                advance(task())
            return
        with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
            futures = [pool.submit(task) for task in tasks]
            try:
                for future in futures:
                    advance(future.result())
            finally:  # an interrupt does not wait for the shards that are not yet begun
                pool.shutdown(wait=True, cancel_futures=True)

    def forget(self) -> None:
        """Check every shard again when it is next met."""
        for column in self._columns:
            column.checked.clear()


class _Column:
    """One key's part of the joined features."""

    def __init__(
        self,
        key: FeatureKey,
        folder: Path,
        index: Index,
        shards: NDArray[np.int64],
        rows: NDArray[np.int64],
        start: int,
    ) -> None:
        self._key, self._folder, self._index = key, folder, index
        self._shards, self._rows = shards, rows
        self._where = slice(start, start + index.n_features)
        self.checked: set[int] = set()

    def tasks(self, part: slice, out: NDArray[Any]) -> Iterator[Callable[[], int]]:
        """Yield one piece of work for each shard, which returns the number of rows read: they fill
        different rows and can run side by side.
        """
        shards, rows = self._shards[part], self._rows[part]
        order = np.lexsort((rows, shards))
        cuts = np.flatnonzero(np.diff(shards[order])) + 1
        for positions in np.split(order, cuts) if len(order) else ():
            number = shards[positions[0]]
            entry = self._index.entries[number]
            target = _Target(
                out[:, self._where], positions, rows[positions], entry.header.features.dtype
            )
            yield partial(self._read, int(number), entry, target)

    def _read(self, number: int, entry: Entry, target: _Target) -> int:
        if number in self.checked:
            # Read only the rows that are wanted: the whole shard was checked before.
            features, path = entry.header.features, self._folder / entry.name
            try:
                first, last = int(target.rows[0]), int(target.rows[-1])
                with open_file(path, buffering=0) as file:
                    file.seek(features.offset + first * features.row_bytes)
                    data = file.read((last - first + 1) * features.row_bytes)
                target.consume(
                    first, np.frombuffer(data, features.dtype).reshape(-1, features.shape[1])
                )
            except FileNotFoundError as error:
                raise vanished(path) from error
            except OSError as error:
                raise store_error(error, path, verb="read") from error
            except (ValueError, IndexError) as error:
                raise damaged(path, "it is shorter than it was") from error
        else:
            path = self._folder / entry.name
            contents = read_payload(path, self._key, entry.header, target)
            # The index only says where things are. Which samples the rows belong to is proven by
            # the shard: its ids are part of the digest, and the digest stands in its own header.
            if not np.array_equal(contents.ids, entry.ids) or not names_digest(path, entry.header):
                raise wrong_index(self._folder, path)
            self.checked.add(number)
        return len(target.rows)


class _Target:
    """Where the rows of one shard go.

    Parameters
    ----------
    out : ndarray of shape (n, n_features)
    positions, rows : ndarray of shape (m,), int64
        Row ``rows[i]`` of the shard goes to row ``positions[i]`` of ``out``; ``rows`` rises.
    stored : str
        Type of the stored rows.
    """

    def __init__(
        self, out: NDArray[Any], positions: NDArray[np.int64], rows: NDArray[np.int64], stored: str
    ) -> None:
        self.out, self.positions, self.rows = out, positions, rows
        self._first_row, self._first_position = int(rows[0]), int(positions[0])
        self._straight = _consecutive(rows) and _consecutive(positions)
        self._fits = self._straight and out.flags.c_contiguous and out.dtype == stored

    def buffer(self, start: int, n: int) -> NDArray[Any] | None:
        """Return the place of rows that are all wanted, in order, as they are stored."""
        offset = start - self._first_row
        if not self._fits or offset < 0 or offset + n > len(self.rows):
            return None
        to = self._first_position + offset
        return self.out[to : to + n]

    def consume(self, start: int, block: NDArray[Any]) -> None:
        """Take the rows of the shard from ``start`` on."""
        low, high = np.searchsorted(self.rows, (start, start + len(block)))
        if low == high:
            return
        rows, positions = self.rows[low:high] - start, self.positions[low:high]
        if self._straight:
            self.out[positions[0] : positions[-1] + 1] = block[rows[0] : rows[-1] + 1]
        else:
            self.out[positions] = block[rows]


def _consecutive(numbers: NDArray[np.int64]) -> bool:
    return bool((numbers[1:] - numbers[:-1] == 1).all())
