"""What heads of other training sets show on every test generator, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from featcache.results.numbers import UNKNOWN, Interval, Number
from featcache.results.probe import Mean, TrainResult


@dataclass(frozen=True, kw_only=True)
class TransferCell:
    """A head of one training set on one generator's test set; fractions."""

    ap: Number
    auroc: Number
    acc: Number
    ap_ci: Interval
    auroc_ci: Interval
    acc_ci: Interval


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What both questions about training sets say of themselves.

    Parameters
    ----------
    features : list of str
    C : float
    train : TrainResult
        The samples that the training sets were taken from.
    groups : dict of str to str
        Family of each tested generator.
    digest : str
        Name of the folder below ``results`` that it is saved in.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain dicts, lists and numbers, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class TransferResult(_Answer):
    """Training generators by test generators.

    Parameters
    ----------
    each, without : dict of str to dict of str to TransferCell
        ``each[train][test]`` is the head of one generator alone; ``without[left_out][test]`` the
        head of all the others: leave one generator out.
    unseen : dict of str to dict of str to Mean
        For both, by the same names: the mean AP over test generators that are not in the training
        set.
    threshold : float in [0, 1]
        Of the accuracies.
    """

    each: dict[str, dict[str, TransferCell]]
    without: dict[str, dict[str, TransferCell]] = field(default_factory=dict)
    unseen: dict[str, dict[str, Mean]] = field(default_factory=dict)
    threshold: float = 0.5


@dataclass(frozen=True, kw_only=True)
class EfficiencyPoint:
    """Heads of ``n`` training samples per class: mAP of every draw.

    Parameters
    ----------
    n : int
    mAP : list of float
        By seed.
    mean, deviation : float
        Over the draws; the deviation of one draw is NaN.
    ci : (float, float)
        95 % interval of ``mean`` over resampled test photographs; draws are taken as they are.
    whole : bool
        All training samples: ``n`` is the number of the rarer class.
    """

    n: int
    mAP: list[float]
    mean: Number
    deviation: Number
    ci: Interval = UNKNOWN
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class EfficiencyResult(_Answer):
    """How much training data the head needs, and how much its numbers depend on the draw."""

    points: list[EfficiencyPoint]
