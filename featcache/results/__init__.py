"""What probing found, as plain data: tables, JSON and reports are all made of it.

Every number that a sentence or a cell of a report shows stands here; reports compute nothing. A
metric that does not exist (no validation data, say) is NaN, ``null`` in JSON.
"""

from featcache.results.ablation import AblationResult, AblationRow, Contribution
from featcache.results.comparison import Comparison, RunComparison
from featcache.results.numbers import Interval, Number
from featcache.results.probe import (
    Certificate,
    CPoint,
    Diagnosis,
    EvalResult,
    GeneratorResult,
    GroupResult,
    Mean,
    Scores,
    Selection,
    TrainResult,
    ViewResult,
)
from featcache.results.transfer import (
    EfficiencyPoint,
    EfficiencyResult,
    TransferCell,
    TransferResult,
)

__all__ = [
    "AblationResult",
    "AblationRow",
    "CPoint",
    "Certificate",
    "Comparison",
    "Contribution",
    "Diagnosis",
    "EfficiencyPoint",
    "EfficiencyResult",
    "EvalResult",
    "GeneratorResult",
    "GroupResult",
    "Interval",
    "Mean",
    "Number",
    "RunComparison",
    "Scores",
    "Selection",
    "TrainResult",
    "TransferCell",
    "TransferResult",
    "ViewResult",
]
