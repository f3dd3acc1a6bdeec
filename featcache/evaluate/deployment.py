"""Preparing a head for new images: calibrated probabilities, error rates and a model of its
training set.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.evaluate.feature_rows import read_rows
from featcache.evaluate.fitting import HeadSpec, fit_specs, fit_stacking, predict_logits
from featcache.evaluate.options import ProbeOptions
from featcache.evaluate.task import ProbeTask, prepare_task
from featcache.probes.calibration import HeldOutLogits, fit_platt
from featcache.probes.novelty import NoveltyModel
from featcache.probes.saved_head import SavedHead

N_FOLDS = 3
MIN_SOURCES = 12
"""Independent training images below which neither calibration nor distances can be estimated."""


def calibrate_head(
    head: SavedHead, manifest: Manifest, store: FeatureStore, options: ProbeOptions
) -> SavedHead:
    """Add a calibration, held-out logits and a novelty model of the training features to a head.

    The fit is repeated on folds of sources with the same head, scaling, C, fusion and training
    views, and Platt's sigmoid is fitted to the logits of the samples that each fold holds out.

    Parameters
    ----------
    head : SavedHead
        Made by :func:`~featcache.evaluate.run_probe` with the same other arguments.
    manifest : Manifest
        All samples.
    store : FeatureStore
        Must hold the features of all usable samples.
    options : ProbeOptions
        Options of the run that fitted the head.

    Returns
    -------
    SavedHead
        With the date alone where there are too few sources; without calibration and error rates
        where every fold lacks a class.
    """
    head = replace(head, meta={**head.meta, "saved": time.strftime("%Y-%m-%d", time.gmtime())})
    C = float(head.meta.get("C", options.C))
    stacked = options.fusion == "stacking"
    task = prepare_task(manifest, store, replace(options, C=C, grid=[], validate=stacked))
    sources = task.sources.astype(object)
    if len(set(sources.tolist())) < MIN_SOURCES:
        return head
    n = len(task.train)
    rows = slice(task.main_train_view * n, (task.main_train_view + 1) * n)
    novelty = NoveltyModel.fit(read_rows(task.train_rows())[rows], sources[rows])
    logits = held_out_logits(task, C)
    known = np.isfinite(logits)
    both_classes = len(set(task.labels[known].tolist())) == 2
    if not both_classes:
        return replace(head, spread=novelty)
    calibration = fit_platt(logits[known], task.labels[known])
    # New images are seen through the main view, so errors are counted there alone.
    seen = known & (np.arange(len(known)) // n == task.main_train_view)
    if len(set(task.labels[seen].tolist())) < 2:
        return replace(head, calibration=calibration, spread=novelty)
    held_out = HeldOutLogits.of(logits[seen], task.labels[seen], sources[seen])
    return replace(head, calibration=calibration, spread=novelty, held_out=held_out)


def held_out_logits(task: ProbeTask, C: float) -> NDArray[np.float64]:
    """Predict each training row by the head that is fitted without the row's source.

    Parameters
    ----------
    task : ProbeTask
        Training samples; its options say how the head is fitted.
    C : float
        Inverse strength of the penalty.

    Returns
    -------
    ndarray of shape (n_rows,), float64
        A logit for each training sample and view; NaN where the other folds lack a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    labels, sources = task.labels, task.sources.astype(str)
    weights, held_out = [], []
    splitter = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=0)
    for fitted, out in splitter.split(labels[:, None], labels, sources):
        if len(set(labels[fitted].tolist())) == 2:
            weights.append(np.isin(np.arange(len(labels)), fitted).astype(np.float64))
            held_out.append(out)
    if not held_out:
        return np.full(len(labels), np.nan)
    fused = task.options.fusion != "concat"
    parts = [(b,) for b in task.all_features] if fused else [task.all_features]
    specs = [HeadSpec(part, C, fold) for part in parts for fold in range(len(held_out))]
    source = task.train_rows()
    fits = fit_specs(task, source, np.array(weights), specs)
    fold_logits = predict_logits(
        source, [spec.features for spec in specs], [fit.scorer for fit in fits]
    ).reshape(len(parts), len(held_out), -1)
    logits = np.full((len(parts), len(labels)), np.nan)
    for fold, out in enumerate(held_out):
        logits[:, out] = fold_logits[:, fold, out]
    coefficients, bias = np.full(len(parts), 1.0 / len(parts)), 0.0
    if task.options.fusion == "stacking" and len(parts) > 1:
        known = np.isfinite(logits).all(axis=0)
        coefficients, bias = fit_stacking(logits[:, known], labels[known])
    return np.asarray(coefficients @ logits + bias)
