"""The starting inverse Hessian of every head: Cholesky factors of ¼·Gram + λ, shared where they can be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky

from featcache.probes.solver.problem import Float, Heads
from featcache.probes.solver.sums import Index
from featcache.threads import each

BIN = 100.0
"""Penalties within this factor share one Cholesky factor: L-BFGS makes up for the difference."""

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
        self, gram: Float, heads: Heads, penalty: Float, columns: NDArray[np.bool_], dtype: Any
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._columns = [np.flatnonzero(row) for row in columns]
        self._penalty = penalty
        self._factors: dict[Any, Any] = {}
        self._name: list[Any] = []
        first: dict[Any, int] = {}
        for head in range(len(heads)):
            name = (columns[head].tobytes(), self._binned(penalty[head]))
            first.setdefault(name, head)
            self._name.append(name)

        def factor(name: Any) -> Any:
            mine = self._columns[first[name]]
            return self._factor(gram[np.ix_(mine, mine)] / 4, name[1])

        self._factors.update(zip(first, each(factor, first), strict=True))

    def replace(self, head: int, hessian: Float) -> None:
        """Use a head's own Hessian of the mean loss, (k, k) over its columns, from now on."""
        self._factors[head] = self._factor(hessian, self._penalty[head])
        self._name[head] = head

    def solve(self, heads: Index, vectors: Float) -> Float:
        """Return the preconditioned rows of ``vectors`` (k, n_columns)."""
        out = np.zeros_like(vectors)
        rows_of: dict[Any, list[int]] = {}
        for row, head in enumerate(heads):
            rows_of.setdefault(self._name[head], []).append(row)

        def solve(name: Any) -> None:
            rows = rows_of[name]
            mine = self._columns[heads[rows[0]]]
            right = vectors[np.ix_(rows, mine)].T.astype(self._dtype)
            solved = cho_solve((self._factors[name], True), right, check_finite=False)
            out[np.ix_(rows, mine)] = solved.T

        each(solve, rows_of)
        return out

    def _binned(self, penalty: float) -> float:
        return float(BIN ** np.round(np.log(penalty) / np.log(BIN)))

    def _factor(self, curvature: Float, ridge: float) -> Any:
        """Return the Cholesky factor of curvature + ridge, with as much more ridge as it takes."""
        mean = max(float(np.trace(curvature)) / max(len(curvature), 1), np.finfo(float).tiny)
        ridge = max(ridge, FLOORS[self._dtype] * mean)
        while True:
            matrix = curvature.astype(self._dtype)
            matrix[np.diag_indices_from(matrix)] += self._dtype.type(ridge)
            try:
                return cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
            except LinAlgError:
                ridge *= 10
