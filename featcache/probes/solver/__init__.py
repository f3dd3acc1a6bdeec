"""Many ridge-penalised logistic regressions at once, from sums over rows; knows no estimator."""

from featcache.probes.solver.lbfgs import minimise
from featcache.probes.solver.problem import Arrays, HeadBatch, Parted, Solution, Source
from featcache.probes.solver.sums import AddedSums, Fold, RowSums, Sums

__all__ = [
    "AddedSums",
    "Arrays",
    "Fold",
    "HeadBatch",
    "Parted",
    "RowSums",
    "Solution",
    "Source",
    "Sums",
    "minimise",
]
