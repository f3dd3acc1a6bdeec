"""What a head learns from one training set and shows on another, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from featcache.results.numbers import Interval, Number


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
class TransferResult:
    """Training generators by test generators.

    ``each[train][test]`` is the head of one generator alone; ``without[left_out][test]`` the head of all
    the others: leave one generator out.
    """

    features: list[str]
    C: float
    each: dict[str, dict[str, TransferCell]]
    without: dict[str, dict[str, TransferCell]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain dicts, lists and numbers, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EfficiencyPoint:
    """Heads of ``n`` training samples per class, drawn with several seeds: mAP over seeds."""

    n: int
    mAP: list[float]
    mean: Number
    deviation: Number


@dataclass(frozen=True, kw_only=True)
class EfficiencyResult:
    """How much training data the head needs, and how much its numbers depend on the draw."""

    features: list[str]
    C: float
    points: list[EfficiencyPoint]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain dicts, lists and numbers, ready for JSON."""
        return asdict(self)
