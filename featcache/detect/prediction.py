"""What a head says about one image."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.files import write_atomic
from featcache.probes import SavedHead
from featcache.probes.novelty import OUTSIDE_SHARE

ERROR_BAND = 0.05
"""A score is inconclusive where more than this share of the held-out images of the other class
have it.
"""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one head says about one image.

    Parameters
    ----------
    path : str
        The file as it was found; empty for an image in memory.
    head : str
        Name of the head.
    score : float in [0, 1]
        What ``featcache probe`` gives for the same image; NaN where there is a ``problem``.
    probability : float in [0, 1]
        Of being fake, as held-out training images bear it out; NaN where the head was not
        calibrated.
    threshold : float in [0, 1]
        A score above it is called fake.
    verdict : {"fake", "real", ""}
        Which side of the threshold the score lies on, whatever the head knows.
    distance : float
        From the training data; about 1 for images like them, NaN where the head does not know.
    typicality : float in [0, 1]
        Share of held-out training images that lie at least as far out.
    outside : bool
        Whether it lies farther out than all but 1 % of the training images: do not rely on the
        prediction.
    cached : bool
        Whether its features were in the store.
    problem : str
        Why the image could not be scored.
    prediction : {"fake", "real", "inconclusive", ""}
        The outcome: inconclusive outside the training distribution, and where more than 5 % of
        the held-out images of the other class have such a score.
    reason : str
        Why the outcome is inconclusive.
    probability_threshold : float in [0, 1]
        The threshold as a probability; NaN where the head was not calibrated.
    p_real, p_fake : float in [0, 1]
        Share of held-out reals that score at least as high, of held-out fakes that score at most
        as high (conformal p-values); NaN where the head has no held-out data.
    width, height : int, pixels
        As the header says; 0 where unknown.
    coverage : float in [0, 1]
        Share of the image's pixels that the crops hold; NaN where unknown.
    n_crops : int
    probability_low, probability_high : float in [0, 1]
        Smallest and largest over the crops; of the score where the head was not calibrated.
    """

    path: str
    head: str
    score: float = math.nan
    probability: float = math.nan
    threshold: float = math.nan
    verdict: str = ""
    distance: float = math.nan
    typicality: float = math.nan
    outside: bool = False
    logit: float = math.nan
    sample_id: str = ""
    cached: bool = False
    problem: str = ""
    prediction: str = ""
    reason: str = ""
    probability_threshold: float = math.nan
    p_real: float = math.nan
    p_fake: float = math.nan
    width: int = 0
    height: int = 0
    coverage: float = math.nan
    n_crops: int = 0
    probability_low: float = math.nan
    probability_high: float = math.nan

    @property
    def familiarity(self) -> str:
        """In words, whether the head knows such images."""
        if math.isnan(self.typicality):
            return "unknown"
        if self.outside:
            return "NO: do not rely on it"
        return f"yes, {100 * self.typicality:.0f} % lie farther out"

    @property
    def known(self) -> str:
        """The same for a table: the share, NO where it is outside, a dash where the head does
        not know.
        """
        if math.isnan(self.typicality):
            return "-"
        return "NO" if self.outside else f"{100 * self.typicality:.0f} %"

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as a plain dict.

        Returns
        -------
        dict[str, Any]
            The prediction as a plain dict.
        """
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was passed over, and why."""

    path: str
    reason: str


COLUMNS = tuple(item.name for item in fields(Prediction))
"""Columns of the CSV, in order."""


def write_predictions(predictions: Sequence[Prediction], path: Path) -> Path:
    """Write predictions as CSV with every digit; file names keep their bytes.

    Parameters
    ----------
    predictions : Sequence[Prediction]
        Predictions to write.
    path : Path
        File or folder.

    Returns
    -------
    Path
        The file, absolute.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(prediction.to_dict() for prediction in predictions)
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return path.resolve()


def predict(
    head: SavedHead,
    logits: Sequence[NDArray[np.float64]],
    distances: Sequence[NDArray[np.float64]],
    threshold: float,
) -> list[dict[str, Any]]:
    """Return what a head says about each image, as the fields of a prediction.

    Parameters
    ----------
    head : SavedHead
    logits : sequence of ndarray of shape (n_crops,)
        For each image, the logits of its crops; their mean is the image's.
    distances : sequence of ndarray of shape (n_crops,)
        Distances of the crops from the training distribution, NaN where the head has no model of
        it; their mean is the image's.
    threshold : float
        On the scale of the logits.

    Returns
    -------
    list[dict[str, Any]]
        What a head says about each image, as the fields of a prediction.
    """
    logit = np.array([crops.mean() for crops in logits])
    distance = np.array([crops.mean() for crops in distances])
    unknown = np.full(len(logit), math.nan)
    typical = head.spread.tail_probability(distance) if head.spread else unknown
    p_real, p_fake = head.held_out.tail_shares(logit) if head.held_out else (unknown, unknown)
    sides = np.where(logit > threshold, "fake", "real").tolist()
    reasons = [_doubt(*row) for row in zip(sides, typical, p_real, p_fake, strict=True)]
    to_probability = head.calibration or _sigmoid
    crops = [to_probability(values) for values in logits]
    probability = head.calibration(logit) if head.calibration else unknown
    at_threshold = head.calibration(np.array([threshold]))[0] if head.calibration else math.nan
    columns: dict[str, Sequence[Any]] = {
        "score": _sigmoid(logit).tolist(),
        "probability": probability.tolist(),
        "distance": distance.tolist(),
        "typicality": typical.tolist(),
        "outside": (typical < OUTSIDE_SHARE).tolist(),
        "verdict": sides,
        "logit": logit.tolist(),
        "prediction": [
            "inconclusive" if why else side for side, why in zip(sides, reasons, strict=True)
        ],
        "reason": reasons,
        "p_real": p_real.tolist(),
        "p_fake": p_fake.tolist(),
        "n_crops": [len(values) for values in logits],
        "probability_low": [float(values.min()) for values in crops],
        "probability_high": [float(values.max()) for values in crops],
    }
    score_threshold = head.threshold if threshold == logit_of(head.threshold) else None
    if score_threshold is None:
        score_threshold = float(_sigmoid(np.array([threshold]))[0])
    common = {"threshold": score_threshold, "probability_threshold": float(at_threshold)}
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True), **common) for row in rows]


def logit_of(probability: float) -> float:
    """Return log(p / (1 - p)): infinite at 0 and 1.

    Parameters
    ----------
    probability : float in [0, 1]

    Returns
    -------
    float
    """
    if probability <= 0:
        return -math.inf
    return math.inf if probability >= 1 else math.log(probability / (1 - probability))


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def _doubt(side: str, typical: float, p_real: float, p_fake: float) -> str:
    """Return why an outcome is inconclusive, empty where it is not; NaN decides nothing."""
    if typical < OUTSIDE_SHARE:
        return "out of distribution: it does not resemble the images that the head was trained on"
    share, others = (
        (p_real, "real images score as high") if side == "fake" else (p_fake, "fakes score as low")
    )
    if share > ERROR_BAND:
        return f"within the head's error band: {100 * share:.0f} % of held-out {others}"
    return ""
