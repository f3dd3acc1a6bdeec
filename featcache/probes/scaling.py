"""How features are scaled before a head sees them, and how that is folded back into its weights.

======================  ==========================================================================
``"standardise"``       every column to mean 0 and deviation 1 on the training samples (the default)
``"none"``              columns as they are (centred, which an unpenalised intercept undoes)
``"block-rms"``         one factor per feature, so that each has the same mean square norm
``"l2"``                every feature vector divided by its Euclidean norm, then centred
======================  ==========================================================================

Scaling decides what the penalty means: ½‖w‖² is taken on the weights of the *scaled* columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from featcache.errors import unknown_name
from featcache.probes.solver import Arrays, Source
from featcache.probes.solver.problem import Chunk, Float, Real
from featcache.progress import Advance, add_pass, no_progress, progress
from featcache.threads import parallel_map

Scaling = Literal["standardise", "none", "block-rms", "l2"]
SCALINGS: tuple[str, ...] = get_args(Scaling)

PIECE_ROWS = 1024
"""Rows of a pass that are added up in the precision of the features; between them it is float64."""

DEAD = 1e-7
"""A column whose deviation is below this share of its mean is a constant with rounding noise."""

NOISE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-13}
"""A variance below this share of the mean square is what rounding leaves of a column that is
constant in a task, though not in all: scaled up, it would give its weight any value.
"""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Shift and scale of every column: ``(x - shift) / scale``.

    Parameters
    ----------
    shift, scale : ndarray of shape (n_columns,), float64
        Shared by all tasks; ``scale`` is infinite for a dead column, whose weight is 0 therefore.
    per_task : ndarray of shape (n_tasks, n_columns), float64
        Each task's own scale over the shared one, so that its penalty is that of a fit on its
        samples alone; 0 for a column that is dead in the task.
    l2 : bool
        Rows of each block are divided by their norm first.
    """

    shift: Float
    scale: Float
    per_task: Float
    l2: bool

    def fold(self, weight: Float, bias: Float) -> tuple[Float, Float]:
        """Return weights (n_heads, n_columns) and biases for unscaled (but l2-normed) columns.

        Parameters
        ----------
        weight : Float
            Weights of the heads.
        bias : Float
            Intercepts of the heads.

        Returns
        -------
        tuple[Float, Float]
            Weights (n_heads, n_columns) and biases for unscaled (but l2-normed) columns.
        """
        raw = weight / self.scale
        return raw, bias - raw @ self.shift


def check_scaling(name: str) -> None:
    """Raise an error that lists the policies unless ``name`` is one.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Raises
    ------
    UnknownNameError
        If the name is unknown; near names are suggested.
    """
    if name not in SCALINGS:
        raise unknown_name("scaling", name, SCALINGS)


def learn_scale(raw: Source, policy: str, weights: NDArray[Any], centre: bool = True) -> Scale:
    """Learn shift and scale in one pass.

    Parameters
    ----------
    raw : Source
    policy : str
        One of :data:`SCALINGS`.
    weights : ndarray of shape (n_tasks, n_rows)
        Weight of each sample in each task: means and deviations are weighted, as if a sample of
        weight 2 stood there twice.
    centre : bool
        False leaves the columns where they are: for heads without an intercept.

    Returns
    -------
    Scale
    """
    check_scaling(policy)
    l2 = policy == "l2"
    mean, variance, overall = _moments(raw, weights, l2)
    deviation = np.sqrt(variance)
    alive = deviation > DEAD * np.maximum(np.abs(mean), 1e-30)
    one = np.ones_like(deviation)
    if policy == "standardise":
        own = np.where(alive, deviation, 0.0)
    elif policy == "block-rms":
        # The root mean square norm of each block's centred rows, repeated over its columns.
        stops = np.cumsum(raw.widths)[:-1]
        norms = [np.sqrt(part.sum(axis=1)) for part in np.split(variance, stops, axis=1)]
        safe = np.stack([np.where(norm > 0, norm, 1.0) for norm in norms], axis=1)
        own = one * np.repeat(safe, raw.widths, axis=1)
    else:
        own = one
    shared = own.max(axis=0)
    shared = np.where(shared > 0, shared, np.inf)
    shift = overall if centre else np.zeros_like(overall)
    return Scale(shift=shift, scale=shared, per_task=own / shared, l2=l2)


def _moments(raw: Source, weights: NDArray[Any], l2: bool) -> tuple[Float, Float, Float]:
    """Return mean and variance of each column in each task, and the mean over all tasks'
    samples.
    """
    rows = np.concatenate([weights, weights.max(axis=0, keepdims=True)]).astype(np.float64)
    count = np.maximum(rows.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    first: Float | None = None
    sums, squares = np.zeros(1), np.zeros(1)
    add_pass("learn scaling", raw.n_rows * sum(raw.widths) * np.dtype(raw.dtype).itemsize)
    with progress("learn scaling", raw.n_rows, "rows") as advance:
        for rows_slice, x in _pieces(raw, l2):
            first = x[:256].mean(axis=0, dtype=np.float64) if first is None else first
            x = x - first.astype(x.dtype)  # near the mean, so that the squares do not cancel
            weight = rows[:, rows_slice].astype(x.dtype)
            sums = sums + weight @ x
            squares = squares + weight @ np.square(x, out=x)
            advance(len(x))
    if first is None:
        raise ValueError("no rows")
    near, square = sums / count, squares / count
    variance = square - near**2
    variance[variance <= NOISE[np.dtype(raw.dtype)] * square] = 0.0
    mean = near + first.astype(raw.dtype).astype(np.float64)
    return mean[:-1], variance[:-1], mean[-1]


def _pieces(raw: Source, l2: bool) -> Iterator[tuple[slice, Any]]:
    """Yield all rows joined side by side, so few at once that they stay in the processor's
    cache.
    """
    for rows, blocks in raw.chunks(range(len(raw.widths))):
        for start in range(rows.start, rows.stop, PIECE_ROWS):
            rows_slice = slice(start, min(start + PIECE_ROWS, rows.stop))
            here = slice(rows_slice.start - rows.start, rows_slice.stop - rows.start)
            yield rows_slice, np.concatenate(_normed([block[here] for block in blocks], l2), axis=1)


def _normed(blocks: Sequence[Any], l2: bool) -> list[Any]:
    if not l2:
        return list(blocks)
    return [b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-12) for b in blocks]


@dataclass(frozen=True)
class Scaled:
    """A source whose chunks are scaled whenever they are read, into the given dtype."""

    raw: Source
    how: Scale
    dtype: np.dtype[Any]

    @property
    def n_rows(self) -> int:
        """Number of samples."""
        return self.raw.n_rows

    @property
    def widths(self) -> list[int]:
        """Columns of each block."""
        return self.raw.widths

    def chunks(self, blocks: Sequence[int]) -> Iterator[Chunk]:
        """Yield the scaled chunks of some blocks.

        Parameters
        ----------
        blocks : Sequence[int]
            Indices of the feature blocks.

        Yields
        ------
        Chunk
            The scaled chunks of some blocks.
        """
        for rows, blocks_read in self.raw.chunks(blocks):
            out = list(blocks_read)
            for b in blocks:
                out[b] = np.empty(blocks_read[b].shape, self.dtype)
                self._scale(b, blocks_read[b], out[b])
            yield rows, out

    def load(self) -> Arrays:
        """Return all of it in memory.

        Returns
        -------
        Arrays
            All of it in memory.
        """
        arrays: list[Real] = [np.empty((self.n_rows, w), dtype=self.dtype) for w in self.widths]
        add_pass("scale features", self.n_rows * sum(self.widths) * self.dtype.itemsize)
        n_rows = self.n_rows * len(self.widths)
        with progress("scale features", n_rows, "rows") as advance:
            for rows, blocks in self.raw.chunks(range(len(self.widths))):
                for b, (array, block) in enumerate(zip(arrays, blocks, strict=True)):
                    self._scale(b, block, array[rows], advance)
        return Arrays(arrays)

    def _scale(self, b: int, block: Any, out: Any, advance: Advance = no_progress) -> None:
        """Put a block's scaled rows into ``out``, so few at once that they stay in a core's
        cache.
        """
        stop = sum(self.widths[: b + 1])
        columns = slice(stop - self.widths[b], stop)
        shift = self.how.shift[columns].astype(self.dtype)
        factor = (1.0 / self.how.scale[columns]).astype(self.dtype)

        def work(start: int) -> None:
            rows_slice = slice(start, start + PIECE_ROWS)
            (x,) = _normed([block[rows_slice]], self.how.l2)
            np.subtract(x, shift, out=out[rows_slice], dtype=self.dtype)
            out[rows_slice] *= factor
            advance(len(x))

        parallel_map(work, range(0, len(block), PIECE_ROWS))
