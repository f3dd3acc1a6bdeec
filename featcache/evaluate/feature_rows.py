"""Feature rows as the solver reads them: in memory, or streamed from the store in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache import FeatureKey, FeatureStore
from featcache.probes.solver import Arrays, Source
from featcache.probes.solver.problem import Chunk
from featcache.progress import Advance, add_pass, log, progress
from featcache.threads import available_memory

CHUNK_BYTES = 64 << 20
"""Bytes of features that are read at once when they are streamed."""

FREE_SHARE = 0.9
"""Share of the free memory that is used before features are streamed."""


def memory_limit(needed: int, what: str) -> int | None:
    """Return the memory to keep to where no limit was given.

    Parameters
    ----------
    needed : int
        Bytes that the step takes with all its features in memory.
    what : str
        The step, as the subject of a sentence in the singular.

    Returns
    -------
    int or None
        None where it fits, so that nothing is streamed; else :data:`FREE_SHARE` of what is free.
    """
    free = available_memory()
    if needed <= FREE_SHARE * free:
        return None
    limit = int(FREE_SHARE * free)
    log.warning(
        f"{what} needs {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free:"
        f" features are read again for every pass, within {limit / 2**30:.1f} GiB. The answer is"
        " the same. Another limit: --memory SIZE."
    )
    return limit


@dataclass(frozen=True)
class StoreRows:
    """Rows of the store: every sample in every view, one block of columns for each feature.

    Parameters
    ----------
    store : FeatureStore
        Store of the features.
    keys : list of list of FeatureKey
        For each view the key of each feature.
    ids : list of str
        Sample ids, sorted, because shards hold ranges of them. The rows of the second view follow
        all rows of the first.
    widths : list of int
        Columns of each feature.
    chunk_bytes : int
        Bytes that are read at once.
    """

    store: FeatureStore
    keys: list[list[FeatureKey]]
    ids: list[str]
    widths: list[int]
    chunk_bytes: int = CHUNK_BYTES

    @property
    def n_rows(self) -> int:
        """Number of samples times number of views."""
        return len(self.ids) * len(self.keys)

    @property
    def dtype(self) -> Any:
        """Type of the features in the store."""
        return np.dtype(np.float32)

    def chunks(self, blocks: Sequence[int]) -> Iterator[Chunk]:
        """Read some blocks, row range by row range.

        Parameters
        ----------
        blocks : sequence of int
            Positions of the features to read.

        Yields
        ------
        rows : slice
            Range of rows; ranges are in order and cover all rows.
        arrays : list of ndarray of shape (n_rows, n_columns), float32
            One for each feature; empty for those not read.
        """
        step = max(self.chunk_bytes // (4 * sum(self.widths)), 1)
        empty = np.empty((0, 0), dtype=np.float32)
        for view, keys in enumerate(self.keys):
            first = view * len(self.ids)
            stops = np.cumsum([self.widths[b] for b in blocks])[:-1]
            selected = [keys[b] for b in blocks]
            for rows, joined in self.store.iter_blocks(selected, self.ids, rows=step):
                arrays: list[Any] = [empty] * len(keys)
                for b, part in zip(blocks, np.split(joined, stops, axis=1), strict=True):
                    arrays[b] = part
                yield slice(first + rows.start, first + rows.stop), arrays

    def parts(self, n: int) -> list[tuple[Source, NDArray[np.intp]]]:
        """Split the samples into contiguous ranges, as shards hold them.

        Parameters
        ----------
        n : int
            Largest number of parts.

        Returns
        -------
        list of (StoreRows, ndarray of intp)
            Each part with all views of its samples, and its rows in the whole.
        """
        ranges = np.array_split(np.arange(len(self.ids)), min(n, len(self.ids)))
        offsets = np.arange(len(self.keys))[:, None] * len(self.ids)
        return [
            (replace(self, ids=[self.ids[i] for i in positions]), (offsets + positions).ravel())
            for positions in ranges
        ]


def open_rows(
    store: FeatureStore,
    keys: list[list[FeatureKey]],
    ids: list[str],
    memory: int | None,
    parted: bool = False,
    what: str = "read features",
) -> Source:
    """Open features for reading: in memory if they fit, else streamed from the store.

    Parameters
    ----------
    store : FeatureStore
        Store of the features.
    keys : list of list of FeatureKey
        For each view the key of each feature.
    ids : list of str
        Sample ids, sorted.
    memory : int or None
        Memory budget in bytes; features that need more than half of it are streamed. None for
        what is free.
    parted : bool
        Stream in any case, so that workers can read parts.
    what : str
        What is read, as progress names it.

    Returns
    -------
    Source
        The rows of all views, a block for each feature.
    """
    widths = [store.summary(key).n_features for key in keys[0]]
    if memory is None and not parted:
        memory = memory_limit(4 * len(ids) * len(keys) * sum(widths), f"'{what}'")
    chunk = CHUNK_BYTES if memory is None else min(CHUNK_BYTES, max(memory // 16, 1 << 16))
    rows = StoreRows(store, keys, ids, widths, chunk)
    if parted or (memory is not None and 4 * rows.n_rows * sum(widths) > memory // 2):
        return rows
    add_pass(what, 4 * rows.n_rows * sum(widths))
    with progress(what, rows.n_rows * len(widths), "rows") as advance:
        return Arrays(
            [
                _read_views(store, [view[b] for view in keys], ids, advance)
                for b in range(len(widths))
            ]
        )


def _read_views(
    store: FeatureStore, keys: list[FeatureKey], ids: list[str], advance: Advance
) -> NDArray[Any]:
    """Read one feature in every view straight into the rows where it stays."""
    readers = [store.reader(key, ids) for key in keys]
    features = np.empty((len(ids) * len(keys), readers[0].n_features), np.float32)
    for view, reader in enumerate(readers):
        rows = slice(view * len(ids), (view + 1) * len(ids))
        reader.read(slice(0, len(ids)), features[rows], advance)
    return features


def read_rows(source: Source) -> NDArray[np.float32]:
    """Read all features of a source into memory.

    Parameters
    ----------
    source : Source
        Feature rows.

    Returns
    -------
    ndarray of shape (n_rows, n_features), float32
        All blocks joined side by side.
    """
    features = np.empty((source.n_rows, sum(source.widths)), dtype=np.float32)
    for rows, part in iter_joined(source):
        features[rows] = part
    return features


def iter_joined(source: Source) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Read all blocks of a source joined side by side, in pieces of bounded size.

    Parameters
    ----------
    source : Source
        Feature rows.

    Yields
    ------
    rows : slice
        Range of rows.
    features : ndarray of shape (n_rows, n_features), float32
        All features of these rows.
    """
    step = max(CHUNK_BYTES // (8 * sum(source.widths)), 1)
    for rows, blocks in source.chunks(range(len(source.widths))):
        for start in range(0, rows.stop - rows.start, step):
            part = [block[start : start + step] for block in blocks]
            first = rows.start + start
            yield slice(first, first + len(part[0])), np.concatenate(part, axis=1)
