"""What is to be solved: many ridge-penalised logistic regressions on blocks of shared columns.

Features in chunks of rows: once in memory, or read again for every pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Real = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class HeadBatch:
    """The heads of one joint solve.

    Head h minimises ``½‖w‖² + C[h] Σ_i s_i log(1 + exp(-ỹ_i (x_i·w + b)))`` over the columns of its
    blocks and an unpenalised intercept b, with the labels ỹ = ±1 and sample weights s of its task.
    This is scikit-learn's convention.

    Parameters
    ----------
    uses : ndarray of shape (n_heads, n_blocks), bool
        Blocks of columns that each head sees.
    C : ndarray of shape (n_heads,), float64 > 0
    task : ndarray of shape (n_heads,), int
        Which labels and sample weights.
    intercept : bool
        False fixes b = 0.
    scale : ndarray of shape (n_tasks, n_columns), float64, optional
        The penalty is ½‖scale · w‖² with the task's scale, 1 by default: by this every task has its
        own standardisation on shared columns. Where it is 0 the weight is 0.
    """

    uses: NDArray[np.bool_]
    C: Float
    task: NDArray[np.intp]
    intercept: bool = True
    scale: Float | None = None

    def __len__(self) -> int:
        return len(self.C)

    def columns(self, widths: list[int]) -> NDArray[np.bool_]:
        """Return which of all columns each head sees: shape (n_heads, n_columns), bool.

        Parameters
        ----------
        widths : list[int]
            Number of columns of each feature block.

        Returns
        -------
        ndarray of bool
            Which of all columns each head sees.
        """
        seen = np.repeat(self.uses, widths, axis=1)
        return seen if self.scale is None else seen & (self.scale[self.task] > 0)

    def ridge(self, n_columns: int) -> Float:
        """Return the square of the penalty's scale, (n_heads, n_columns); 1 where the weight is 0.

        Parameters
        ----------
        n_columns : int
            Number of columns.

        Returns
        -------
        Float
            The square of the penalty's scale, (n_heads, n_columns).
        """
        if self.scale is None:
            return np.ones((len(self), n_columns))
        scale = self.scale[self.task]
        return np.where(scale > 0, scale, 1.0) ** 2


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Where the heads ended, with a certificate for each.

    Parameters
    ----------
    weight : ndarray of shape (n_heads, n_columns), float64
        Zero outside a head's blocks.
    bias : ndarray of shape (n_heads,), float64
    objective : ndarray of shape (n_heads,), float64
        ``½‖w‖² + C Σ s·loss``.
    gradient_norm : ndarray of shape (n_heads,), float64
        Euclidean norm of the objective's gradient in the weights.
    gap : ndarray of shape (n_heads,), float64
        Duality gap relative to the objective: proof that the objective is at most this share too
        high.
    n_iter : ndarray of shape (n_heads,), int
    converged : ndarray of shape (n_heads,), bool
    """

    weight: Float
    bias: Float
    objective: Float
    gradient_norm: Float
    gap: Float
    n_iter: NDArray[np.int64]
    converged: NDArray[np.bool_]


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
        """Yield all rows in order; blocks that are not asked for may be anything.

        Parameters
        ----------
        blocks : Sequence[int]
            Indices of the feature blocks.

        Returns
        -------
        Iterator[Chunk]
            All rows in order.
        """


class Parted(Source, Protocol):
    """A source that can be cut, so that each part is read where it is worked on."""

    def parts(self, n: int) -> list[tuple[Source, NDArray[np.intp]]]:
        """Return at most n sources that can be pickled, each with the rows of the whole that it
        has.

        Parameters
        ----------
        n : int
            Number of items.

        Returns
        -------
        list[tuple[Source, ndarray of intp]]
            At most n sources that can be pickled, each with the rows of the whole that it has.
        """


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
        """Yield everything at once.

        Parameters
        ----------
        blocks : Sequence[int]
            Indices of the feature blocks.

        Yields
        ------
        Chunk
            Everything at once.
        """
        yield slice(0, self.n_rows), self.blocks
