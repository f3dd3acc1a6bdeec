"""A head and a metric for featcache: a function and a record each."""

from __future__ import annotations

import numpy as np

from featcache.metrics import METRICS, Metric, ResampledCounts
from featcache.metrics.sorted_scores import Float
from featcache.probes import HeadKind, Linear, Training


def fit_centroids(training: Training, *, shrink: float) -> Linear:
    """Return the head that points from the mean of the reals to that of the fakes."""
    real, fake = (training.features[training.labels == label].mean(axis=0) for label in (0, 1))
    weight = (1.0 - shrink) * (fake - real).astype(np.float64)
    return Linear(weight=weight, bias=float(-weight @ (fake + real) / 2), widths=training.widths)


def accuracy_gap(counts: ResampledCounts) -> Float:
    """Return the distance between the accuracies on reals and fakes of each resample."""
    real, fake = METRICS["r_acc"].function(counts), METRICS["f_acc"].function(counts)
    return np.asarray(np.abs(real - fake))


CENTROIDS = HeadKind(fit=fit_centroids, summary="nearest mean", parameters={"shrink": 0.0})

GAP = Metric(
    name="gap",
    label="Accuracy gap",
    function=accuracy_gap,
    help="difference of the accuracies on reals and fakes",
    higher_is_better=False,
    formula="|TNR - TPR|",
)
