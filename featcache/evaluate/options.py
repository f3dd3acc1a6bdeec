"""What a probe run is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """What to fit and how to judge it.

    Parameters
    ----------
    features : list of str
        Feature names, joined side by side in this order.
    train : list of str
        Generators whose training samples are used; empty means all.
    C : float > 0
        Inverse strength of the penalty.
    threshold : float in [0, 1]
        Fake probability above which a sample is called fake.
    intersection : bool
        Leave out samples that lack one of the features, instead of an error.
    wanted : dict of str to str or None
        Further leaves of the feature keys, where the store has several kinds; None means any.
    n_resamples, seed : int
        Of the bootstrap.
    """

    features: list[str]
    train: list[str] = field(default_factory=list)
    C: float = 1.0
    threshold: float = 0.5
    intersection: bool = False
    wanted: Mapping[str, str | None] = field(default_factory=dict)
    n_resamples: int = 1000
    seed: int = 0
