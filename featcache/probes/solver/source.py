"""Features in chunks of rows: once in memory, or read again for every pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featcache.probes.solver.problem import Real

Chunk = tuple[slice, list[Real]]
"""Rows, and the scaled features of each block for them."""


class Source(Protocol):
    """Scaled features in chunks of rows."""

    @property
    def n_rows(self) -> int:
        """Number of samples."""

    @property
    def widths(self) -> list[int]:
        """Columns of each block."""

    @property
    def dtype(self) -> Any:
        """Of the products with the features."""

    def chunks(self, blocks: Sequence[int]) -> Iterator[Chunk]:
        """Yield all rows in order; blocks that are not asked for may be anything."""


class Parted(Source, Protocol):
    """A source that can be cut, so that each part is read where it is worked on."""

    def parts(self, n: int) -> list[tuple[Source, NDArray[np.intp]]]:
        """Return at most n sources that can be pickled, each with the rows of the whole that it has."""


@dataclass(frozen=True)
class Arrays:
    """Features in memory.

    Parameters
    ----------
    blocks : list of ndarray of shape (n_rows, n_columns), float32 or float64
        One dtype.
    """

    blocks: list[Real]

    @property
    def n_rows(self) -> int:
        """Number of samples."""
        return len(self.blocks[0])

    @property
    def widths(self) -> list[int]:
        """Columns of each block."""
        return [block.shape[1] for block in self.blocks]

    @property
    def dtype(self) -> Any:
        """Of the products with the features."""
        return self.blocks[0].dtype

    def chunks(self, blocks: Sequence[int]) -> Iterator[Chunk]:
        """Yield everything at once."""
        yield slice(0, self.n_rows), self.blocks
