"""The units that the bootstrap resamples, made from the rows of scores."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.metrics import Resamples
from featcache.results import Scores

LEAST_UNITS = 5
"""Units of a stratum: the bootstrap's variance is short by one part in as many."""


def units_of(scores: Scores) -> NDArray[np.intp]:
    """Return the unit of independence of each row as a number from 0; shape (n_rows,)."""
    _, numbers = np.unique(scores.source.astype(str), return_inverse=True)
    return np.asarray(numbers, dtype=np.intp)


def resamples_of(
    scores: Scores, unit_of: NDArray[np.intp], n_resamples: int, seed: int
) -> Resamples:
    """Return resamples of the units, stratified by the roles that their samples play."""
    return Resamples(strata_of(scores, unit_of), n_resamples, seed)


def strata_of(scores: Scores, unit_of: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the stratum of each unit: the set of roles (generator, label) that its samples play.

    Units whose roles are rare are pooled by class: drawn from among one or two, they would hardly vary, and
    an interval over many such strata would have no width.
    """
    roles: list[set[tuple[str, int]]] = [set() for _ in range(int(unit_of.max()) + 1)]
    for unit, generator, label in zip(
        unit_of.tolist(), scores.generator, scores.label.tolist(), strict=True
    ):
        roles[unit].add((generator, label))
    names = [frozenset(role) for role in roles]
    sizes = Counter(names)
    pooled = [
        name if sizes[name] >= LEAST_UNITS else frozenset(label for _, label in name)
        for name in names
    ]
    numbers: dict[frozenset[Any], int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in pooled])
