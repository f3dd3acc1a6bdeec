"""Heads that model features as Gaussians: the linear discriminant, and the fakes alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featcache.probes.kinds import Features, Float, Linear, Training, standardisation

QUANTILE = 0.95
"""Share of the training fakes that the one-class head calls fake."""

FOLDS = 5


def fit_lda(training: Training) -> Linear:
    """Return Fisher's linear discriminant with a covariance shrunk as Ledoit and Wolf do.

    scikit-learn's, on standardised columns; the logit is the log ratio of the posteriors, with the
    class shares of the training set as priors.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    mean, scale = standardisation(training.features)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    model.fit((training.features - mean) / scale, training.labels)
    weight = model.coef_[0] / scale
    return Linear(weight=weight, bias=float(model.intercept_[0] - mean @ weight))


@dataclass(frozen=True, kw_only=True)
class OneClass:
    """How near a sample lies to the fakes that were seen.

    Parameters
    ----------
    mean, scale : ndarray of shape (n_features,), float64
        Standardisation by the fakes.
    whitening : ndarray of shape (n_features, n_features), float64
    limit : float
        Distance within which 95 % of held-out training fakes lie.
    spread : float > 0
        Standard deviation of these distances.
    """

    mean: Float
    scale: Float
    whitening: Float
    limit: float
    spread: float

    def logits(self, features: Features) -> Float:
        """Return ``(limit - distance) / spread`` of each row: above 0 is as near as the fakes are.

        No probability can be had without having seen reals; this is a score with a threshold.
        """
        return np.asarray((self.limit - self._distance(features)) / self.spread)

    def _distance(self, features: Features) -> Float:
        rows = ((features - self.mean) / self.scale) @ self.whitening
        return np.asarray(np.sqrt(np.mean(np.square(rows), axis=1)))


def fit_oneclass(training: Training, seed: int = 0) -> OneClass:
    """Fit a Gaussian to the fakes alone; the reals of the training set are not looked at.

    Parameters
    ----------
    training : Training
    seed : int
        Of the folds over photographs in which distances of unseen fakes are measured.
    """
    fakes = training.features[training.labels == 1]
    units = training.groups[training.labels == 1]
    held_out = _held_out_distances(fakes, _folds(units, seed))
    return _gaussian(
        fakes,
        limit=float(np.quantile(held_out, QUANTILE)),
        spread=max(float(held_out.std()), 1e-12),
    )


def _gaussian(fakes: Features, limit: float = 0.0, spread: float = 1.0) -> OneClass:
    from sklearn.covariance import LedoitWolf

    mean, scale = standardisation(fakes)
    covariance = LedoitWolf(assume_centered=True).fit((fakes - mean) / scale).covariance_
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 1e-12 * values.max())
    whitening = vectors / np.sqrt(values)
    return OneClass(mean=mean, scale=scale, whitening=whitening, limit=limit, spread=spread)


def _folds(units: Float, seed: int) -> Float:
    """Return the fold of each sample; samples of one photograph share it."""
    _, unit_of = np.unique(units, return_inverse=True)
    n_units = int(unit_of.max()) + 1
    order = np.random.default_rng(seed).permutation(n_units)
    return np.asarray(order[unit_of] % min(FOLDS, n_units))


def _held_out_distances(fakes: Features, fold: Float) -> Float:
    if fold.max() == 0:  # one photograph: nothing can be held out
        return _gaussian(fakes)._distance(fakes)
    distances = np.empty(len(fakes))
    for number in range(int(fold.max()) + 1):
        out = fold == number
        distances[out] = _gaussian(fakes[~out])._distance(fakes[out])
    return distances
