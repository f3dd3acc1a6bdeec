"""Train the last blocks of a backbone, or a LoRA, and compare the result with the frozen one.

The product is a weights file that the backbone reads like any other and a head for its features;
from there on extraction, evaluation and reports are those of frozen backbones.
"""

from featcache.finetune.forecast import Forecast, forecast_finetune
from featcache.finetune.options import FinetuneOptions
from featcache.finetune.result import Epoch, FinetuneResult
from featcache.finetune.run import finetune

__all__ = [
    "Epoch",
    "FinetuneOptions",
    "FinetuneResult",
    "Forecast",
    "finetune",
    "forecast_finetune",
]
