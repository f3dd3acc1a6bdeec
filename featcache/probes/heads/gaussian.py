"""Heads that model features as Gaussians: the linear discriminant, and the fakes alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featcache.probes.base import Features, Float, HeadKind, Linear, Training, standardisation

QUANTILE = 0.95
"""Share of the training fakes that the one-class head calls fake."""

FOLDS = 5


def fit_lda(training: Training) -> Linear:
    """Return Fisher's linear discriminant with a covariance shrunk as Ledoit and Wolf do.

    scikit-learn's, on standardised columns; the logit is the log ratio of the posteriors, with the
    class shares of the training set as priors.

    Parameters
    ----------
    training : Training
        Training features, labels and sources.

    Returns
    -------
    Linear
        Fisher's linear discriminant with a covariance shrunk as Ledoit and Wolf do.
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
    axes : ndarray of shape (n_features, k), float64
        Orthonormal directions in which the fakes vary, ``k`` at most the lesser of their number and
        of ``n_features``.
    variances : ndarray of shape (k,), float64
        Shrunk variance along each; > 0.
    rest : float > 0
        Shrunk variance in every other direction.
    limit : float
        Distance within which 95 % of held-out training fakes lie.
    spread : float > 0
        Standard deviation of these distances.
    """

    mean: Float
    scale: Float
    axes: Float
    variances: Float
    rest: float
    limit: float
    spread: float

    def logits(self, features: Features) -> Float:
        """Return ``(limit - distance) / spread`` of each row: above 0 is as near as the fakes are.

        No probability can be had without having seen reals; this is a score with a threshold.

        Parameters
        ----------
        features : Features
            Features of shape (n_samples, n_features).

        Returns
        -------
        Float
            ``(limit - distance) / spread`` of each row.
        """
        return np.asarray((self.limit - self._distance(features)) / self.spread)

    def _distance(self, features: Features) -> Float:
        rows = (features - self.mean) / self.scale
        projected = np.square(rows @ self.axes)
        residual = np.maximum(np.square(rows).sum(axis=1) - projected.sum(axis=1), 0.0)
        if self.axes.shape[1] == len(self.mean):
            residual[:] = 0.0  # nothing but rounding
        return np.asarray(
            np.sqrt((projected @ (1 / self.variances) + residual / self.rest) / len(self.mean))
        )


def fit_oneclass(training: Training, seed: int = 0) -> OneClass:
    """Fit a Gaussian to the fakes alone; the reals of the training set are not looked at.

    Parameters
    ----------
    training : Training
    seed : int
        Of the folds over photographs in which distances of unseen fakes are measured.

    Returns
    -------
    OneClass
    """
    fakes = training.features[training.labels == 1]
    sources = training.groups[training.labels == 1]
    # The fold of each sample; samples of one photograph share it.
    _, unit_of = np.unique(sources, return_inverse=True)
    n_units = int(unit_of.max()) + 1
    order = np.random.default_rng(seed).permutation(n_units)
    held_out = _held_out_distances(fakes, np.asarray(order[unit_of] % min(FOLDS, n_units)))
    return _gaussian(
        fakes,
        limit=float(np.quantile(held_out, QUANTILE)),
        spread=max(float(held_out.std()), 1e-12),
    )


def _gaussian(fakes: Features, limit: float = 0.0, spread: float = 1.0) -> OneClass:
    """Fit mean and covariance, shrunk as Ledoit and Wolf do; no matrix of all features is
    inverted.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    mean, scale = standardisation(fakes)
    rows = np.asarray((fakes - mean) / scale)
    shrinkage = float(ledoit_wolf_shrinkage(rows, assume_centered=True))
    axes, variances = _principal(rows)
    flat = shrinkage * float(np.square(rows).sum()) / rows.size
    shrunk = (1 - shrinkage) * variances + flat
    least = 1e-12 * float(shrunk.max())
    return OneClass(
        mean=mean,
        scale=scale,
        axes=axes,
        variances=np.maximum(shrunk, least),
        rest=max(flat, least),
        limit=limit,
        spread=spread,
    )


def _principal(rows: Float) -> tuple[Float, Float]:
    """Return the directions in which rows vary around zero, and their variances."""
    if len(rows) < rows.shape[1]:
        _, singular, vectors = np.linalg.svd(rows, full_matrices=False)
        return vectors.T, np.square(singular) / len(rows)
    variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    return axes, np.maximum(variances, 0.0)


def _held_out_distances(fakes: Features, fold: Float) -> Float:
    if fold.max() == 0:  # one photograph: nothing can be held out
        return _gaussian(fakes)._distance(fakes)
    distances = np.empty(len(fakes))
    for number in range(int(fold.max()) + 1):
        out = fold == number
        distances[out] = _gaussian(fakes[~out])._distance(fakes[out])
    return distances


LDA = HeadKind(fit=fit_lda, summary="linear discriminant, Ledoit-Wolf covariance")
ONECLASS = HeadKind(
    fit=fit_oneclass,
    summary="fitted on the fakes alone: Mahalanobis distance to them",
    takes=frozenset({"seed"}),
    linear=False,
    needs=frozenset({1}),
)
