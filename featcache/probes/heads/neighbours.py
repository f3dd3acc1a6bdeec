"""Heads that compare with training samples by the cosine: nearest neighbours and class means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.errors import DataError
from featcache.probes.base import Features, Float, HeadKind, Linear, Training, normalized

BLOCK_CELLS = 16_000_000
"""Similarities (queries x bank) that are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """A bank of training samples.

    Parameters
    ----------
    bank : ndarray of shape (n_samples, n_features), float32
        Rows of norm 1.
    labels : ndarray of shape (n_samples,), int
    k : int
    """

    bank: Features
    labels: NDArray[np.int64]
    k: int

    def logits(self, features: Features) -> Float:
        """Return, for each row, how the vote of its k nearest goes, ties decided by nearness.

        Parameters
        ----------
        features : Features
            Features of shape (n_samples, n_features).

        Returns
        -------
        Float

        Notes
        -----
        ``2 * share of fakes - 1 + margin / 2k``, where ``margin`` in [-2, 2] is the cosine to
        the nearest fake minus that to the nearest real: votes come first, the margin orders
        samples of equal vote. With k = 1 it is above 0 exactly where the nearest fake is nearer
        than the nearest real, which is the rule of UnivFD (arXiv 2302.10174, section 4). The
        paper does not say which continuous score its AP is computed from; this one is ours.
        """
        queries = normalized(features, [])
        step = max(BLOCK_CELLS // len(self.bank), 1)
        parts = [self._block(queries[i : i + step]) for i in range(0, len(queries), step)]
        return np.concatenate([np.empty(0), *parts])

    def _block(self, queries: Features) -> Float:
        cosine = queries @ self.bank.T
        fake = self.labels == 1
        margin = cosine[:, fake].max(axis=1) - cosine[:, ~fake].max(axis=1)
        if self.k == 1:
            votes = np.where(margin > 0, 1.0, -1.0)
        else:
            nearest = np.argpartition(-cosine, self.k - 1, axis=1)[:, : self.k]
            votes = 2.0 * fake[nearest].mean(axis=1) - 1.0
        return np.asarray(votes + margin.astype(np.float64) / (2 * self.k))


def fit_knn(training: Training, k: int = 1) -> Neighbours:
    """Keep the training samples as a bank.

    Parameters
    ----------
    training : Training
    k : int
        How many neighbours vote; odd, at most the number of samples.

    Returns
    -------
    Neighbours

    Raises
    ------
    DataError
        If ``k`` is even or larger than the bank.
    """
    if k < 1 or k % 2 == 0 or k > len(training.labels):
        raise DataError(
            f"k = {k} is not allowed for {len(training.labels):,} training samples: "
            "it must be odd and at most as many."
        )
    return Neighbours(bank=normalized(training.features, []), labels=training.labels, k=k)


def fit_prototype(training: Training) -> Linear:
    """Return the head that compares with the mean direction of each class.

    The logit is the difference of the cosines to the two means, in which each joined feature counts
    alike: every block of a row has norm 1.

    Parameters
    ----------
    training : Training
        Training features, labels and sources.

    Returns
    -------
    Linear
        The head that compares with the mean direction of each class.
    """
    rows = normalized(training.features, training.widths)
    means = [
        _direction(rows[training.labels == label].mean(axis=0, dtype=np.float64))
        for label in (0, 1)
    ]
    return Linear(weight=means[1] - means[0], bias=0.0, l2=True, widths=training.widths)


def _direction(vector: Float) -> Float:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


KNN = HeadKind(
    fit=fit_knn,
    summary="UnivFD's nearest neighbours: cosine, vote of the k nearest",
    takes=frozenset({"k"}),
    parameters={"k": 1},
    linear=False,
)
PROTOTYPE = HeadKind(fit=fit_prototype, summary="nearest class mean, cosine")
