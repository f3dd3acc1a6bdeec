"""Make a head ready for images from outside: probabilities that hold, and a sense of what it
knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest
from featcache.evaluate import data
from featcache.evaluate.options import ProbeOptions
from featcache.probes import fit_logistic
from featcache.probes.calibration import fit_platt
from featcache.probes.novelty import NoveltyModel
from featcache.probes.saved_head import SavedHead

Features = NDArray[np.float32]
Logits = Callable[[Features], NDArray[np.float64]]
"""A fitted head: from features (n, D) to logits (n,)."""

N_FOLDS = 3
FEWEST_UNITS = 12
"""Fewer independent training images than this bear out no probability and no distance."""


def calibrate_head(
    head: SavedHead, manifest: Manifest, store: FeatureStore, options: ProbeOptions
) -> SavedHead:
    """Return a head with its calibration and the spread of its training features.

    Parameters
    ----------
    head : SavedHead
        Made by :func:`~featcache.evaluate.run_probe` with the same arguments as follow.
    manifest : Manifest
    store : FeatureStore
    options : ProbeOptions

    Returns
    -------
    SavedHead
        As it was where there are too few independent images; without calibration where the head is
        not the logistic one, which alone is fitted again for it.
    """
    keys = [FeatureKey(fields) for fields in head.feature_keys]
    samples, _ = data.select_samples(manifest, store, keys, options)
    train = data.training_set(samples, options.train)
    sources = np.array([data.source_of(sample) for sample in train], dtype=object)
    if len(set(sources.tolist())) < FEWEST_UNITS:
        return head
    features, labels = data.load_features(store, keys, train), data.labels(train)
    novelty = NoveltyModel.fit(features, sources)
    if head.meta.get("head") != "logistic":
        return replace(head, spread=novelty)
    C = float(head.meta["C"])

    def fit(rows: Features, classes: NDArray[np.int64]) -> Logits:
        return fit_logistic(rows, classes, C).logits

    logits = held_out_logits(features, labels, sources, fit)
    known = np.isfinite(logits)
    both = len(set(labels[known].tolist())) == 2
    calibration = fit_platt(logits[known], labels[known]) if both else None
    return replace(head, calibration=calibration, spread=novelty)


def held_out_logits(
    features: Features,
    labels: NDArray[np.int64],
    sources: NDArray[np.object_],
    fit: Callable[[Features, NDArray[np.int64]], Logits],
) -> NDArray[np.float64]:
    """Return for each training sample the logit of a head that was fitted without its unit.

    Parameters
    ----------
    features : Features
        Features of shape (n_samples, n_features).
    labels : ndarray of int64
        Labels of shape (n_samples,): 0 real, 1 fake.
    sources : ndarray of object
        Source of each sample, shape (n_samples,).
    fit : Callable[[Features, ndarray of int64], Logits]
        Function that fits a head and returns logits.

    Returns
    -------
    ndarray of shape (n_samples,), float64
        NaN where the rest lacks a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    logits = np.full(len(labels), np.nan)
    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=0)
    for rest, held_out in folds.split(features, labels, sources.astype(str)):
        if len(set(labels[rest].tolist())) == 2:
            logits[held_out] = fit(features[rest], labels[rest])(features[held_out])
    return logits
