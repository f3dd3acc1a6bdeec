"""What a probe run found, as plain data: the table, the JSON and the reports are all made of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
"""A 95 % bootstrap interval: (low, high), fractions."""


@dataclass(frozen=True, kw_only=True)
class GeneratorResult:
    """What a probe does on one generator's fakes against its reals; metrics are fractions.

    ``acc``, ``r_acc`` and ``f_acc`` hold at the threshold of the :class:`EvalResult`: on all samples,
    on the reals alone and on the fakes alone. ``n_sources`` is the number of independent photographs
    behind the samples, the unit that the intervals resample.
    """

    group: str
    ap: float
    auroc: float
    acc: float
    r_acc: float
    f_acc: float
    n_real: int
    n_fake: int
    n_sources: int
    ap_ci: Interval
    auroc_ci: Interval
    acc_ci: Interval
    r_acc_ci: Interval
    f_acc_ci: Interval


@dataclass(frozen=True, kw_only=True)
class GroupResult:
    """Unweighted means over the generators of one group, as fractions."""

    mAP: float
    mean_acc: float
    mean_auroc: float
    generators: list[str]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What the head was fitted on."""

    generators: list[str]
    datasets: list[str]
    n_real: int
    n_fake: int
    n_sources: int


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """All that one probe run found.

    Parameters
    ----------
    features : list of str
        Names of the features that were joined, in order.
    n_features : int
        Width of the joined feature.
    train : TrainResult
    C : float
        Inverse strength of the ridge penalty, on standardised features.
    threshold : float
        The fake probability above which a sample is called fake.
    mAP, mean_acc : float
        Unweighted means over ``generators``, as fractions. Controls are not in them.
    generators, controls : dict of str to GeneratorResult
        Per generator; controls are processed photographs that no generator made.
    keys : list of dict
        The complete feature key of each feature.
    notes : list of str
        What a careful reader must know, one sentence each.
    """

    features: list[str]
    n_features: int
    train: TrainResult
    C: float
    threshold: float
    mAP: float
    mean_acc: float
    mAP_ci: Interval
    mean_acc_ci: Interval
    groups: dict[str, GroupResult]
    generators: dict[str, GeneratorResult]
    controls: dict[str, GeneratorResult] = field(default_factory=dict)
    keys: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain dicts, lists and numbers, ready for JSON."""
        return asdict(self)


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
