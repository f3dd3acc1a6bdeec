"""Many linear heads on cached features in one solve: scaled, solved, folded back into raw space."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import joblib
import numpy as np
from numpy.typing import NDArray

from featcache import threads
from featcache.engines import Engine
from featcache.errors import DataError
from featcache.probes.rowspace import RowSpace
from featcache.probes.scaling import Scale, Scaled, learn_scale
from featcache.probes.solver import (
    AddedSums,
    Fold,
    HeadBatch,
    Parted,
    RowSums,
    Solution,
    Source,
    Sums,
    minimise,
)
from featcache.probes.solver.lbfgs import MEMORY
from featcache.probes.solver.problem import Float
from featcache.probes.solver.sums import GRAM_ROWS_PER_COLUMN
from featcache.progress import Advance, progress
from featcache.results import Certificate

TOLS = {np.dtype(np.float32): 1e-9, np.dtype(np.float64): 1e-14}
"""Share of the objective that a head may be above its minimum, by what the precision can tell."""

MAX_MEAN = 8.0
"""Root mean square of the columns' means over their deviations up to which scaling is folded."""

SMALL_CELLS = 8_000_000
"""Features up to this many numbers are solved in float64: it costs nothing there and is exact."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Heads in raw feature space.

    Parameters
    ----------
    weight : ndarray of shape (n_heads, n_columns), float64
        Zero outside a head's blocks.
    bias : ndarray of shape (n_heads,), float64
    l2 : bool
        Each block of a row is divided by its norm before the weights are applied.
    certificates : list of Certificate
    """

    weight: Float
    bias: Float
    l2: bool
    certificates: list[Certificate]

    def set_heads(
        self, chosen: NDArray[np.intp], weight: Float, bias: Float, solution: Solution
    ) -> None:
        """Take the heads ``chosen`` as they were found, their weights folded back.

        Parameters
        ----------
        chosen : ndarray of intp
            Indices of the heads.
        weight : Float
            Weights of the heads.
        bias : Float
            Intercepts of the heads.
        solution : Solution
            Solution of the solver.
        """
        self.weight[chosen], self.bias[chosen] = weight, bias
        for i, certificate in zip(chosen, _certificates(solution), strict=True):
            self.certificates[i] = certificate


_UNFITTED = Certificate(
    objective=np.nan, gradient_norm=np.nan, gap=np.nan, n_iter=0, converged=False
)


def fit_heads(
    raw: Source,
    labels: NDArray[Any],
    heads: HeadBatch,
    *,
    weights: NDArray[Any] | None = None,
    scaling: str = "standardise",
    memory: int | None = None,
    tol: float | None = None,
    max_iter: int = 300,
    engine: Engine | None = None,
) -> Fitted:
    """Fit all heads in one joint solve.

    Parameters
    ----------
    raw : Source
        Unscaled features.
    labels : ndarray of shape (n_tasks, n_rows)
        0 or 1.
    heads : Heads
    weights : ndarray of shape (n_tasks, n_rows), optional
        0 leaves a sample out of a task, also out of its scaling.
    scaling : str
        One of :data:`~featcache.probes.scaling.SCALINGS`.
    memory : int, bytes, optional
        Features that need more than half of it are read again for every pass; heads are solved in
        as few groups as fit. Unbounded by default. The answer is the same.
    tol : float, optional
        Share of the objective that a head may be above its minimum; :data:`TOLS` by default.
    engine : Engine, optional
        Holds the features in parts and adds up their sums; ``raw`` must be a
        :class:`~featcache.probes.solver.Parted` then.
    max_iter : int
        Largest number of iterations.

    Returns
    -------
    Fitted

    Raises
    ------
    DataError
        If a task lacks a class.
    """
    counts = np.ones(labels.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    members = counts > 0
    fakes = (labels * members).sum(axis=1)
    for n_fake, n in zip(fakes, members.sum(axis=1), strict=True):
        if n_fake in (0, n):
            missing = "fakes" if n_fake == 0 else "reals"
            raise DataError(f"The training set has no {missing}: a probe needs both classes.")
    with threads.thread_pool():
        how = learn_scale(raw, scaling, counts, centre=heads.intercept)
    fitted = Fitted(
        weight=np.zeros((len(heads), sum(raw.widths))),
        bias=np.zeros(len(heads)),
        l2=how.l2,
        certificates=[_UNFITTED] * len(heads),
    )
    if engine is None and memory is None and raw.n_rows < max(raw.widths):
        with progress("fit", len(heads), "heads") as advance:
            _fit_in_row_spaces(fitted, raw, how, labels, counts, heads, tol, max_iter, advance)
        return fitted
    with (
        _open_sums(raw, how, labels, weights, memory, engine) as sums,
        progress("fit", len(heads), "heads") as advance,
    ):
        tol = TOLS[np.dtype(sums.dtype)] if tol is None else tol
        for chosen in _groups(heads, raw, memory):
            subset = _subset(heads, chosen, how.per_task)
            solution = minimise(sums, subset, tol=tol, max_iter=max_iter, advance=advance)
            fitted.set_heads(chosen, *how.fold(solution.weight, solution.bias), solution)
    return fitted


def _fit_in_row_spaces(
    fitted: Fitted,
    raw: Source,
    how: Scale,
    labels: NDArray[Any],
    weights: Float,
    heads: HeadBatch,
    tol: float | None,
    max_iter: int,
    advance: Advance,
) -> None:
    """Fit task by task on the rows that it has: each has a scale, and so a space, of its own."""
    with threads.thread_pool():
        source = Scaled(raw, how, np.dtype(np.float64)).load()
    for task in np.unique(heads.task):
        chosen, rows = np.flatnonzero(heads.task == task), weights[task] > 0
        with threads.thread_pool():
            space = RowSpace.of([block[rows] for block in source.blocks], how.per_task[task])
        sums = RowSums(space.arrays, labels[[task]][:, rows], weights[[task]][:, rows])
        subset = replace(_subset(heads, chosen, None), task=np.zeros(len(chosen), np.intp))
        limit = TOLS[np.dtype(sums.dtype)] if tol is None else tol
        solution = minimise(sums, subset, tol=limit, max_iter=max_iter, advance=advance)
        fitted.set_heads(chosen, *how.fold(space.back(solution.weight), solution.bias), solution)


def _certificates(solution: Solution) -> list[Certificate]:
    return [
        Certificate(
            objective=float(solution.objective[i]),
            gradient_norm=float(solution.gradient_norm[i]),
            gap=float(solution.gap[i]),
            n_iter=int(solution.n_iter[i]),
            converged=bool(solution.converged[i]),
        )
        for i in range(len(solution.bias))
    ]


@contextmanager
def _open_sums(
    raw: Source,
    how: Scale,
    labels: NDArray[Any],
    weights: NDArray[Any] | None,
    memory: int | None,
    engine: Engine | None,
) -> Iterator[Sums]:
    """Open the sums over the scaled features: here, or in parts where an engine holds them."""
    if engine is None:
        if fold := _fold(raw, how, memory):
            yield RowSums(raw, labels, weights, fold)
            return
        with threads.thread_pool():
            source = _scaled(raw, how, memory)
        yield RowSums(source, labels, weights)
        return
    dtype = _dtype(raw, None)
    makes = [
        partial(
            _part_sums,
            part,
            how,
            dtype,
            labels[:, rows],
            None if weights is None else weights[:, rows],
        )
        for part, rows in cast(Parted, raw).parts(engine.workers or joblib.cpu_count())
    ]
    with engine.host(makes) as hosts:
        yield AddedSums(hosts.parts, hosts.map)


def _part_sums(
    part: Source,
    how: Scale,
    dtype: np.dtype[Any],
    labels: NDArray[Any],
    weights: NDArray[Any] | None,
) -> RowSums:
    return RowSums(Scaled(part, how, dtype).load(), labels, weights)


def _dtype(raw: Source, memory: int | None) -> np.dtype[Any]:
    """Return the precision of the products: float64 where the features are few."""
    cells = raw.n_rows * sum(raw.widths)
    small = cells <= SMALL_CELLS and (memory is None or 8 * cells <= memory // 2)
    return np.dtype(np.float64) if small else np.dtype(raw.dtype)


def _fold(raw: Source, how: Scale, memory: int | None) -> Fold | None:
    """Return the scaling to fold into the products; None where the rows are to be scaled.

    Folding needs many more rows than columns, so that matrices are made of samples, and columns
    whose means are not far above their deviations: else the products would cancel.
    """
    dtype = _dtype(raw, memory)
    if how.l2 or dtype != np.dtype(raw.dtype) or dtype != np.float32:
        return None
    if raw.n_rows <= GRAM_ROWS_PER_COLUMN * sum(raw.widths):
        return None
    factor = 1.0 / how.scale
    if np.sqrt(np.mean((how.shift * factor * how.per_task.max(axis=0)) ** 2)) > MAX_MEAN:
        return None
    return Fold(how.shift.astype(dtype), factor.astype(dtype))


def _scaled(raw: Source, how: Scale, memory: int | None) -> Source:
    """Return the scaled features, in memory where they may be."""
    scaled = Scaled(raw, how, _dtype(raw, memory))
    if memory is None or raw.n_rows * sum(raw.widths) * scaled.dtype.itemsize <= memory // 2:
        return scaled.load()
    return scaled


def _subset(heads: HeadBatch, chosen: slice | NDArray[np.intp], scale: Float | None) -> HeadBatch:
    return HeadBatch(
        uses=heads.uses[chosen],
        C=heads.C[chosen],
        task=heads.task[chosen],
        intercept=heads.intercept,
        scale=scale,
    )


def _groups(heads: HeadBatch, raw: Source, memory: int | None) -> list[NDArray[np.intp]]:
    """Cut the heads into groups whose logits, memory of steps and factors fit into half of the
    memory.
    """
    everyone = np.arange(len(heads))
    if memory is None:
        return [everyone]
    size = np.dtype(raw.dtype).itemsize
    n_columns = heads.uses @ np.array(raw.widths)
    bytes_per_head = (
        3 * size * raw.n_rows + (2 * MEMORY * size + 48) * sum(raw.widths) + size * n_columns**2
    )
    # The Gram matrix is there once for all.
    room = max(memory // 2 - 8 * sum(raw.widths) ** 2, int(bytes_per_head.max()))
    cuts, used = [], 0
    for i, need in enumerate(bytes_per_head):
        if used + need > room and used:
            cuts.append(i)
            used = 0
        used += int(need)
    return np.split(everyone, cuts)
