"""Probes and their evaluation: fit on training samples, score every generator, report intervals.

:func:`run_probe` answers for one head, :func:`ablate` for feature sets, :func:`transfer` and
:func:`efficiency` for other training sets, :func:`compare` for two runs.
"""

from featcache.evaluate.ablation import ablate
from featcache.evaluate.comparison import compare
from featcache.evaluate.deployment import calibrate_head
from featcache.evaluate.export import (
    write_ablation_csv,
    write_efficiency_csv,
    write_transfer_csv,
)
from featcache.evaluate.export_arrays import export_arrays
from featcache.evaluate.forecast import ProbeForecast, forecast_ablation, forecast_probe
from featcache.evaluate.learning_curve import efficiency
from featcache.evaluate.options import GRID, AblateOptions, ProbeOptions
from featcache.evaluate.protocol import Probed, evaluate, run_probe
from featcache.evaluate.results_store import load_result, load_scores, result_folder, save_result
from featcache.evaluate.scoring import ap_at_priors
from featcache.evaluate.transfer import transfer
from featcache.results import EvalResult, GeneratorResult, GroupResult, Scores, TrainResult

__all__ = [
    "GRID",
    "AblateOptions",
    "EvalResult",
    "GeneratorResult",
    "GroupResult",
    "ProbeForecast",
    "ProbeOptions",
    "Probed",
    "Scores",
    "TrainResult",
    "ablate",
    "ap_at_priors",
    "calibrate_head",
    "compare",
    "efficiency",
    "evaluate",
    "export_arrays",
    "forecast_ablation",
    "forecast_probe",
    "load_result",
    "load_scores",
    "result_folder",
    "run_probe",
    "save_result",
    "transfer",
    "write_ablation_csv",
    "write_efficiency_csv",
    "write_transfer_csv",
]
