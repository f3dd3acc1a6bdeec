"""Scores sorted once, and resamples of them counted along that order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import DataError

Float = NDArray[np.float64]
Index = NDArray[np.intp]

ECE_BINS = 10
"""Equal bins of the probability: [0, 0.1), ..., [0.9, 1]."""


@dataclass(frozen=True)
class SortedScores:
    """Scores in falling order, class by class, ready to be counted with any weights.

    The curve has one step for each distinct score that a fake has, from the highest on: between two
    steps only reals pass by, and no metric has its best there.

    Parameters
    ----------
    fakes, reals : ndarray of shape (n_fake,) and (n_real,), int
        Positions of the samples of each class by falling score.
    levels : ndarray of shape (n_steps,), float64
        The score of each step.
    tp : ndarray of shape (n_steps,), int
        Fakes with at least the score of the step.
    fp, fp_before : ndarray of shape (n_steps,), int
        Reals with at least that score, and with more than that.
    called, called_val : (int, int) or None
        Fakes and reals above the threshold, and above the validation threshold; None where there is
        none.
    errors : (ndarray (n_fake, 11), ndarray (n_real, 11)) or None
        Of each sample, in the order of its class: probability minus label in the column of its bin,
        and its square in the last; None where scores are no probabilities.
    below : ndarray of shape (n_steps,), float64
        The next lower score of any sample; -inf where there is none.
    top : float
        The highest score of all.
    """

    fakes: Index
    reals: Index
    levels: Float
    tp: Index
    fp: Index
    fp_before: Index
    called: tuple[int, int] | None
    called_val: tuple[int, int] | None
    errors: tuple[Float, Float] | None
    below: Float
    top: float

    @classmethod
    def of(
        cls,
        y: NDArray[np.int64],
        score: Float,
        threshold: float = 0.5,
        val_threshold: float = math.nan,
        logit: Float | None = None,
    ) -> SortedScores:
        """Sort scores.

        Parameters
        ----------
        y : ndarray of shape (n_samples,), int
            0 real, 1 fake; both must be there.
        score : ndarray of shape (n_samples,), float64
        threshold : float
            A score above it is called fake; NaN where there is none.
        val_threshold : float
            A score above it is called fake; NaN where there is none.
        logit : ndarray of shape (n_samples,), float64, optional
            What the scores are the sigmoid of. It decides the order: beyond about 37 in absolute
            value the sigmoid is exactly 0 or 1 in float64, and different logits become ties.

        Returns
        -------
        SortedScores

        Raises
        ------
        DataError
            If a score is not a number or a class is missing: no metric would be defined.
        """
        y, score = np.asarray(y), np.asarray(score, dtype=np.float64)
        if y.shape != score.shape or y.ndim != 1:
            raise DataError(f"There are {y.shape} labels for {score.shape} scores.")
        if not np.isfinite(score).all():
            raise DataError("Scores with NaN or Inf cannot be ranked.")
        order = score if logit is None else np.asarray(logit, dtype=np.float64)
        if order.shape != score.shape or not np.isfinite(order).all():
            raise DataError("Logits with NaN or Inf cannot be ranked.")
        values = set(np.unique(y).tolist())
        if not values <= {0, 1}:
            raise DataError(f"Labels are 0 (real) and 1 (fake), not {min(values - {0, 1})}.")
        if len(values) < 2:
            raise DataError("Metrics need at least one real and one fake.")
        fakes, reals = (_falling(order, np.flatnonzero(y == label)) for label in (1, 0))
        high, low = -order[fakes], -order[reals]  # rising, as searchsorted wants them
        ends = np.flatnonzero(np.append(high[1:] != high[:-1], True))
        levels = high[ends]
        falling = _falling(order, np.arange(len(order)))
        next_lower = np.append(score[falling], -np.inf)
        return cls(
            fakes=fakes,
            reals=reals,
            levels=score[fakes][ends],
            tp=ends + 1,
            fp=np.searchsorted(low, levels, side="right"),
            fp_before=np.searchsorted(low, levels, side="left"),
            called=_above(-score[fakes], -score[reals], threshold),
            called_val=_above(-score[fakes], -score[reals], val_threshold),
            errors=_errors(score[fakes], score[reals]),
            below=next_lower[np.searchsorted(-order[falling], levels, side="right")],
            top=float(score.max()),
        )


def _falling(score: Float, rows: Index) -> Index:
    return rows[np.argsort(-score[rows], kind="stable")]


def _above(high: Float, low: Float, threshold: float) -> tuple[int, int] | None:
    """Count the fakes and the reals above a threshold; scores are negated and rising."""
    if math.isnan(threshold):
        return None
    negated = -threshold
    return int(np.searchsorted(high, negated)), int(np.searchsorted(low, negated))


def _errors(fakes: Float, reals: Float) -> tuple[Float, Float] | None:
    if min(fakes[-1], reals[-1]) < 0 or max(fakes[0], reals[0]) > 1:
        return None
    return _error_columns(fakes, 1.0), _error_columns(reals, 0.0)


def _error_columns(probability: Float, label: float) -> Float:
    columns = np.zeros((len(probability), ECE_BINS + 1))
    bins = np.minimum((probability * ECE_BINS).astype(np.intp), ECE_BINS - 1)
    columns[np.arange(len(bins)), bins] = probability - label
    columns[:, -1] = (probability - label) ** 2
    return columns


class ResampledCounts:
    """Resamples of sorted scores, counted along the curve; everything is computed when asked for.

    Parameters
    ----------
    ranked : Sorted
    fakes, reals : ndarray of shape (n_resamples, n_fake) and (n_resamples, n_real)
        How often each sample counts, in the order of ``ranked``. Integers are summed exactly.
    """

    def __init__(self, ranked: SortedScores, fakes: NDArray[Any], reals: NDArray[Any]) -> None:
        self.ranked = ranked
        self.fakes = fakes
        self.reals = reals
        self.fakes_up_to = _sums(fakes)
        self.reals_up_to = _sums(reals)
        self.n_fake = self.fakes_up_to[:, -1].astype(np.float64)
        self.n_real = self.reals_up_to[:, -1].astype(np.float64)

    @cached_property
    def tp(self) -> Float:
        """Fakes up to each step; shape (n_resamples, n_steps)."""
        if len(self.ranked.tp) == len(self.ranked.fakes):  # no ties among fakes
            return self.fakes_up_to[:, 1:].astype(np.float64)
        return _columns(self.fakes_up_to, self.ranked.tp)

    @cached_property
    def delta_tp(self) -> Float:
        """Fakes of each step; shape (n_resamples, n_steps)."""
        if len(self.ranked.tp) == len(self.ranked.fakes):
            return self.fakes.astype(np.float64)
        return np.diff(self.tp, axis=1, prepend=0.0)

    @cached_property
    def fp(self) -> Float:
        """Reals up to each step; shape (n_resamples, n_steps)."""
        return _columns(self.reals_up_to, self.ranked.fp)

    @cached_property
    def fp_before(self) -> Float:
        """Reals above each step, without those tied with it; shape (n_resamples, n_steps)."""
        if np.array_equal(self.ranked.fp, self.ranked.fp_before):
            return self.fp
        return _columns(self.reals_up_to, self.ranked.fp_before)

    @cached_property
    def tpr(self) -> Float:
        """Share of the fakes up to each step; shape (n_resamples, n_steps)."""
        return np.asarray(self.tp / self.n_fake[:, None])

    @cached_property
    def fpr(self) -> Float:
        """Share of the reals up to each step; shape (n_resamples, n_steps)."""
        return np.asarray(self.fp / self.n_real[:, None])

    @cached_property
    def error_sums(self) -> Float | None:
        """Weighted sums of the columns of ``Sorted.errors``; shape (n_resamples, 11)."""
        if self.ranked.errors is None:
            return None
        fakes, reals = self.ranked.errors
        sums: Float = self.fakes.astype(np.float64) @ fakes + self.reals.astype(np.float64) @ reals
        return sums


def _sums(weights: NDArray[Any]) -> NDArray[Any]:
    """Return cumulated weights with a column of zeros before them; integers stay 32-bit
    integers.
    """
    kind = np.int32 if np.issubdtype(weights.dtype, np.integer) else np.float64
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1), dtype=kind)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _columns(sums: NDArray[Any], positions: Index) -> Float:
    # "clip" skips a check of every position, which is most of the time; they are in range by
    # construction
    return np.take(sums, positions, axis=1, mode="clip").astype(np.float64)
