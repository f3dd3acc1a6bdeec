"""How far an image lies outside the training data: a small Gaussian of the training features.

The features are standardised and described by their leading principal axes; what is left counts
with one common variance (probabilistic PCA), so a few hundred kilobytes stand for the whole
training set. A distance means nothing by itself: it is evaluated by the distances of training
images that the Gaussian had not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from featcache.errors import DataError

Floats = NDArray[np.float64] | NDArray[np.float32]

MOST_AXES = 64
N_FOLDS = 5
FLOOR = 1e-6
"""No direction has less variance than this."""

MOST_ROWS = 4096
"""More training images than this are sampled: the Gaussian would not change."""

N_QUANTILES = 201
PREFIX = "spread_"
"""Starts the name of each tensor in a head's file."""

OUTSIDE_SHARE = 0.01
"""An image that is farther out than all but this share of held-out training images is outside."""


@dataclass(frozen=True, kw_only=True)
class NoveltyModel:
    """Where the training features lie.

    Parameters
    ----------
    mean, scale : ndarray of shape (n_features,), float32
    axes : ndarray of shape (n_axes, n_features), float32
        Orthonormal, in standardised space.
    variances : ndarray of shape (n_axes,), float64
    noise : float > 0
        Variance along every other direction.
    quantiles : ndarray of shape (n_quantiles,), float64
        Of the distances of held-out training images, from the smallest to the largest.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    axes: NDArray[np.float32]
    variances: NDArray[np.float64]
    noise: float
    quantiles: NDArray[np.float64]

    @classmethod
    def fit(cls, features: Floats, sources: NDArray[np.object_], seed: int = 0) -> NoveltyModel:
        """Describe training features.

        Parameters
        ----------
        features : ndarray of shape (n_samples, n_features)
        sources : ndarray of shape (n_samples,)
            What belongs together (crops of one photograph) is never on both sides of a split.
        seed : int

        Returns
        -------
        NoveltyModel

        Raises
        ------
        DataError
            If there are fewer than four units.
        """
        from sklearn.model_selection import GroupKFold

        rows, sources = _sample(features, sources, seed)
        names = np.unique(sources.astype(str))
        if len(names) < 4:
            raise DataError(
                f"{len(names)} independent training images are too few to say how far out another"
                " lies."
            )
        folds = GroupKFold(N_FOLDS if len(names) >= N_FOLDS else 2, shuffle=True, random_state=seed)
        distances = [
            _gaussian(rows[rest]).distance(rows[held_out])
            for rest, held_out in folds.split(rows, groups=sources.astype(str))
        ]
        quantiles = np.quantile(np.concatenate(distances), np.linspace(0, 1, N_QUANTILES))
        gaussian = _gaussian(rows)
        return cls(**{**vars(gaussian), "quantiles": quantiles})

    def distance(self, features: Floats) -> NDArray[np.float64]:
        """Return the distance of each row from the training data.

        Parameters
        ----------
        features : ndarray of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
            Mahalanobis distance over the square root of the number of features: about 1 for a
            training image.
        """
        rows = (features - self.mean.astype(np.float64)) / self.scale
        along = rows @ self.axes.T.astype(np.float64)
        rest = (rows**2).sum(axis=1) - (along**2).sum(axis=1)
        total = (along**2 / self.variances).sum(axis=1) + np.maximum(rest, 0) / self.noise
        return np.asarray(np.sqrt(total / rows.shape[1]))

    def tail_probability(self, distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of held-out training images that lie at least as far out, in [0, 1].

        Parameters
        ----------
        distance : ndarray of float64
            Squared distance from the training distribution, shape (n_samples,).

        Returns
        -------
        ndarray of float64
            The share of held-out training images that lie at least as far out, in [0, 1].
        """
        levels = np.linspace(0, 1, len(self.quantiles))
        return np.asarray(1.0 - np.interp(distance, self.quantiles, levels))


def novelty_tensors(model: NoveltyModel) -> dict[str, NDArray[np.float64]]:
    """Return a spread as named tensors, to be kept in a head's file.

    Parameters
    ----------
    model : NoveltyModel
        Model of the training distribution.

    Returns
    -------
    dict[str, ndarray of float64]
        A spread as named tensors, to be kept in a head's file.
    """
    return {
        f"{PREFIX}{item.name}": np.atleast_1d(np.asarray(getattr(model, item.name)))
        for item in fields(NoveltyModel)
    }


def read_novelty(
    tensors: Mapping[str, NDArray[np.generic]], n_features: int
) -> NoveltyModel | None:
    """Return the spread among named tensors, or None where there is none.

    Parameters
    ----------
    tensors : Mapping[str, ndarray of generic]
        Tensors of the file by name.
    n_features : int
        Number of columns.

    Returns
    -------
    NoveltyModel | None
        The spread among named tensors, or None where there is none.

    Raises
    ------
    ValueError
        If its parts do not fit each other or the head.
    """
    stored = {n.removeprefix(PREFIX): t for n, t in tensors.items() if n.startswith(PREFIX)}
    if not stored:
        return None
    if missing := {item.name for item in fields(NoveltyModel)} - set(stored):
        raise ValueError(f"its spread lacks {', '.join(sorted(missing))}")
    axes, variances, quantiles = stored["axes"], stored["variances"], stored["quantiles"]
    wide = (n_features,)
    fits = stored["mean"].shape == stored["scale"].shape == wide and axes.ndim == 2
    fits = fits and axes.shape == (*variances.shape, n_features) and stored["noise"].shape == (1,)
    fits = fits and quantiles.ndim == 1 and len(quantiles) > 1
    if not fits or not all(np.isfinite(part).all() for part in stored.values()):
        raise ValueError("the parts of its spread do not fit each other")
    if not all((np.asarray(stored[n], float) > 0).all() for n in ("scale", "variances", "noise")):
        raise ValueError("its spread has variances that are not positive")
    return NoveltyModel(
        mean=stored["mean"].astype(np.float32),
        scale=stored["scale"].astype(np.float32),
        axes=axes.astype(np.float32),
        variances=variances.astype(np.float64),
        noise=float(stored["noise"][0]),
        quantiles=np.sort(quantiles.astype(np.float64)),
    )


def _sample(
    features: Floats, sources: NDArray[np.object_], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    rows = np.arange(len(features))
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))
    return features[rows].astype(np.float64), sources[rows]


def _gaussian(rows: NDArray[np.float64]) -> NoveltyModel:
    from sklearn.decomposition import PCA

    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(scale > 1e-7 * np.maximum(np.abs(mean), 1e-30), scale, 1.0)
    n, width = rows.shape
    most = max(min(MOST_AXES, n // 4, width - 1), 1)
    model = PCA(most, random_state=0).fit((rows - mean) / scale)
    # The variance that the axes leave is spread over all other directions, width - most of them.
    # scikit-learn's noise_variance_ divides by the eigenvalues that n rows can have, which is too
    # large by about width / n where there are fewer rows than columns.
    total = float(((rows - mean) / scale).var(axis=0, ddof=1).sum())
    noise = max(total - float(model.explained_variance_.sum()), 0.0) / (width - most or 1)
    # Axes that chance alone would give (Marchenko and Pastur's edge) are noise, not structure.
    edge = noise * (1 + np.sqrt(width / n)) ** 2
    n_axes = max(int((model.explained_variance_ > edge).sum()), 1)
    rest = model.explained_variance_[n_axes:].sum() + noise * (width - most)
    return NoveltyModel(
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        axes=model.components_[:n_axes].astype(np.float32),
        variances=np.maximum(model.explained_variance_[:n_axes], FLOOR),
        noise=max(float(rest) / max(width - n_axes, 1), FLOOR),
        quantiles=np.zeros(0),
    )
