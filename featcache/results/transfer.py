"""Results about heads of several training sets: transfer matrix and learning curve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from featcache.results.base import UNKNOWN_CI, Interval, JsonResult, Number
from featcache.results.probe import Mean, TrainResult


@dataclass(frozen=True, kw_only=True)
class TransferCell:
    """A head of one training set on one generator's test set.

    Parameters
    ----------
    ap, auroc, acc : float in [0, 1]
        Average precision, area under the ROC curve, and accuracy.
    ap_ci, auroc_ci, acc_ci : (float, float)
        Their 95 % intervals.
    """

    ap: Number
    auroc: Number
    acc: Number
    ap_ci: Interval
    auroc_ci: Interval
    acc_ci: Interval


@dataclass(frozen=True, kw_only=True, repr=False)
class _TrainingSetsResult(JsonResult):
    """What both results have in common.

    Parameters
    ----------
    features : list of str
        Names of the joined features, in order.
    C : float
        Inverse strength of the penalty of every head.
    train : TrainResult
        Samples that the training sets are parts of.
    head : str
        Name of the head.
    scaling : str
        How features are scaled before the head.
    groups : dict of str to str
        Family of each tested generator.
    keys : list of dict
        Complete feature key of each feature.
    notes : list of str
        Caveats, one sentence each.
    versions : dict of str to str
        Versions of featcache and NumPy.
    seconds : float
        Time that it took, in seconds.
    digest : str
        Name of the folder ``<cache>/results/<digest>`` of the result.
    """

    features: list[str]
    C: Number
    train: TrainResult
    head: str = "logistic"
    scaling: str = "standardise"
    groups: dict[str, str] = field(default_factory=dict)
    keys: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    digest: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class TransferResult(_TrainingSetsResult):
    """Heads of single training generators, and of all but one, on every generator.

    Its other fields are those of :class:`EfficiencyResult` without ``points``.

    Parameters
    ----------
    each : dict of str to dict of str to TransferCell
        ``each[train][test]`` is the head of one generator alone.
    without : dict of str to dict of str to TransferCell
        ``without[left_out][test]`` is the head of all other generators.
    unseen : dict of str to dict of str to Mean
        By ``"each"`` or ``"without"`` and generator, the mean AP over test generators that are not
        in the training set.
    threshold : float in [0, 1]
        Decision threshold of the accuracies.
    """

    each: dict[str, dict[str, TransferCell]]
    without: dict[str, dict[str, TransferCell]] = field(default_factory=dict)
    unseen: dict[str, dict[str, Mean]] = field(default_factory=dict)
    threshold: float = 0.5


@dataclass(frozen=True, kw_only=True)
class EfficiencyPoint:
    """Heads of ``n`` training samples per class.

    Parameters
    ----------
    n : int
        Training samples per class.
    mAP : list of float
        mAP of each random subset, by seed.
    mean : float
        Mean over the subsets.
    deviation : float
        Standard deviation over the subsets; NaN for one.
    ci : (float, float)
        95 % interval of ``mean`` over resampled test photographs, for these subsets.
    whole : bool
        All training samples: ``n`` is the number of the rarer class.
    """

    n: int
    mAP: list[float]
    mean: Number
    deviation: Number
    ci: Interval = UNKNOWN_CI
    whole: bool = False


@dataclass(frozen=True, kw_only=True, repr=False)
class EfficiencyResult(_TrainingSetsResult):
    """A learning curve: how the mAP depends on the number of training samples.

    Parameters
    ----------
    points : list of EfficiencyPoint
        By rising number of samples.
    """

    points: list[EfficiencyPoint]
