"""From a logit to a probability that can be believed: Platt's sigmoid on logits of held-out
samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
