"""Whether reals and fakes are apart in all dimensions: a map of two of them can show what is not
there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

N_FOLDS = 5
RIDGE = 1e-2
"""Weight of the penalty, per sample, on standardised features."""

NEIGHBOURS = 5
MOST_QUERIES = 2000
"""Neighbours and silhouettes are measured for at most so many samples, drawn with a fixed seed."""


def cross_val_scores(features: Floats, labels: Labels, sources: NDArray[np.object_]) -> Floats:
    """Return for each sample a linear score that was fitted without its photograph.

    Parameters
    ----------
    features : ndarray of shape (n_samples, n_features), float32
    labels : ndarray of shape (n_samples,)
    sources : ndarray of shape (n_samples,)
        What belongs together and is never on both sides of a fold.

    Returns
    -------
    ndarray of shape (n_samples,), float32
        NaN where there are too few photographs, or samples of a class, for folds.

    Notes
    -----
    Least squares with a ridge, both classes weighing the same: one solution in closed form per
    fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    scores = np.full(len(labels), np.nan, np.float32)
    n_units = len(set(sources.tolist()))
    n_folds = min(N_FOLDS, n_units, int((labels == 0).sum()), int((labels == 1).sum()))
    if n_folds < 2:
        return scores
    # Balancing folds of groups takes minutes for many groups, and is not needed where each has one
    # sample.
    alone = n_units == len(sources)
    kind = StratifiedKFold if alone else StratifiedGroupKFold
    folds = kind(n_folds, shuffle=True, random_state=0)
    for rest, held_out in folds.split(features, labels, None if alone else sources.astype(str)):
        if len(set(labels[rest].tolist())) == 2:
            scores[held_out] = _ridge(features[rest], labels[rest], features[held_out])
    return scores


def linear_auroc(features: Floats, labels: Labels, sources: NDArray[np.object_]) -> float:
    """Return the AUROC of held-out linear scores, the mean over folds being one ranking.

    Parameters
    ----------
    features : Floats
        Features of shape (n_samples, n_features).
    labels : Labels
        Labels of shape (n_samples,): 0 real, 1 fake.
    sources : ndarray of object
        Source of each sample, shape (n_samples,).

    Returns
    -------
    float
        The AUROC of held-out linear scores, the mean over folds being one ranking.
    """
    from sklearn.metrics import roc_auc_score

    scores = cross_val_scores(features, labels, sources)
    known = np.isfinite(scores)
    if len(set(labels[known].tolist())) < 2:
        return float("nan")
    return float(roc_auc_score(labels[known], scores[known]))


def knn_purity(features: Floats, labels: Labels, sources: NDArray[np.object_]) -> float:
    """Return the share of nearest neighbours of the same class, the mean of both classes.

    Samples of the same photograph do not count as neighbours. With classes of unequal size a space
    that knows nothing still gives 0.5.

    Parameters
    ----------
    features : Floats
        Features of shape (n_samples, n_features).
    labels : Labels
        Labels of shape (n_samples,): 0 real, 1 fake.
    sources : ndarray of object
        Source of each sample, shape (n_samples,).

    Returns
    -------
    float
        The share of nearest neighbours of the same class, the mean of both classes.
    """
    from sklearn.preprocessing import normalize

    queries = _draw(len(labels))
    rows = normalize(features)
    _, unit_of = np.unique(sources.astype(str), return_inverse=True)
    similar = rows[queries] @ rows.T
    similar[unit_of[queries][:, None] == unit_of[None, :]] = -np.inf
    nearest = np.argpartition(-similar, min(NEIGHBOURS, len(labels) - 1), axis=1)[:, :NEIGHBOURS]
    same = (labels[nearest] == labels[queries][:, None]).mean(axis=1)
    shares = [same[labels[queries] == label] for label in (0, 1)]
    return float(np.mean([share.mean() if share.size else np.nan for share in shares]))


def silhouette(features: Floats, labels: Labels) -> float:
    """Return the mean silhouette by cosine.

    Parameters
    ----------
    features : Floats
        Features of shape (n_samples, n_features).
    labels : Labels
        Labels of shape (n_samples,): 0 real, 1 fake.

    Returns
    -------
    float
        The mean silhouette by cosine.
    """
    from sklearn.metrics import silhouette_score

    drawn = _draw(len(labels))
    if not 2 <= len(set(labels[drawn].tolist())) < len(drawn):
        return float("nan")
    return float(silhouette_score(features[drawn], labels[drawn], metric="cosine"))


def _ridge(rows: Floats, labels: Labels, queries: Floats) -> Floats:
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    scale[scale <= 1e-7 * np.maximum(np.abs(mean), 1e-30)] = np.inf
    standard = (rows - mean) / scale
    weight = np.where(labels == 1, 0.5 / labels.mean(), 0.5 / (1 - labels.mean())).astype(
        rows.dtype
    )
    weighted = standard * weight[:, None]
    gram = (weighted.T @ standard).astype(np.float64)
    gram[np.diag_indices_from(gram)] += RIDGE * len(rows)
    solved = np.linalg.solve(gram, (weighted.T @ (2.0 * labels - 1)).astype(np.float64))
    return np.asarray(((queries - mean) / scale) @ solved, dtype=np.float32)


def _draw(n: int) -> NDArray[np.intp]:
    rng = np.random.default_rng(0)
    return np.sort(rng.choice(n, min(n, MOST_QUERIES), replace=False))
