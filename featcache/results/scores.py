"""The score of every test sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One row per test sample and generator; all arrays have shape (n_rows,).

    A real that serves several generators has a row for each of them.

    Parameters
    ----------
    generator, split, path, sample_id, source : ndarray of object (str)
        ``generator`` is the test set that the row belongs to, also for reals. ``path`` may hold
        surrogate escapes where a file name is not UTF-8.
    label : ndarray of int
        0 real, 1 fake.
    score : ndarray of float64 in [0, 1]
        Probability of fake.
    logit : ndarray of float64
        The head's output before the sigmoid.
    """

    generator: NDArray[np.object_]
    split: NDArray[np.object_]
    path: NDArray[np.object_]
    sample_id: NDArray[np.object_]
    source: NDArray[np.object_]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    logit: NDArray[np.float64]
