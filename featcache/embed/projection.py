"""Maps from many dimensions to two."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.embed.separation import cross_val_scores
from featcache.errors import MissingExtraError, SettingsError

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

NEIGHBOURS, MIN_DIST, METRIC = 5, 0.3, "cosine"
"""The paper's settings of UMAP."""

METHODS = ("umap", "pca", "probe", "tsne")


def make_map(
    method: str,
    features: Floats,
    labels: NDArray[np.int64],
    sources: NDArray[np.object_],
    seed: int,
) -> tuple[Points, dict[str, Any]]:
    """Return a map and its settings.

    Parameters
    ----------
    method : {"umap", "pca", "probe", "tsne"}
    features : ndarray of shape (n_samples, n_features), float32
    labels : ndarray of shape (n_samples,)
        Used by ``probe`` only: its horizontal axis is a linear score of held-out photographs, its
        vertical axis the first principal component of what the scores leave.
    sources : ndarray of shape (n_samples,)
        Used by ``probe`` only: its horizontal axis is a linear score of held-out photographs, its
        vertical axis the first principal component of what the scores leave.
    seed : int

    Returns
    -------
    tuple of ndarray of shape (n_samples, 2), float64, and dict

    Raises
    ------
    SettingsError
        If there is no such method, or there are too few samples for it.
    MissingExtraError
        If umap-learn is not installed.
    """
    if method not in METHODS:
        raise SettingsError(f"There is no map {method!r}. Known: {', '.join(METHODS)}.")
    if len(features) <= NEIGHBOURS:
        raise SettingsError(
            f"A map needs more than {NEIGHBOURS} samples; there are {len(features)}."
        )
    if method == "probe":
        from sklearn.decomposition import PCA

        scores = np.nan_to_num(cross_val_scores(features, labels, sources)).astype(np.float64)
        centred = features - features.mean(axis=0)
        axis = scores - scores.mean()
        slope = centred.T @ axis / max(float(axis @ axis), 1e-12)
        rest = centred - np.outer(axis, slope)
        second = PCA(1, random_state=0, svd_solver="randomized").fit_transform(rest)[:, 0]
        return np.column_stack([scores, second]), {"folds": "by photograph"}
    makers: dict[str, Callable[[Floats, int], tuple[Points, dict[str, Any]]]] = {
        "umap": _umap,
        "pca": _pca,
        "tsne": _tsne,
    }
    return makers[method](features, seed)


def _umap(features: Floats, seed: int) -> tuple[Points, dict[str, Any]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # that TensorFlow, which it needs for other things, is missing
            import umap
    except ImportError as error:
        raise MissingExtraError(
            "The map needs umap-learn, which is not installed. Run: pip install 'featcache[viz]', "
            "or choose other maps: --method pca,probe"
        ) from error
    settings = {"n_neighbors": NEIGHBOURS, "min_dist": MIN_DIST, "metric": METRIC}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # that a seed means one thread; that small graphs fall apart
        points = umap.UMAP(**settings, random_state=seed, n_jobs=1).fit_transform(features)
    return np.asarray(points, np.float64), settings | {"random_state": seed}


def _pca(features: Floats, seed: int) -> tuple[Points, dict[str, Any]]:
    from sklearn.decomposition import PCA

    model = PCA(2, random_state=seed, svd_solver="randomized")
    points = model.fit_transform(features)
    return points.astype(np.float64), {"explained": model.explained_variance_ratio_.tolist()}


def _tsne(features: Floats, seed: int) -> tuple[Points, dict[str, Any]]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    n_axes = min(50, *features.shape)
    reduced = PCA(n_axes, random_state=seed, svd_solver="randomized").fit_transform(features)
    perplexity = min(30.0, (len(features) - 1) / 3)
    settings = {"perplexity": perplexity, "metric": METRIC, "init": "pca", "random_state": seed}
    points = TSNE(**settings).fit_transform(reduced)
    return points.astype(np.float64), settings | {"pca_first": n_axes}
