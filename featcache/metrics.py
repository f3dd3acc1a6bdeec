"""Numbers about scores: arrays in, numbers out. Label 1 is fake, a higher score means more fake.

The point values equal scikit-learn's; the bootstrap computes all resamples of all metrics at once from
one sorting of the scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.errors import DataError

Float = NDArray[np.float64]

METRICS = ("ap", "auroc", "acc", "r_acc", "f_acc")
"""Average precision, area under the ROC curve, accuracy on all, on reals, on fakes."""

BLOCK_CELLS = 4_000_000
"""Weights (resamples x samples) that are in memory at once."""


@dataclass(frozen=True)
class Sorted:
    """Scores in falling order with their ties marked, ready to be counted with any weights.

    Parameters
    ----------
    order : ndarray of shape (n_samples,), int
        Positions of the samples by falling score.
    ends : ndarray of shape (n_distinct,), int
        Last position, in that order, of each run of equal scores.
    fake : ndarray of shape (n_samples,), float64
        1 for fakes, in that order.
    called : ndarray of shape (n_samples,), float64
        1 where the score is above the threshold, in that order.
    """

    order: NDArray[np.intp]
    ends: NDArray[np.intp]
    fake: Float
    called: Float

    @classmethod
    def of(cls, y: NDArray[np.int64], score: Float, threshold: float) -> Sorted:
        """Sort scores.

        Raises
        ------
        DataError
            If a score is not a number or a class is missing: no metric would be defined.
        """
        if not np.isfinite(score).all():
            raise DataError("Scores with NaN or Inf cannot be ranked.")
        if len(set(np.unique(y)) & {0, 1}) < 2:
            raise DataError("Metrics need at least one real and one fake.")
        order = np.argsort(-score, kind="stable")
        ranked = score[order]
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        return cls(order, ends, y[order].astype(float), (ranked > threshold).astype(float))


def compute_metrics(y: NDArray[np.int64], score: Float, threshold: float) -> dict[str, float]:
    """Return every metric of one set of scores.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), int
        0 real, 1 fake; both must be there.
    score : ndarray of shape (n_samples,), float64
    threshold : float
        A score above it is called fake.

    Returns
    -------
    dict of str to float in [0, 1]
        One value for each name in :data:`METRICS`.

    Notes
    -----
    AP = sum over distinct scores of (R_n - R_{n-1}) P_n, ties in one step, no interpolation. AUROC
    counts ties half.

    Examples
    --------
    >>> y, score = np.array([0, 1, 1, 0]), np.array([0.0, 0.5, 0.7, 0.8])
    >>> round(compute_metrics(y, score, 0.5)["ap"], 4)
    0.5833
    """
    return point_metrics(Sorted.of(y, score, threshold))


def point_metrics(ranked: Sorted) -> dict[str, float]:
    """Return every metric of scores that are sorted already, each sample counted once."""
    values = weighted_metrics(ranked, np.ones((1, len(ranked.order))))
    return {name: float(column[0]) for name, column in values.items()}


def weighted_metrics(ranked: Sorted, weights: Float) -> dict[str, Float]:
    """Return every metric for each row of weights.

    Parameters
    ----------
    ranked : Sorted
    weights : ndarray of shape (n_resamples, n_samples), float64
        How often each sample counts, in the original order of the samples.

    Returns
    -------
    dict of str to ndarray of shape (n_resamples,)
        NaN where a resample lacks a class.
    """
    w = weights[:, ranked.order]
    w_fake = w * ranked.fake
    hits = np.cumsum(w_fake, axis=1)[:, ranked.ends]
    alarms = np.cumsum(w, axis=1)[:, ranked.ends] - hits
    n_fake, n_real = hits[:, -1], alarms[:, -1]
    called_fake, called = w_fake @ ranked.called, w @ ranked.called
    with np.errstate(invalid="ignore", divide="ignore"):
        f_acc = called_fake / n_fake
        r_acc = 1.0 - (called - called_fake) / n_real
        acc = (called_fake + n_real - (called - called_fake)) / (n_fake + n_real)
        return {
            "ap": _average_precision(hits, alarms),
            "auroc": _auroc(hits, alarms),
            "acc": np.where((n_fake > 0) & (n_real > 0), acc, np.nan),
            "r_acc": r_acc,
            "f_acc": f_acc,
        }


def _average_precision(hits: Float, alarms: Float) -> Float:
    """Sum precision over the steps of recall; a step without weight adds nothing."""
    steps = np.diff(hits, axis=1, prepend=0.0)
    total = hits + alarms
    precision = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)
    areas = (steps * precision).sum(axis=1) / hits[:, -1]
    return np.where(alarms[:, -1] > 0, areas, np.nan)


def _auroc(hits: Float, alarms: Float) -> Float:
    """Add up the trapezoids under the ROC curve."""
    before = np.concatenate([np.zeros((len(hits), 1)), hits[:, :-1]], axis=1)
    widths = np.diff(alarms, axis=1, prepend=0.0)
    return np.asarray((widths * (hits + before)).sum(axis=1) / (2 * hits[:, -1] * alarms[:, -1]))


@dataclass(frozen=True)
class Resamples:
    """Bootstrap resamples of sources, drawn once and used for every generator.

    Parameters
    ----------
    strata : ndarray of shape (n_sources,), int
        Sources are drawn with replacement among those of the same stratum.
    n_resamples : int
    seed : int

    Notes
    -----
    A stratum holds the sources that play the same roles (a real of these generators, a fake of that
    one). Where every sample is a source of its own, this is the bootstrap stratified by class; where
    several crops and fakes come from one photograph, they are drawn together. Since all generators see
    the same draws, means over generators keep the dependence that shared reals bring.
    """

    strata: NDArray[np.int64]
    n_resamples: int = 1000
    seed: int = 0

    def counts(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return how often each source is in the resamples ``start`` to ``stop``.

        Returns
        -------
        ndarray of shape (stop - start, n_sources), int32
            The same for a resample whatever the range it is asked for in.
        """
        drawn = np.zeros((stop - start, len(self.strata)), dtype=np.int32)
        members = [np.flatnonzero(self.strata == stratum) for stratum in np.unique(self.strata)]
        for row in range(start, stop):
            rng = np.random.default_rng((self.seed, row))
            for positions in members:
                picks = rng.integers(0, len(positions), len(positions))
                drawn[row - start, positions] = np.bincount(picks, minlength=len(positions))
        return drawn


def bootstrap(
    ranked: dict[str, Sorted], sources: dict[str, NDArray[np.intp]], resamples: Resamples
) -> dict[str, dict[str, Float]]:
    """Return every metric of every generator in every resample.

    Parameters
    ----------
    ranked : dict of str to Sorted
        Scores per generator.
    sources : dict of str to ndarray of shape (n_samples,), int
        Source of each sample, in the original order, as a position in ``resamples.strata``.
    resamples : Resamples

    Returns
    -------
    dict of generator to dict of metric to ndarray of shape (n_resamples,)
    """
    largest = max(len(resamples.strata), *(len(rows) for rows in sources.values()))
    step = max(BLOCK_CELLS // largest, 1)
    parts: dict[str, list[dict[str, Float]]] = {name: [] for name in ranked}
    for start in range(0, resamples.n_resamples, step):
        counts = resamples.counts(start, min(start + step, resamples.n_resamples))
        for name, scores in ranked.items():
            parts[name].append(weighted_metrics(scores, counts[:, sources[name]].astype(float)))
    return {
        name: {metric: np.concatenate([block[metric] for block in blocks]) for metric in METRICS}
        for name, blocks in parts.items()
    }


def interval(values: Float, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of bootstrap values; resamples without a class are left out."""
    tail = (1 - level) / 2
    good = values[np.isfinite(values)]
    if not good.size:
        return (float("nan"), float("nan"))
    low, high = np.quantile(good, [tail, 1 - tail])
    return float(low), float(high)
