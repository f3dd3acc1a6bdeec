"""Cholesky factors in panels: matrix products do the work, which numpy lets threads do side by side.

LAPACK's routines hold the interpreter's lock in scipy, so that many factors would be made one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, lapack

PANEL, LEAF = 256, 64
"""Columns of a panel, and the size of a triangle that LAPACK takes."""


class Factor:
    """The Cholesky factor L of a symmetric positive definite matrix.

    Parameters
    ----------
    matrix : ndarray of shape (n, n), float32 or float64
        It becomes the factor: below the panels' triangles there is L, the triangles are kept as their inverses.

    Raises
    ------
    scipy.linalg.LinAlgError
        If the matrix is not positive definite in its precision.
    """

    def __init__(self, matrix: NDArray[Any]) -> None:
        self._lower, n = matrix, len(matrix)
        self._panels = [slice(at, min(at + PANEL, n)) for at in range(0, n, PANEL)]
        self._inverses = [self._eliminate(panel) for panel in self._panels]

    def _eliminate(self, at: slice) -> NDArray[Any]:
        """Turn a panel of columns into the factor's; return the inverse of its triangle."""
        rows, before = slice(at.start, None), slice(0, at.start)
        column = self._lower[rows, at]
        column -= self._lower[rows, before] @ self._lower[at, before].T
        n = at.stop - at.start
        inverse = inverse_factor(column[:n])
        column[n:] = column[n:] @ inverse.T
        return inverse

    def solve(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the rows (k, n) times the inverse of the matrix."""
        x, lower = rows.astype(self._lower.dtype), self._lower
        steps = list(zip(self._panels, self._inverses, strict=True))
        for at, inverse in steps:
            x[:, at] = (x[:, at] - x[:, : at.start] @ lower[at, : at.start].T) @ inverse.T
        for at, inverse in reversed(steps):
            x[:, at] = (x[:, at] - x[:, at.stop :] @ lower[at.stop :, at]) @ inverse
        return x


def inverse_factor(matrix: NDArray[Any]) -> NDArray[Any]:
    """Return the inverse of a symmetric positive definite matrix's lower Cholesky factor, by halves."""
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
