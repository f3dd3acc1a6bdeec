"""Scores sorted once, and bootstrap resamples of them counted along that order."""

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
    """Scores sorted from high to low, class by class, ready to be counted with any weights.

    The ROC curve has one step for each distinct score of a fake, from the highest on. Between two
    steps only reals are added, so no metric has its optimum there.

    Parameters
    ----------
    fakes : ndarray of shape (n_fake,), intp
        Positions of the fakes, by falling score.
    reals : ndarray of shape (n_real,), intp
        Positions of the reals, by falling score.
    thresholds : ndarray of shape (n_steps,), float64
        Score of each step.
    tp : ndarray of shape (n_steps,), intp
        Fakes with a score of at least the threshold.
    fp : ndarray of shape (n_steps,), intp
        Reals with a score of at least the threshold.
    fp_before : ndarray of shape (n_steps,), intp
        Reals with a score above the threshold: without those tied with it.
    n_above : (int, int) or None
        Fakes and reals above the decision threshold; None without one.
    n_above_val : (int, int) or None
        Fakes and reals above the validation threshold; None without one.
    errors : (ndarray of shape (n_fake, 11), ndarray of shape (n_real, 11)) or None
        For each sample in the order of its class: probability minus label in the column of its
        calibration bin, and the square of it in the last; None where scores are not in [0, 1].
    next_lower : ndarray of shape (n_steps,), float64
        Next lower score of any sample; -inf where there is none.
    highest : float
        Highest score of all samples.
    """

    fakes: Index
    reals: Index
    thresholds: Float
    tp: Index
    fp: Index
    fp_before: Index
    n_above: tuple[int, int] | None
    n_above_val: tuple[int, int] | None
    errors: tuple[Float, Float] | None
    next_lower: Float
    highest: float

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
            0 real, 1 fake; both classes must be present.
        score : ndarray of shape (n_samples,), float64
            Higher means more likely fake.
        threshold : float
            Decision threshold: a sample with a higher score is predicted fake. NaN for none.
        val_threshold : float
            Threshold chosen on validation data. NaN for none.
        logit : ndarray of shape (n_samples,), float64, optional
            Logits whose sigmoid the scores are. They determine the order, because the sigmoid of
            different logits above about 37 is 1 in float64.

        Returns
        -------
        SortedScores
            The scores, ready for the metrics.

        Raises
        ------
        DataError
            If a score or logit is not finite, a label is not 0 or 1, or a class is missing.
        """
        y, score = np.asarray(y), np.asarray(score, dtype=np.float64)
        if y.shape != score.shape or y.ndim != 1:
            raise DataError(f"There are {y.shape} labels for {score.shape} scores.")
        if not np.isfinite(score).all():
            raise DataError("Scores with NaN or Inf cannot be ranked.")
        order = score if logit is None else np.asarray(logit, dtype=np.float64)
        if order.shape != score.shape or not np.isfinite(order).all():
            raise DataError("Logits with NaN or Inf cannot be ranked.")
        classes = set(np.unique(y).tolist())
        if not classes <= {0, 1}:
            raise DataError(f"Labels are 0 (real) and 1 (fake), not {min(classes - {0, 1})}.")
        if len(classes) < 2:
            raise DataError("Metrics need at least one real and one fake.")
        fakes, reals = (
            rows[np.argsort(-order[rows], kind="stable")]
            for rows in (np.flatnonzero(y == 1), np.flatnonzero(y == 0))
        )
        # np.searchsorted needs rising values, so scores, logits and thresholds are negated here.
        fake_order, real_order = -order[fakes], -order[reals]
        ends = np.flatnonzero(np.append(fake_order[1:] != fake_order[:-1], True))
        steps = fake_order[ends]
        falling = np.argsort(-order, kind="stable")
        next_scores = np.append(score[falling], -np.inf)

        def count_above(value: float) -> tuple[int, int] | None:
            if math.isnan(value):
                return None
            n_fake, n_real = (np.searchsorted(-score[rows], -value) for rows in (fakes, reals))
            return int(n_fake), int(n_real)

        is_probability = score.min() >= 0 and score.max() <= 1
        return cls(
            fakes=fakes,
            reals=reals,
            thresholds=score[fakes][ends],
            tp=ends + 1,
            fp=np.searchsorted(real_order, steps, side="right"),
            fp_before=np.searchsorted(real_order, steps, side="left"),
            n_above=count_above(threshold),
            n_above_val=count_above(val_threshold),
            errors=(
                (_error_columns(score[fakes], 1.0), _error_columns(score[reals], 0.0))
                if is_probability
                else None
            ),
            next_lower=next_scores[np.searchsorted(-order[falling], steps, side="right")],
            highest=float(score.max()),
        )


def _error_columns(probability: Float, label: float) -> Float:
    """Return the columns of ``SortedScores.errors`` for the samples of one class."""
    columns = np.zeros((len(probability), ECE_BINS + 1))
    bins = np.minimum((probability * ECE_BINS).astype(np.intp), ECE_BINS - 1)
    columns[np.arange(len(bins)), bins] = probability - label
    columns[:, -1] = (probability - label) ** 2
    return columns


class ResampledCounts:
    """Resamples of sorted scores, counted along the ROC curve. Arrays are computed on first use.

    Parameters
    ----------
    scores : SortedScores
        The scores that are resampled.
    fakes : ndarray of shape (n_resamples, n_fake), int or float
        Weight of each fake in each resample, in the order of ``scores.fakes``. Integers are summed
        exactly.
    reals : ndarray of shape (n_resamples, n_real), int or float
        Weight of each real in each resample, in the order of ``scores.reals``.
    """

    def __init__(self, scores: SortedScores, fakes: NDArray[Any], reals: NDArray[Any]) -> None:
        self.scores = scores
        self.fakes = fakes
        self.reals = reals
        self.cumulative_fakes = _cumulative(fakes)
        self.cumulative_reals = _cumulative(reals)
        self.n_fake = self.cumulative_fakes[:, -1].astype(np.float64)
        self.n_real = self.cumulative_reals[:, -1].astype(np.float64)

    @cached_property
    def tp(self) -> Float:
        """Fakes at or above each step; shape (n_resamples, n_steps)."""
        if len(self.scores.tp) == len(self.scores.fakes):  # no ties among fakes
            return self.cumulative_fakes[:, 1:].astype(np.float64)
        return _columns(self.cumulative_fakes, self.scores.tp)

    @cached_property
    def delta_tp(self) -> Float:
        """Fakes added by each step; shape (n_resamples, n_steps)."""
        if len(self.scores.tp) == len(self.scores.fakes):
            return self.fakes.astype(np.float64)
        return np.diff(self.tp, axis=1, prepend=0.0)

    @cached_property
    def fp(self) -> Float:
        """Reals at or above each step; shape (n_resamples, n_steps)."""
        return _columns(self.cumulative_reals, self.scores.fp)

    @cached_property
    def fp_before(self) -> Float:
        """Reals above each step, without those tied with it; shape (n_resamples, n_steps)."""
        if np.array_equal(self.scores.fp, self.scores.fp_before):
            return self.fp
        return _columns(self.cumulative_reals, self.scores.fp_before)

    @cached_property
    def tpr(self) -> Float:
        """True positive rate at each step; shape (n_resamples, n_steps)."""
        return np.asarray(self.tp / self.n_fake[:, None])

    @cached_property
    def fpr(self) -> Float:
        """False positive rate at each step; shape (n_resamples, n_steps)."""
        return np.asarray(self.fp / self.n_real[:, None])

    @cached_property
    def error_sums(self) -> Float | None:
        """Weighted sums of the columns of ``SortedScores.errors``; shape (n_resamples, 11)."""
        if self.scores.errors is None:
            return None
        fakes, reals = self.scores.errors
        sums: Float = self.fakes.astype(np.float64) @ fakes + self.reals.astype(np.float64) @ reals
        return sums


def _cumulative(weights: NDArray[Any]) -> NDArray[Any]:
    """Return cumulative weights behind a column of zeros; integers become int32."""
    dtype = np.int32 if np.issubdtype(weights.dtype, np.integer) else np.float64
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1), dtype=dtype)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _columns(sums: NDArray[Any], positions: Index) -> Float:
    """Return columns of cumulative weights as floats."""
    # Positions are in range by construction; mode="clip" skips the check, which takes most of the
    # time.
    return np.take(sums, positions, axis=1, mode="clip").astype(np.float64)
