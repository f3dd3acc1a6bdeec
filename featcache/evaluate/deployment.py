"""Prepare a fitted head for new images: calibration, and a model of its training set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.evaluate.fitting import HeadSpec, fit_tasks, logits_of, stack_shares
from featcache.evaluate.options import ProbeOptions
from featcache.evaluate.task import ProbeTask, prepare_task
from featcache.probes.calibration import fit_platt
from featcache.probes.novelty import NoveltyModel
from featcache.probes.saved_head import SavedHead

N_FOLDS = 3
FEWEST_SOURCES = 12
"""With fewer independent training images no probability and no distance can be estimated."""


def calibrate_head(
    head: SavedHead, manifest: Manifest, store: FeatureStore, options: ProbeOptions
) -> SavedHead:
    """Return a head with calibrated probabilities and a model of its training features.

    The probabilities are those of this very head: the fit is repeated on folds of sources with the
    same head, scaling, C, fusion and training views, and Platt's sigmoid is fitted to the logits of
    the samples that each fold holds out.

    Parameters
    ----------
    head : SavedHead
        Made by :func:`~featcache.evaluate.run_probe` with the same arguments as follow.
    manifest : Manifest
        Samples with labels, generators, splits and sources.
    store : FeatureStore
        Store with the features.
    options : ProbeOptions
        Options of the run that fitted the head.

    Returns
    -------
    SavedHead
        Unchanged where there are too few independent images; without calibration where a fold
        lacks a class.
    """
    C = float(head.meta.get("C", options.C))
    stacked = options.fusion == "stacking"
    task = prepare_task(manifest, store, replace(options, C=C, grid=[], validate=stacked))
    sources = task.sources.astype(object)
    if len(set(sources.tolist())) < FEWEST_SOURCES:
        return head
    clean = task.train_views.index("clean") if "clean" in task.train_views else 0
    n = len(task.train)
    own_view = slice(clean * n, (clean + 1) * n)
    novelty = NoveltyModel.fit(_matrix(task, own_view), sources[own_view])
    logits = held_out_logits(task, C)
    known = np.isfinite(logits)
    both = len(set(task.labels[known].tolist())) == 2
    calibration = fit_platt(logits[known], task.labels[known]) if both else None
    return replace(head, calibration=calibration, spread=novelty)


def _matrix(task: ProbeTask, rows: slice) -> NDArray[np.float32]:
    """Return the training features of some rows, all features side by side."""
    source = task.train_rows()
    blocks = list(range(len(source.widths)))
    parts = [np.concatenate(chunk, axis=1) for _, chunk in source.chunks(blocks)]
    return np.concatenate(parts)[rows]


def held_out_logits(task: ProbeTask, C: float) -> NDArray[np.float64]:
    """Return for each training row the logit of the head fitted without the row's source.

    Parameters
    ----------
    task : ProbeTask
        Prepared task; its options say how the head is fitted.
    C : float
        Inverse strength of the penalty.

    Returns
    -------
    ndarray of shape (n_rows,), float64
        One value for each training sample and view; NaN where the rest lacks a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels, sources = task.labels, task.sources.astype(str)
    weights, held = [], []
    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=0)
    for rest, out in folds.split(labels[:, None], labels, sources):
        if len(set(labels[rest].tolist())) == 2:
            weights.append(np.isin(np.arange(len(labels)), rest).astype(np.float64))
            held.append(out)
    logits = np.full(len(labels), np.nan)
    if not held:
        return logits
    source = task.train_rows()
    n_features = len(task.options.features)
    fused = task.options.fusion != "concat"
    sets = [(b,) for b in range(n_features)] if fused else [tuple(range(n_features))]
    specs = [HeadSpec(s, C, t) for s in sets for t in range(len(held))]
    fits = fit_tasks(task, source, np.array(weights), specs)
    every = logits_of(source, specs, fits).reshape(len(sets), len(held), -1)
    parts = np.full((len(sets), len(labels)), np.nan)
    for t, out in enumerate(held):
        parts[:, out] = every[:, t, out]
    if task.options.fusion == "stacking" and len(sets) > 1:
        known = np.isfinite(parts).all(axis=0)
        shares, bias = stack_shares(parts[:, known], labels[known])
    else:
        shares, bias = np.full(len(sets), 1.0 / len(sets)), 0.0
    return np.asarray(shares @ parts + bias)
