"""The starting inverse Hessian of every head: Cholesky factors of ¼·Gram + λ, shared where they can
be.

Cholesky factors in panels: matrix products do the work, which numpy lets threads do side by side.

LAPACK's routines hold the interpreter's lock in scipy, so that many factors would be made one by
one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, lapack

from featcache.probes.solver.problem import Float, HeadBatch
from featcache.probes.solver.sums import Index
from featcache.threads import parallel_map

PANEL, LEAF = 256, 64
"""Columns of a panel, and the size of a triangle that LAPACK takes."""


class Factor:
    """The Cholesky factor L of a symmetric positive definite matrix.

    Parameters
    ----------
    matrix : ndarray of shape (n, n), float32 or float64
        It becomes the factor: below the panels' triangles there is L, the triangles are kept as
        their inverses.

    Raises
    ------
    scipy.linalg.LinAlgError
        If the matrix is not positive definite in its precision.
    """

    def __init__(self, matrix: NDArray[Any]) -> None:
        self._lower, n = matrix, len(matrix)
        self._panels = [slice(start, min(start + PANEL, n)) for start in range(0, n, PANEL)]
        self._inverses = [self._eliminate(panel) for panel in self._panels]

    def _eliminate(self, panel: slice) -> NDArray[Any]:
        """Turn a panel of columns into the factor's; return the inverse of its triangle."""
        rows, before = slice(panel.start, None), slice(0, panel.start)
        column = self._lower[rows, panel]
        column -= self._lower[rows, before] @ self._lower[panel, before].T
        n = panel.stop - panel.start
        inverse = inverse_factor(column[:n])
        column[n:] = column[n:] @ inverse.T
        return inverse

    def solve(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the rows (k, n) times the inverse of the matrix.

        Parameters
        ----------
        rows : ndarray
            Rows, in order.

        Returns
        -------
        ndarray
            The rows (k, n) times the inverse of the matrix.
        """
        x, lower = rows.astype(self._lower.dtype), self._lower
        steps = list(zip(self._panels, self._inverses, strict=True))
        for panel, inverse in steps:
            x[:, panel] = (
                x[:, panel] - x[:, : panel.start] @ lower[panel, : panel.start].T
            ) @ inverse.T
        for panel, inverse in reversed(steps):
            x[:, panel] = (x[:, panel] - x[:, panel.stop :] @ lower[panel.stop :, panel]) @ inverse
        return x


def inverse_factor(matrix: NDArray[Any]) -> NDArray[Any]:
    """Return the inverse of a symmetric positive definite matrix's lower Cholesky factor, by
    halves.

    Parameters
    ----------
    matrix : ndarray
        Symmetric positive definite matrix of shape (n, n).

    Returns
    -------
    ndarray
        The inverse of a symmetric positive definite matrix's lower Cholesky factor, by halves.
    """
    n = len(matrix)
    if n <= LEAF:
        triangle = cholesky(matrix, lower=True, check_finite=False)
        (trtri,) = lapack.get_lapack_funcs(("trtri",), (triangle,))
        return np.ascontiguousarray(trtri(triangle, lower=1)[0])
    half = n // 2
    first, second = slice(0, half), slice(half, n)
    out = np.zeros_like(matrix, order="C")
    out[first, first] = inverse_factor(matrix[first, first])
    below = matrix[second, first] @ out[first, first].T
    out[second, second] = inverse_factor(matrix[second, second] - below @ below.T)
    out[second, first] = -out[second, second] @ (below @ out[first, first])
    return out


SPAN = {np.dtype(np.float32): 1000.0, np.dtype(np.float64): 10.0}
"""Penalties within this factor share one Cholesky factor: L-BFGS makes up for the difference.
Problems in float64 are small or want to be exact, and factors cost little there.
"""

FLOORS = {np.dtype(np.float32): 3e-6, np.dtype(np.float64): 1e-12}
"""Smallest ridge, relative to the mean curvature, with which a factor exists in that precision."""


class Preconditioner:
    """Approximate inverse Hessians of the objective per unit of sample weight.

    Parameters
    ----------
    gram : ndarray of shape (n_columns, n_columns), float64
        Mean over samples.
    heads : Heads
    penalty : ndarray of shape (n_heads,), float64
        λ = 1 / (C · sum of weights).
    columns : ndarray of shape (n_heads, n_columns), bool
    dtype : numpy dtype
        Of the factors.
    """

    def __init__(
        self, gram: Float, heads: HeadBatch, penalty: Float, columns: NDArray[np.bool_], dtype: Any
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._columns = [np.flatnonzero(row) for row in columns]
        self._penalty = penalty
        self._factors: dict[Any, Factor] = {}
        shared = group_penalties(penalty, SPAN[self._dtype])
        self._name: list[Any] = [
            (columns[head].tobytes(), shared[head]) for head in range(len(heads))
        ]
        first = {name: head for head, name in reversed(list(enumerate(self._name)))}
        quarter = (gram / 4).astype(self._dtype)

        def factor(name: Any) -> Factor:
            return self._factor(_square(quarter, self._columns[first[name]]), name[1])

        large_first = sorted(first, key=lambda name: -len(self._columns[first[name]]))
        self._factors.update(zip(large_first, parallel_map(factor, large_first), strict=True))

    def replace(self, heads: Index, hessian: Float) -> None:
        """Use a Hessian of the mean loss for some heads from now on.

        Parameters
        ----------
        heads : ndarray of shape (n,), int
            Heads of the same columns and nearly the same penalty.
        hessian : ndarray of shape (k, k), float64
            Over the columns of these heads.
        """
        first = int(heads[0])
        self._factors[first] = self._factor(hessian.astype(self._dtype), self._penalty[first])
        for head in heads:
            self._name[head] = first

    def solve(self, heads: Index, vectors: Float) -> Float:
        """Return the preconditioned rows of ``vectors`` (k, n_columns).

        Parameters
        ----------
        heads : Index
            Indices of the heads that are still being fitted.
        vectors : Float
            Right-hand sides of shape (n_vectors, n).

        Returns
        -------
        Float
            The preconditioned rows of ``vectors`` (k, n_columns).
        """
        out = np.zeros_like(vectors)
        rows_of: dict[Any, list[int]] = {}
        for row, head in enumerate(heads):
            rows_of.setdefault(self._name[head], []).append(row)

        def solve(name: Any) -> None:
            here = np.ix_(rows_of[name], self._columns[heads[rows_of[name][0]]])
            out[here] = self._factors[name].solve(vectors[here])

        parallel_map(solve, rows_of)
        return out

    def _factor(self, curvature: NDArray[Any], ridge: float) -> Factor:
        """Return the factor of curvature + ridge, with as much more ridge as it takes."""
        mean = max(float(np.trace(curvature)) / max(len(curvature), 1), np.finfo(float).tiny)
        ridge = max(ridge, FLOORS[self._dtype] * mean)
        while True:
            matrix = curvature.copy()
            matrix[np.diag_indices_from(matrix)] += self._dtype.type(ridge)
            try:
                return Factor(matrix)
            except LinAlgError:
                ridge *= 10


def group_penalties(penalty: Float, span: float) -> Float:
    """Return for each penalty the one that stands for all within ``span``: the mean of the ends.

    Parameters
    ----------
    penalty : Float
        Ridge penalty of each head.
    span : float
        Largest ratio of penalties within a group.

    Returns
    -------
    Float
        For each penalty the one that stands for all within ``span``.

    Examples
    --------
    >>> group_penalties(np.array([1e-6, 1.0, 4.0, 1e-6]), 10.0).tolist()
    [1e-06, 2.0, 2.0, 1e-06]
    """
    values = np.unique(penalty)
    shared, start = np.empty_like(values), 0
    for i in range(len(values) + 1):
        if i == len(values) or values[i] > span * values[start]:
            shared[start:i] = np.sqrt(values[start] * values[i - 1])
            start = i
    return np.asarray(shared[np.searchsorted(values, penalty)])


def _square(matrix: NDArray[Any], columns: Index) -> NDArray[Any]:
    """Return the rows and columns of a matrix, run by run: picking single numbers is slow."""
    cuts = np.flatnonzero(np.diff(columns) != 1) + 1
    runs = [slice(int(run[0]), int(run[-1]) + 1) for run in np.split(columns, cuts) if len(run)]
    return np.concatenate(
        [np.concatenate([matrix[a, b] for b in runs], axis=1) for a in runs] or [matrix[:0, :0]]
    )
