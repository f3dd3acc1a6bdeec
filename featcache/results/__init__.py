"""Results as plain data: terminal tables, JSON and reports are all made of them.

Every number that a report shows stands here; reports compute nothing. A metric that is not defined
(without validation data, say) is NaN, and ``null`` in JSON. Names of fields are the keys of saved
results and of ``--json``: they never change.
"""

from featcache.results.ablation import AblationResult, AblationRow, Contribution
from featcache.results.base import UNKNOWN_CI, Interval, JsonResult, Number
from featcache.results.comparison import Comparison, RunComparison
from featcache.results.probe import (
    Certificate,
    CPoint,
    Diagnosis,
    EvalResult,
    GeneratorResult,
    GroupResult,
    Mean,
    PassCount,
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
    "UNKNOWN_CI",
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
    "JsonResult",
    "Mean",
    "Number",
    "PassCount",
    "RunComparison",
    "Scores",
    "Selection",
    "TrainResult",
    "TransferCell",
    "TransferResult",
    "ViewResult",
]
