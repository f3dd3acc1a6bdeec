"""Preparing a head for images from elsewhere: calibrated probabilities and a novelty model."""

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
"""A fitted head: from features of shape (n, n_features) to logits of shape (n,)."""

N_FOLDS = 3
MIN_SOURCES = 12
"""Independent training images below which neither calibration nor distances are meaningful."""


def calibrate_head(
    head: SavedHead, manifest: Manifest, store: FeatureStore, options: ProbeOptions
) -> SavedHead:
    """Add a Platt calibration and a novelty model of the training features to a head.

    Parameters
    ----------
    head : SavedHead
        Made by :func:`~featcache.evaluate.run_probe` with the same other arguments.
    manifest : Manifest
        All samples.
    store : FeatureStore
        Must hold the features of the training samples.
    options : ProbeOptions
        Options of the probe.

    Returns
    -------
    SavedHead
        Unchanged where the training set has too few sources. Only logistic heads are calibrated,
        on logits of heads refitted without the source of each sample.

    Raises
    ------
    MissingFeaturesError
        If a training sample lacks a feature.
    """
    keys = [FeatureKey(fields) for fields in head.feature_keys]
    samples, _ = data.select_samples(manifest, store, keys, options)
    train = data.training_set(samples, options.train)
    sources = np.array([data.source_of(sample) for sample in train], dtype=object)
    if len(set(sources.tolist())) < MIN_SOURCES:
        return head
    features, labels = data.load_features(store, keys, train), data.labels(train)
    head = replace(head, spread=NoveltyModel.fit(features, sources))
    if head.meta.get("head") != "logistic":
        return head
    C = float(head.meta["C"])
    logits = held_out_logits(
        features, labels, sources, lambda rows, classes: fit_logistic(rows, classes, C).logits
    )
    known = np.isfinite(logits)
    both_classes = len(set(labels[known].tolist())) == 2
    calibration = fit_platt(logits[known], labels[known]) if both_classes else None
    return replace(head, calibration=calibration)


def held_out_logits(
    features: Features,
    labels: NDArray[np.int64],
    sources: NDArray[np.object_],
    fit: Callable[[Features, NDArray[np.int64]], Logits],
) -> NDArray[np.float64]:
    """Predict each training sample by a head that was fitted without its source.

    Parameters
    ----------
    features : ndarray of shape (n_samples, n_features), float32
        Training features.
    labels : ndarray of shape (n_samples,), int64
        0 real, 1 fake.
    sources : ndarray of shape (n_samples,), object (str)
        Source of each sample; a source is in one fold only.
    fit : callable
        From features and labels to a function that predicts logits.

    Returns
    -------
    ndarray of shape (n_samples,), float64
        NaN where the other folds lack a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    logits = np.full(len(labels), np.nan)
    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=0)
    for fitted, held_out in folds.split(features, labels, sources.astype(str)):
        if len(set(labels[fitted].tolist())) == 2:
            logits[held_out] = fit(features[fitted], labels[fitted])(features[held_out])
    return logits
