"""Features of samples as the solver reads them: joined by id, in memory or in chunks from the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache import FeatureKey, FeatureStore
from featcache.probes.solver import Arrays, Source
from featcache.probes.solver.source import Chunk

CHUNK_BYTES = 64 << 20
"""Features that are read at once when they are streamed."""


@dataclass(frozen=True)
class StoreRows:
    """Rows of the store: every sample in every training view, block by feature.

    Parameters
    ----------
    store : FeatureStore
    keys : list of list of FeatureKey
        For each view the key of each feature.
    ids : list of str
        Samples, sorted: shards hold ranges of them. The rows of the second view follow all of the first.
    widths : list of int
    chunk_bytes : int
    """

    store: FeatureStore
    keys: list[list[FeatureKey]]
    ids: list[str]
    widths: list[int]
    chunk_bytes: int = CHUNK_BYTES

    @property
    def n_rows(self) -> int:
        """Samples times views."""
        return len(self.ids) * len(self.keys)

    @property
    def dtype(self) -> Any:
        """What the store gives."""
        return np.dtype(np.float32)

    def chunks(self, blocks: Sequence[int]) -> Iterator[Chunk]:
        """Yield the rows in order, as many at once as fit in ``chunk_bytes``."""
        step = max(self.chunk_bytes // (4 * sum(self.widths)), 1)
        empty = np.empty((0, 0), dtype=np.float32)
        for v, keys in enumerate(self.keys):
            wanted = [keys[b] for b in blocks]
            stops = np.cumsum([self.widths[b] for b in blocks])[:-1]
            for at, joined in self.store.iter_blocks(wanted, self.ids, rows=step):
                found: list[Any] = [empty] * len(keys)
                for b, part in zip(blocks, np.split(joined, stops, axis=1), strict=True):
                    found[b] = part
                first = v * len(self.ids)
                yield slice(first + at.start, first + at.stop), found

    def parts(self, n: int) -> list[tuple[Source, NDArray[np.intp]]]:
        """Cut the samples into ranges, as shards hold them; each part has all views of its own."""
        cuts = np.array_split(np.arange(len(self.ids)), min(n, len(self.ids)))
        views = np.arange(len(self.keys))[:, None] * len(self.ids)
        return [
            (replace(self, ids=[self.ids[i] for i in cut]), (views + cut).ravel()) for cut in cuts
        ]


def open_rows(
    store: FeatureStore,
    keys: list[list[FeatureKey]],
    ids: list[str],
    memory: int | None,
    parted: bool = False,
) -> Source:
    """Return the rows in memory, or streamed: where they need more than half of ``memory`` bytes, or ``parted``."""
    widths = [store.summary(key).n_features for key in keys[0]]
    chunk = CHUNK_BYTES if memory is None else min(CHUNK_BYTES, max(memory // 16, 1 << 16))
    rows = StoreRows(store, keys, ids, widths, chunk)
    if parted or (memory is not None and 4 * rows.n_rows * sum(widths) > memory // 2):
        return rows
    arrays = [
        np.concatenate([store.read(view[b], ids) for view in keys]) for b in range(len(widths))
    ]
    return Arrays(list(arrays))


def chunked(source: Source) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield all rows of a source joined side by side, in pieces of bounded size."""
    step = max(CHUNK_BYTES // (8 * sum(source.widths)), 1)
    for rows, blocks in source.chunks(range(len(source.widths))):
        for start in range(0, rows.stop - rows.start, step):
            part = [block[start : start + step] for block in blocks]
            at = rows.start + start
            yield slice(at, at + len(part[0])), np.concatenate(part, axis=1)
