"""Fewer samples than columns: a head's weights lie in the space that the rows span, which is small.

A block of n rows and D > n columns is X = R Qᵀ with orthonormal columns Q (D, n). Weights are w
= Q u with ‖w‖ = ‖u‖, so that the same problem is solved on R (n, n), and every subset of blocks
still is one of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.probes.solver import Arrays
from featcache.probes.solver.problem import Float
from featcache.threads import parallel_map


@dataclass(frozen=True)
class RowSpace:
    """Blocks turned into their rows' space, and the way back.

    Parameters
    ----------
    arrays : Arrays
        One block (n_rows, min(n_rows, n_columns)) for each that was given.
    """

    arrays: Arrays
    _bases: list[NDArray[Any] | None]
    _scale: Float

    @classmethod
    def of(cls, blocks: Sequence[NDArray[Any]], scale: Float) -> RowSpace:
        """Turn blocks whose columns are divided by ``scale`` first; columns of scale 0 are left
        out.

        Parameters
        ----------
        blocks : sequence of ndarray of shape (n_rows, n_columns)
        scale : ndarray of shape (number of all columns,), float64

        Returns
        -------
        RowSpace
        """
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        parts = np.split(inverse, np.cumsum([block.shape[1] for block in blocks])[:-1])
        turned = parallel_map(
            _turn, [b * p.astype(b.dtype) for b, p in zip(blocks, parts, strict=True)]
        )
        return cls(Arrays([rows for rows, _ in turned]), [basis for _, basis in turned], inverse)

    def back(self, weight: Float) -> Float:
        """Return weights (n_heads, number of all columns) from those on the turned blocks.

        Parameters
        ----------
        weight : Float
            Weights of the heads.

        Returns
        -------
        Float
            Weights (n_heads, number of all columns) from those on the turned blocks.
        """
        cuts = np.cumsum(self.arrays.widths)[:-1]
        parts = [
            part if basis is None else part @ basis.T
            for part, basis in zip(np.split(weight, cuts, axis=1), self._bases, strict=True)
        ]
        return np.asarray(np.concatenate(parts, axis=1) * self._scale)


def _turn(block: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    if block.shape[1] <= block.shape[0]:
        return block, None
    basis, triangle = np.linalg.qr(block.T)
    return np.ascontiguousarray(triangle.T), basis
