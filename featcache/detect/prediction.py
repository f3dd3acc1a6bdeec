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
    head: SavedHead, features: NDArray[np.float64], logits: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Return what a head says about each image, as the fields of a prediction.

    Parameters
    ----------
    head : SavedHead
    features : ndarray of shape (n_images, n_features)
        Raw; where several crops of an image were seen, their mean.
    logits : ndarray of shape (n_images,)
        Where several crops were seen, their mean.

    Returns
    -------
    list[dict[str, Any]]
        What a head says about each image, as the fields of a prediction.
    """
    scores = 0.5 * (1.0 + np.tanh(0.5 * logits))
    unknown = np.full(len(logits), math.nan)
    probabilities = head.calibration(logits) if head.calibration else unknown
    distances = head.spread.distance(features) if head.spread else unknown
    typical = head.spread.tail_probability(distances) if head.spread else unknown
    columns: dict[str, Sequence[Any]] = {
        "score": scores.tolist(),
        "probability": probabilities.tolist(),
        "distance": distances.tolist(),
        "typicality": typical.tolist(),
        "outside": (typical < OUTSIDE_SHARE).tolist(),
        "verdict": np.where(scores > head.threshold, "fake", "real").tolist(),
        "logit": logits.tolist(),
    }
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True), threshold=head.threshold) for row in rows]
