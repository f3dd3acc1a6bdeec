"""What the logits of held-out samples say about a head: probabilities (Platt's sigmoid) and the
error rates at any threshold, with intervals over sources.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import SettingsError
from featcache.metrics.intervals import quantile

MOST_HELD_OUT = 20_000
"""More held-out samples than this are thinned, whole sources at a time: a head stays small."""

HELD_OUT_PREFIX = "held_out_"
"""Starts the names of the tensors in a head's file."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """``probability = sigmoid(slope * logit + offset)``.

    Parameters
    ----------
    slope : float > 0
    offset : float
    n : int
        Held-out training samples that it was fitted on.

    Notes
    -----
    It holds for images like the training images, with their share of fakes; nothing makes a
    probability right for generators that were never seen.
    """

    slope: float
    offset: float
    n: int

    def __call__(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability of fake of each logit."""
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * (self.slope * logits + self.offset))))


def read_calibration(values: Any) -> Calibration | None:
    """Return the calibration that a head's file holds, or None.

    Parameters
    ----------
    values : Any
        Values to read.

    Returns
    -------
    Calibration | None
        The calibration that a head's file holds, or None.

    Raises
    ------
    ValueError
        If it is none.
    """
    if values is None:
        return None
    calibration = Calibration(
        slope=float(values["slope"]), offset=float(values["offset"]), n=int(values["n"])
    )
    if not (np.isfinite([calibration.slope, calibration.offset]).all() and calibration.slope > 0):
        raise ValueError("its calibration is no rising sigmoid")
    return calibration


def fit_platt(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Calibration | None:
    """Fit the sigmoid.

    Parameters
    ----------
    logits : ndarray of shape (n_samples,), float64
        Of samples that the head was not fitted on.
    labels : ndarray of shape (n_samples,), int
        0 real, 1 fake; both must be there.

    Returns
    -------
    Calibration or None
        None where the logits do not rise with the label: there is nothing to calibrate.
    """
    from sklearn.linear_model import LogisticRegression

    spread = float(logits.std()) or 1.0
    # A weak penalty keeps the slope finite where the classes are apart.
    model = LogisticRegression(C=100.0).fit((logits / spread).reshape(-1, 1), labels)
    slope, offset = float(model.coef_[0, 0]) / spread, float(model.intercept_[0])
    return Calibration(slope=slope, offset=offset, n=len(logits)) if slope > 0 else None


@dataclass(frozen=True, kw_only=True)
class ErrorRates:
    """Errors on held-out samples at one threshold, as fractions with 95 % intervals.

    Parameters
    ----------
    fpr, fnr : float in [0, 1]
        Share of reals above the threshold; share of fakes at or below it.
    fpr_ci, fnr_ci : (float, float)
        Over sources.
    n_real, n_fake : int
        Held-out samples.
    n_sources_real, n_sources_fake : int
        Photographs that they come from.
    """

    fpr: float
    fpr_ci: tuple[float, float]
    fnr: float
    fnr_ci: tuple[float, float]
    n_real: int
    n_fake: int
    n_sources_real: int
    n_sources_fake: int


@dataclass(frozen=True, kw_only=True)
class HeldOutLogits:
    """Logits of training samples by heads that were fitted without the sample's source.

    Parameters
    ----------
    logits : ndarray of shape (n_samples,), float32
    labels : ndarray of shape (n_samples,), uint8
        0 real, 1 fake.
    sources : ndarray of shape (n_samples,), int32
        Number of the photograph that a sample comes from.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.uint8]
    sources: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        logits: NDArray[np.float64],
        labels: NDArray[np.int64],
        sources: NDArray[np.object_],
        seed: int = 0,
    ) -> HeldOutLogits:
        """Collect held-out logits; more than 20,000 are thinned, whole sources at a time.

        Parameters
        ----------
        logits : ndarray of shape (n_samples,), float64
        labels : ndarray of shape (n_samples,), int64
        sources : ndarray of shape (n_samples,), object
        seed : int

        Returns
        -------
        HeldOutLogits
        """
        numbers = np.unique(sources.astype(str), return_inverse=True)[1]
        sizes = np.bincount(numbers)
        order = np.random.default_rng(seed).permutation(len(sizes))
        kept = order[np.cumsum(sizes[order]) <= MOST_HELD_OUT]
        rows = np.isin(numbers, kept) if len(logits) > MOST_HELD_OUT else slice(None)
        return cls(
            logits=logits[rows].astype(np.float32),
            labels=labels[rows].astype(np.uint8),
            sources=numbers[rows].astype(np.int32),
        )

    def rates(self, threshold: float) -> ErrorRates:
        """Return the error rates where logits above a threshold are called fake.

        Parameters
        ----------
        threshold : float
            On the scale of the logits.

        Returns
        -------
        ErrorRates
        """
        real = self.labels == 0
        above = self.logits > threshold
        fpr, fpr_ci = share_ci(above[real], self.sources[real])
        fnr, fnr_ci = share_ci(~above[~real], self.sources[~real])
        return ErrorRates(
            fpr=fpr,
            fpr_ci=fpr_ci,
            fnr=fnr,
            fnr_ci=fnr_ci,
            n_real=int(real.sum()),
            n_fake=int((~real).sum()),
            n_sources_real=len(np.unique(self.sources[real])),
            n_sources_fake=len(np.unique(self.sources[~real])),
        )

    def threshold_for_fpr(self, target: float) -> float:
        """Return the lowest held-out logit above which at most this share of the reals lies.

        Parameters
        ----------
        target : float in (0, 1)
            False-positive rate.

        Returns
        -------
        float

        Raises
        ------
        SettingsError
            If the held-out reals are too few to measure such a rate.
        """
        real = np.sort(self.logits[self.labels == 0].astype(np.float64))
        n = len(real)
        if not 0 < target < 1 or n * target < 1:
            raise SettingsError(
                f"A false-positive rate of {target:g} cannot be measured on the {n:,} held-out"
                f" reals of this head: the smallest is {1 / max(n, 1):.2g}. Name a larger"
                " --target-fpr, or train the head on more photographs."
            )
        return float(real[n - 1 - math.floor(n * target + 1e-9)])

    def tail_shares(
        self, logits: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how usual each logit is for a real and for a fake.

        Parameters
        ----------
        logits : ndarray of shape (n_images,), float64

        Returns
        -------
        (ndarray of shape (n_images,), ndarray of shape (n_images,))
            The conformal p-values (k + 1) / (n + 1) for the k of n held-out reals with a logit at
            least as high, and for the fakes with a logit at most as high (Vovk et al. 2005).
        """
        real = np.sort(self.logits[self.labels == 0].astype(np.float64))
        fake = np.sort(self.logits[self.labels == 1].astype(np.float64))
        n_real_above = len(real) - np.searchsorted(real, logits, "left")
        n_fake_below = np.searchsorted(fake, logits, "right")
        return (
            np.asarray((n_real_above + 1) / (len(real) + 1)),
            np.asarray((n_fake_below + 1) / (len(fake) + 1)),
        )

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, for a head's file.

        Returns
        -------
        dict of str to ndarray
        """
        return {f"{HELD_OUT_PREFIX}{name}": array for name, array in vars(self).items()}


def read_held_out(tensors: Mapping[str, NDArray[Any]]) -> HeldOutLogits | None:
    """Return the held-out logits among named tensors, or None where there are none.

    Parameters
    ----------
    tensors : Mapping[str, ndarray]
        Tensors of a head's file.

    Returns
    -------
    HeldOutLogits | None

    Raises
    ------
    ValueError
        If they do not fit each other.
    """
    names = [f"{HELD_OUT_PREFIX}{name}" for name in ("logits", "labels", "sources")]
    if not any(name in tensors for name in names):
        return None
    logits, labels, sources = (np.asarray(tensors[name]) for name in names)
    if not (logits.ndim == 1 and logits.shape == labels.shape == sources.shape):
        raise ValueError("its held-out logits, labels and sources do not fit each other")
    if not (np.isfinite(logits).all() and set(np.unique(labels).tolist()) == {0, 1}):
        raise ValueError("its held-out logits are not finite, or lack a class")
    return HeldOutLogits(
        logits=logits.astype(np.float32),
        labels=labels.astype(np.uint8),
        sources=sources.astype(np.int32),
    )


def share_ci(
    above: NDArray[np.bool_], sources: NDArray[np.int32]
) -> tuple[float, tuple[float, float]]:
    """Return the share of true values and its 95 % interval over sources.

    Parameters
    ----------
    above : ndarray of shape (n_samples,), bool
    sources : ndarray of shape (n_samples,), int
        Samples of one source are not independent.

    Returns
    -------
    (float, (float, float))

    Notes
    -----
    Wilson's score interval with Student's t quantile, as
    :func:`featcache.metrics.intervals.score_ci`, and the effective number of trials
    p (1 - p) / s². The variance s² is that of a ratio over m sources, m / (m - 1) Σ e² / n² with
    e the sum of x - p in a source (Cochran 1977, 2.11). Where p is 0 or 1 it is Kish's number of
    sources.
    """
    n = len(above)
    sizes = np.bincount(np.unique(sources, return_inverse=True)[1]).astype(np.float64)
    p = float(above.mean())
    residuals = np.bincount(np.unique(sources, return_inverse=True)[1], weights=above - p)
    m = len(sizes)
    n_sources = float(n**2 / (sizes**2).sum())
    variance = m / max(m - 1, 1) * float((residuals**2).sum()) / n**2
    trials = p * (1 - p) / variance if variance > 0 and 0 < p < 1 else n_sources
    q = quantile(n_sources) ** 2
    centre = (p + q / (2 * trials)) / (1 + q / trials)
    half = math.sqrt(q * (p * (1 - p) / trials + q / (4 * trials**2))) / (1 + q / trials)
    low, high = max(centre - half, 0.0), min(centre + half, 1.0)
    return p, (low if p > 0 else 0.0, high if p < 1 else 1.0)
