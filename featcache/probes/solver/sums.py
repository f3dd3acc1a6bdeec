"""All that the solver asks of the data: sums over rows. They add up over parts, wherever these
lie.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featcache.probes.solver.problem import Float, HeadBatch, Real, Source
from featcache.progress import add_pass
from featcache.threads import parallel_map, parts, split_evenly

Index = NDArray[np.intp]

GRAM_ROWS_PER_COLUMN = 8
"""The Gram matrix only starts the solver: this many rows per column estimate it well enough."""

SQUARE_ROWS = 8192
"""Rows whose products are added up in the dtype of the features."""

TILE = 384
"""Columns of a tile of the Gram matrix: a product with two of them is all that a thread does at
once.
"""


class Sums(Protocol):
    """The sums over rows that the solver needs; the state of the logits stays with the rows.

    Heads are given as indices into the :class:`HeadBatch` of the solve. Vectors over columns
    have one entry more, the intercept's, at the end.
    """

    widths: list[int]
    dtype: Any

    def start(self, heads: HeadBatch) -> Float:
        """Set all logits to 0; return the sum of weights of each task and class, (n_tasks, 2).

        Parameters
        ----------
        heads : HeadBatch
            Heads to fit together.

        Returns
        -------
        Float
        """

    def gram(self) -> tuple[Float, int]:
        """Return the Gram matrix (n_columns, n_columns) of some rows, and how many.

        Returns
        -------
        tuple[Float, int]
            The Gram matrix (n_columns, n_columns) of some rows, and how many.
        """

    def move(self, heads: Index, directions: Float) -> None:
        """Take (k, n_columns + 1) directions and compute the change of every logit along them.

        Parameters
        ----------
        heads : Index
            Indices of the heads that are still being fitted.
        directions : Float
            Search directions of shape (n_heads, n_columns + 1).
        """

    def slopes(self, heads: Index, steps: Float) -> Float:
        """Return the loss's first and second derivative along the directions at steps (k,): (2, k).

        Parameters
        ----------
        heads : Index
            Indices of the heads that are still being fitted.
        steps : Float
            Step lengths, one for each head.

        Returns
        -------
        Float
            The loss's first and second derivative along the directions at steps (k,).
        """

    def accept(self, heads: Index, steps: Float) -> tuple[Float, Float, Float]:
        """Go these steps; return loss (k,), its gradient (k, n_columns + 1), curvature in b (k,).

        Parameters
        ----------
        heads : Index
            Indices of the heads that are still being fitted.
        steps : Float
            Step lengths, one for each head.

        Returns
        -------
        tuple[Float, Float, Float]
        """

    def hessian(self, head: int, rows_per_column: int) -> Float:
        """Return the loss's second derivative in the columns of one head's blocks.

        Parameters
        ----------
        head : int
            Position of the head.
        rows_per_column : int
            In float32 a sample of this many rows for each column stands for all rows.

        Returns
        -------
        Float
            The loss's second derivative in the columns of one head's blocks.
        """


@dataclass(frozen=True)
class Fold:
    """Scaling that is folded into the products: heads see ``(x - shift) * factor``.

    Parameters
    ----------
    shift, factor : ndarray of shape (n_columns,), in the dtype of the features
    """

    shift: Real
    factor: Real


class RowSums:
    """The sums over the rows of one source.

    Parameters
    ----------
    source : Source
    labels : ndarray of shape (n_tasks, n_rows)
        0 or 1.
    weights : ndarray of shape (n_tasks, n_rows), optional
        Weight of each sample in each task; 0 leaves it out. All 1 by default.
    fold : Fold, optional
        What the heads see of a raw source; no scaled copy of it is made.
    """

    def __init__(
        self,
        source: Source,
        labels: NDArray[Any],
        weights: NDArray[Any] | None = None,
        fold: Fold | None = None,
    ) -> None:
        self.source, self._fold = source, fold
        self.widths, self.dtype = list(source.widths), np.dtype(source.dtype)
        self._labels = np.asarray(labels, dtype=self.dtype)
        self._weights = None if weights is None else np.asarray(weights, dtype=self.dtype)
        stops = np.cumsum(self.widths).tolist()
        self._columns = [slice(b - w, b) for w, b in zip(self.widths, stops, strict=True)]

    def start(self, heads: HeadBatch) -> Float:
        """See :class:`Sums`.

        Parameters
        ----------
        heads : HeadBatch
            Heads to fit together.

        Returns
        -------
        Float
        """
        self.heads = heads
        self._z = np.zeros((len(heads), self.source.n_rows), dtype=self.dtype)
        self._dz = np.zeros_like(self._z)
        ones = np.ones_like(self._labels) if self._weights is None else self._weights
        fake = (ones * self._labels).sum(axis=1, dtype=np.float64)
        return np.stack([ones.sum(axis=1, dtype=np.float64) - fake, fake], axis=1)

    def gram(self) -> tuple[Float, int]:
        """See :class:`Sums`; products in the dtype of the features, added up in float64.

        Returns
        -------
        tuple[Float, int]
        """
        n_columns = sum(self.widths)
        total, done = np.zeros((n_columns, n_columns)), 0
        share = self._share(n_columns, GRAM_ROWS_PER_COLUMN)
        for _, blocks in self.source.chunks(range(len(self.widths))):
            sampled = _sample(len(blocks[0]), share)
            blocks = [self._scaled(b, block[sampled]) for b, block in enumerate(blocks)]
            _add_square(total, blocks)
            done += len(blocks[0])
        add_pass("Gram matrix", done * n_columns * self.dtype.itemsize)
        return total, done

    def move(self, heads: Index, directions: Float) -> None:
        """See :class:`Sums`.

        Parameters
        ----------
        heads : Index
            Indices of the heads that are still being fitted.
        directions : Float
            Search directions of shape (n_heads, n_columns + 1).
        """
        fold = self._fold
        if fold is not None:
            weight = directions[:, :-1] * fold.factor
            shifted = directions[:, -1:] - (weight @ fold.shift)[:, None]
            directions = np.concatenate([weight, shifted], axis=1)
        steps = directions.astype(self.dtype)
        dz = np.repeat(steps[:, -1:], self.source.n_rows, axis=1)

        def work(rows: slice, b: int, target: Any, block: Real) -> None:
            dz[target, rows] += steps[target, self._columns[b]] @ block.T

        if directions[:, :-1].any():  # else only intercepts move: no pass over the data
            self._products(heads, work)
        self._dz[heads] = dz

    def slopes(self, heads: Index, steps: Float) -> Float:
        """See :class:`Sums`.

        Parameters
        ----------
        heads : Index
            Indices of the heads that are still being fitted.
        steps : Float
            Step lengths, one for each head.

        Returns
        -------
        Float
        """

        def work(i: int) -> tuple[float, float]:
            dz = self._dz[heads[i]]
            logit = self._z[heads[i]] + self.dtype.type(steps[i]) * dz
            residual, curvature = self._derivatives(heads[i], logit)
            curvature *= dz
            return float(residual @ dz), float(curvature @ dz)

        return np.array(parallel_map(work, range(len(heads))), dtype=np.float64).T

    def accept(self, heads: Index, steps: Float) -> tuple[Float, Float, Float]:
        """See :class:`Sums`.

        Parameters
        ----------
        heads : Index
            Indices of the heads that are still being fitted.
        steps : Float
            Step lengths, one for each head.

        Returns
        -------
        tuple[Float, Float, Float]
        """
        residuals = np.empty((len(heads), self.source.n_rows), dtype=self.dtype)

        def work(i: int) -> tuple[float, float]:
            logit = self._z[heads[i]]  # a view: the state moves
            logit += self.dtype.type(steps[i]) * self._dz[heads[i]]
            residuals[i], curvature = self._derivatives(heads[i], logit)
            return self._loss(heads[i]), float(curvature.sum(dtype=np.float64))

        loss, curvatures = np.array(parallel_map(work, range(len(heads)))).T
        return loss, self._gradient(heads, residuals), curvatures

    def hessian(self, head: int, rows_per_column: int) -> Float:
        """See :class:`Sums`.

        Parameters
        ----------
        head : int
            Position of the head.
        rows_per_column : int
            Rows of the sample for each column.

        Returns
        -------
        Float
        """
        blocks = np.flatnonzero(self.heads.uses[head]).tolist()
        n_columns = sum(self.widths[b] for b in blocks)
        total = np.zeros((n_columns, n_columns))
        _, curvature = self._derivatives(head, self._z[head])
        # In float64 problems are small: all rows.
        share, seen = 1.0, 0.0
        if self.dtype == np.float32:
            share = self._share(n_columns, rows_per_column)
        n_bytes = int(share * self.source.n_rows) * n_columns * self.dtype.itemsize
        add_pass("Hessians", n_bytes)
        for rows, chunk in self.source.chunks(blocks):
            sampled = _sample(rows.stop - rows.start, share)
            weight = curvature[rows][sampled]
            seen += float(weight.sum(dtype=np.float64))
            root = np.sqrt(weight)[:, None]
            _add_square(total, [self._scaled(b, chunk[b][sampled]) * root for b in blocks])
        # The sample stands for all rows: what it lacks is the rest of the curvature.
        total *= float(curvature.sum(dtype=np.float64)) / max(seen, np.finfo(float).tiny)
        return total

    def _share(self, n_columns: int, rows_per_column: int) -> float:
        """Return the share of the rows that second-order information is computed from."""
        return min(rows_per_column * n_columns / max(self.source.n_rows, 1), 1.0)

    def _scaled(self, b: int, rows: Any) -> Any:
        """Return rows of a block as the heads see them."""
        if self._fold is None:
            return rows
        columns = self._columns[b]
        return (rows - self._fold.shift[columns]) * self._fold.factor[columns]

    def _gradient(self, heads: Index, residuals: Real) -> Float:
        out = np.zeros((len(heads), sum(self.widths) + 1))
        out[:, -1] = residuals.sum(axis=1, dtype=np.float64)
        lock = Lock()

        def work(rows: slice, b: int, columns: Any, block: Real) -> None:
            product = residuals[columns, rows] @ block
            with lock:
                out[columns, self._columns[b]] += product

        self._products(heads, work)
        if self._fold is not None:
            out[:, :-1] -= out[:, -1:] * self._fold.shift
            out[:, :-1] *= self._fold.factor
        return out

    def _products(self, heads: Index, work: Callable[[slice, int, Any, Real], None]) -> None:
        """Call ``work`` with rows, block, the positions of the heads that see it, and its
        features.
        """
        uses = self.heads.uses[heads]
        used = np.flatnonzero(uses.any(axis=0)).tolist()
        n_columns = sum(self.widths[b] for b in used)
        add_pass("products of the fit", self.source.n_rows * n_columns * self.dtype.itemsize)
        for rows, blocks in self.source.chunks(used):

            def piece(
                piece_rows: slice, start: int = rows.start, blocks: list[Real] = blocks
            ) -> None:
                here = slice(start + piece_rows.start, start + piece_rows.stop)
                for b in used:
                    mask = uses[:, b]
                    work(
                        here,
                        b,
                        (slice(None) if mask.all() else np.flatnonzero(mask)),
                        blocks[b][piece_rows],
                    )

            parallel_map(piece, parts(rows.stop - rows.start))

    def _derivatives(self, head: int, logit: Real) -> tuple[Any, Any]:
        """Return the first and second derivative of the weighted loss in each logit."""
        task = self.heads.task[head]
        chance = np.negative(logit)
        with np.errstate(over="ignore"):
            np.exp(chance, out=chance)
        chance += 1
        np.reciprocal(chance, out=chance)
        curvature = 1 - chance
        curvature *= chance
        chance -= self._labels[task]
        if self._weights is not None:
            chance *= self._weights[task]
            curvature *= self._weights[task]
        return chance, curvature

    def _loss(self, head: int) -> float:
        """Return the weighted sum of log(1 + exp(-m)) over the margins m."""
        task = self.heads.task[head]
        margin = self._z[head] * (2 * self._labels[task] - 1)
        loss = np.log1p(np.exp(-np.abs(margin))) - np.minimum(margin, 0)
        if self._weights is not None:
            loss *= self._weights[task]
        return float(loss.sum(dtype=np.float64))


def _sample(n: int, share: float) -> slice | Index:
    """Return evenly spaced positions, a share of n and at least one; a slice for all."""
    n_sampled = max(int(share * n), 1)
    return slice(None) if n_sampled >= n else np.linspace(0, n - 1, n_sampled).astype(np.intp)


def _add_square(total: Float, blocks: list[Real]) -> None:
    """Add matrixᵀ·matrix of the blocks side by side: products in their dtype, added up in float64.

    Tile by tile: threads share the work without waiting for each other, and nothing is copied.
    """
    tiles = _tiles([block.shape[1] for block in blocks])
    n_rows = len(blocks[0])

    def work(pair: tuple[_Tile, _Tile]) -> None:
        (row_tile, b, row_columns), (to, c, column_columns) = pair
        for rows in split_evenly(n_rows, max(-(-n_rows // SQUARE_ROWS), 1)):
            product = blocks[b][rows, row_columns].T @ blocks[c][rows, column_columns]
            total[row_tile, to] += product
            if row_tile != to:
                total[to, row_tile] += product.T

    pairs = itertools.combinations_with_replacement(tiles, 2)
    parallel_map(
        work, sorted(pairs, key=lambda pair: pair[0] == pair[1])
    )  # the square ones cost half


_Tile = tuple[slice, int, slice]
"""Columns of the whole; block, and columns of the block."""


def _tiles(widths: list[int]) -> list[_Tile]:
    """Cut blocks into tiles, small enough that threads get equal shares.

    Examples
    --------
    >>> _tiles([2, 3])
    [(slice(0, 2, None), 0, slice(0, 2, None)), (slice(2, 5, None), 1, slice(0, 3, None))]
    """
    side = min(max(sum(widths) // 4, 64), TILE)
    tiles, start = [], 0
    for block, width in enumerate(widths):
        for piece in split_evenly(width, -(-width // side)):
            tiles.append((slice(start + piece.start, start + piece.stop), block, piece))
        start += width
    return tiles


class AddedSums:
    """The sums of several parts added up: what a distributed engine needs.

    Parameters
    ----------
    parts : list of Sums
        Each over its own rows, of the same columns.
    each : callable
        ``parallel_map(function, parts)`` applies a function to every part, like :func:`map`; an
        engine may do so in parallel and elsewhere.
    """

    def __init__(
        self,
        parts: list[Sums],
        map_parts: Callable[[Callable[[Sums], Any], list[Sums]], Iterable[Any]] = map,
    ) -> None:
        self.parts, self._each = parts, map_parts
        self.widths, self.dtype = parts[0].widths, parts[0].dtype

    def start(self, heads: HeadBatch) -> Float:
        """See :class:`Sums`.

        Parameters
        ----------
        heads : HeadBatch
            Heads to fit together.

        Returns
        -------
        Float
        """
        return self._sum(lambda part: part.start(heads))

    def gram(self) -> tuple[Float, int]:
        """See :class:`Sums`.

        Returns
        -------
        tuple[Float, int]
        """
        parts = list(self._each(lambda part: part.gram(), self.parts))
        return np.sum([matrix for matrix, _ in parts], axis=0), sum(n for _, n in parts)

    def move(self, heads: Index, directions: Float) -> None:
        """See :class:`Sums`.

        Parameters
        ----------
        heads : Index
            Indices of the heads that are still being fitted.
        directions : Float
            Search directions of shape (n_heads, n_columns + 1).
        """
        list(self._each(lambda part: part.move(heads, directions), self.parts))

    def slopes(self, heads: Index, steps: Float) -> Float:
        """See :class:`Sums`.

        Parameters
        ----------
        heads : Index
            Indices of the heads that are still being fitted.
        steps : Float
            Step lengths, one for each head.

        Returns
        -------
        Float
        """
        return self._sum(lambda part: part.slopes(heads, steps))

    def accept(self, heads: Index, steps: Float) -> tuple[Float, Float, Float]:
        """See :class:`Sums`.

        Parameters
        ----------
        heads : Index
            Indices of the heads that are still being fitted.
        steps : Float
            Step lengths, one for each head.

        Returns
        -------
        tuple[Float, Float, Float]
        """
        parts = list(self._each(lambda part: part.accept(heads, steps), self.parts))
        loss, gradient, curvature = (np.sum(values, axis=0) for values in zip(*parts, strict=True))
        return loss, gradient, curvature

    def hessian(self, head: int, rows_per_column: int) -> Float:
        """See :class:`Sums`.

        Parameters
        ----------
        head : int
            Position of the head.
        rows_per_column : int
            Rows of the sample for each column.

        Returns
        -------
        Float
        """
        return self._sum(lambda part: part.hessian(head, rows_per_column))

    def _sum(self, function: Callable[[Sums], Any]) -> Float:
        return np.asarray(np.sum(list(self._each(function, self.parts)), axis=0))
