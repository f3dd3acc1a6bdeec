"""Least squares on the labels with a ridge: one eigendecomposition serves every penalty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featcache.probes.base import Float, HeadKind, Linear, Training, standardisation


def fit_ridge(training: Training, C: float = 1.0) -> Linear:
    """Return the head for one penalty; see :func:`ridge_path`.

    Parameters
    ----------
    training : Training
        Training features, labels and sources.
    C : float
        Inverse strength of the penalty, above 0.

    Returns
    -------
    Linear
        The head for one penalty.
    """
    weights, biases = ridge_path(training, [C])
    return Linear(weight=weights[0], bias=float(biases[0]))


def ridge_path(training: Training, Cs: Sequence[float]) -> tuple[Float, Float]:
    """Return the heads for many penalties from one eigendecomposition.

    Minimises ``½‖w‖² + C Σ ½ (t - f(x))²`` on standardised columns, with targets t of -1 for reals
    and 1 for fakes and an unpenalised intercept: scikit-learn's ``Ridge`` with ``alpha = 1 / C``.

    Parameters
    ----------
    training : Training
    Cs : sequence of float > 0

    Returns
    -------
    weights : ndarray of shape (n_penalties, n_features), float64
        In raw feature space.
    biases : ndarray of shape (n_penalties,), float64
    """
    mean, scale = standardisation(training.features)
    x = (training.features - mean) / scale
    target = 2.0 * training.labels - 1.0
    centred = target - target.mean()
    solutions = _solve(x, centred, np.asarray(Cs, dtype=np.float64))
    weights = solutions / scale
    return weights, target.mean() - weights @ mean


def _solve(x: Float, target: Float, Cs: Float) -> Float:
    """Return (n_penalties, n_features): through X'X where it is the smaller, else through XX'."""
    wide = x.shape[1] > x.shape[0]
    gram = x @ x.T if wide else x.T @ x
    values, vectors = np.linalg.eigh(gram)
    side = vectors.T @ (target if wide else x.T @ target)
    scaled = side / (np.maximum(values, 0.0) + 1.0 / Cs[:, None])
    inner = scaled @ vectors.T
    return np.asarray(inner @ x if wide else inner)


RIDGE = HeadKind(fit=fit_ridge, summary="least squares on the labels", takes=frozenset({"C"}))
