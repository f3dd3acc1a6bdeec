"""Heads on cached features. Knows no torch and no store."""

from featcache.probes.base import (
    HEADS,
    HeadKind,
    Linear,
    Scorer,
    Training,
    fit_head,
    head_kind,
    head_kinds,
    parse_head,
    sklearn_head,
)
from featcache.probes.fit import Fitted, fit_heads
from featcache.probes.logistic import LogisticProbe, fit_logistic
from featcache.probes.saved_head import SavedHead, load_head

__all__ = [
    "HEADS",
    "Fitted",
    "HeadKind",
    "Linear",
    "LogisticProbe",
    "SavedHead",
    "Scorer",
    "Training",
    "fit_head",
    "fit_heads",
    "fit_logistic",
    "head_kind",
    "head_kinds",
    "load_head",
    "parse_head",
    "sklearn_head",
]
