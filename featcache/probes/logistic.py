"""The linear probe: logistic regression on standardised features, its weights in raw feature space."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.errors import DataError, FeatcacheWarning

MAX_ITERATIONS = 10_000


@dataclass(frozen=True)
class Head:
    """A linear head in raw feature space: ``logit = features @ weight + bias``.

    Parameters
    ----------
    weight : ndarray of shape (n_features,), float64
    bias : float
    """

    weight: NDArray[np.float64]
    bias: float

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the logit of being fake of each row of ``features`` (n_samples, n_features)."""
        return np.asarray(features.astype(np.float64) @ self.weight + self.bias)


def fit_logistic(features: NDArray[np.float32], labels: NDArray[np.int64], C: float) -> Head:
    """Fit the head.

    Parameters
    ----------
    features : ndarray of shape (n_samples, n_features), float32
        Raw; standardised here with the mean and deviation of these samples.
    labels : ndarray of shape (n_samples,), int
        0 real, 1 fake.
    C : float > 0
        Inverse strength of the ridge penalty on the standardised weights.

    Returns
    -------
    Head
        With the standardisation folded in. A feature that never varies gets weight 0.

    Raises
    ------
    DataError
        If a class is missing.
    """
    from sklearn.linear_model import LogisticRegression

    n_fake = int(labels.sum())
    if n_fake in (0, len(labels)):
        missing = "fakes" if n_fake == 0 else "reals"
        raise DataError(f"The training set has no {missing}: a probe needs both classes.")
    mean, scale = _standardisation(features)
    model = LogisticRegression(C=C, tol=1e-6, max_iter=MAX_ITERATIONS)
    model.fit((features - mean) / scale, labels)
    if model.n_iter_[0] >= MAX_ITERATIONS:
        warnings.warn(f"The fit at C={C} did not converge.", FeatcacheWarning, stacklevel=2)
    weight = model.coef_[0] / scale
    return Head(weight, float(model.intercept_[0] - mean @ weight))


def _standardisation(
    features: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and deviation of each feature; a dead one gets deviation infinity, so weight 0."""
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    dead = deviation <= 1e-7 * np.maximum(np.abs(mean), 1e-30)
    return mean, np.where(dead, np.inf, deviation)
