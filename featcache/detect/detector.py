"""Score images with saved heads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.backbones.weights import parse_weights
from featcache.cache import FeatureKey, FeatureStore
from featcache.detect.crops import CROPS, frame
from featcache.detect.features import (
    FeatureMaker,
    ImageFeatures,
    Item,
    Picture,
    find_items,
)
from featcache.detect.prediction import Prediction, Skipped, logit_of, predict
from featcache.errors import DataError, SettingsError, unknown_name
from featcache.probes import SavedHead
from featcache.probes.calibration import ErrorRates
from featcache.probes.saved_head import load_head
from featcache.progress import progress
from featcache.views import parse_views

TOY_HEAD = Path(__file__).with_name("toy.safetensors")
"""The head that ``--head toy`` means; ``docs/toy_head.py`` makes it."""


class Detector:
    """Says whether images are fake, with one or several saved heads.

    Parameters
    ----------
    *heads : str or Path
        Files that ``featcache probe --save`` wrote; ``"toy"`` is the head that comes with the
        package, for trying things out.
    cache : str or Path, optional
        A store that may hold features of the images; it is only read.
    weights : sequence of str
        ``NAME=FILE`` (or ``FILE`` for the only backbone), where the files are not found by
        themselves.
    views : sequence of str
        See the images through these views and take the mean of the logits; empty: through the view
        that each head was trained for.
    device : str
    batch_size, workers : int
    threshold : float in (0, 1), optional
        Probability above which an image is called fake, calibrated where the head is; the head's
        own by default.
    target_fpr : float in (0, 1), optional
        Choose the threshold with this false-positive rate on the head's held-out reals.
    crops : {"center", "tencrop", "grid"}
        Crops of each image; the mean of their logits counts.

    Raises
    ------
    DataError
        If a file is no head, or the head does not say what features it was trained on.
    SettingsError
        If both a threshold and a rate are named, or the head has no held-out data for the rate.

    Examples
    --------
    ::

        from featcache import Detector

        detector = Detector("head.safetensors")
        for prediction in detector("photo.jpg", "folder"):
            print(prediction.path, prediction.prediction, prediction.probability)
    """

    def __init__(
        self,
        *heads: str | Path,
        cache: str | Path | None = None,
        weights: Sequence[str] = (),
        views: Sequence[str] = (),
        device: str = "auto",
        batch_size: int = 32,
        workers: int = 0,
        threshold: float | None = None,
        target_fpr: float | None = None,
        crops: str = "center",
    ) -> None:
        if not heads:
            raise DataError("A detector needs a head. Make one: featcache probe --save HEAD")
        self.heads = {
            str(path): load_head(TOY_HEAD if str(path) == "toy" else Path(path)) for path in heads
        }
        if crops not in CROPS:
            raise unknown_name("way to crop", crops, CROPS)
        self.crops = crops
        self.thresholds = {
            name: _threshold(name, head, threshold, target_fpr) for name, head in self.heads.items()
        }
        self.skipped: list[Skipped] = []
        self._keys = {name: _keys(name, head, views) for name, head in self.heads.items()}
        keys = [key for sets in self._keys.values() for one in sets for key in one]
        self.weights = parse_weights(weights, dict.fromkeys(key.name for key in keys))
        self._make = FeatureMaker(
            keys,
            weights=self.weights,
            store=FeatureStore(cache) if cache is not None else None,
            device=device,
            batch_size=batch_size,
            workers=workers,
            crops=crops,
        )

    def error_rates(self) -> dict[str, ErrorRates | None]:
        """Return for each head the errors on its held-out data at the threshold in use.

        Returns
        -------
        dict of str to ErrorRates or None
            None where the head has no held-out data: the rates are not known.
        """
        return {
            name: head.held_out.rates(self.thresholds[name]) if head.held_out else None
            for name, head in self.heads.items()
        }

    def __call__(self, *pictures: str | Picture) -> list[Prediction]:
        """Return one prediction per image and head; see :meth:`score`."""
        return self.score(pictures)

    def score(self, pictures: Iterable[str | Picture]) -> list[Prediction]:
        """Score images.

        Parameters
        ----------
        pictures : iterable of path or PIL.Image.Image
            Files, folders, images in memory.

        Returns
        -------
        list of Prediction
            Image by image, head by head. An image that cannot be read has a ``problem``; what was
            passed over below folders is in ``skipped``.

        Raises
        ------
        DataError
            If a path does not exist.
        WeightsError
            If the weights that a head was trained with are not here.
        """
        items, self.skipped = find_items(pictures)
        with progress("score", len(items)) as advance:
            features = self._make(items, advance)
        predictions = {name: self._predict(name, items, features) for name in self.heads}
        return [predictions[name][i] for i in range(len(items)) for name in self.heads]

    def _predict(
        self, name: str, items: Sequence[Item], features: ImageFeatures
    ) -> list[Prediction]:
        good = [item for item in items if not _problem(item, features)]
        ids = [item.sample_id for item in good]
        head, sets = self.heads[name], self._keys[name]
        logits, distances = _logits(head, sets, ids, features)
        fields = iter(predict(head, logits, distances, self.thresholds[name]) if ids else ())
        needed = {key.fingerprint for keys in sets for key in keys}
        predictions = []
        for item in items:
            common: dict[str, Any] = {
                "path": item.path,
                "head": Path(name).name,
                "sample_id": item.sample_id,
                "width": item.width,
                "height": item.height,
            }
            if problem := _problem(item, features):
                predictions.append(Prediction(**common, problem=problem))
            else:
                framings = [
                    frame(key.fields, item.width, item.height, self.crops)
                    for keys in sets
                    for key in keys
                ]
                shares = [framing.coverage if framing else math.nan for framing in framings]
                cached = all((key, item.sample_id) in features.cached for key in needed)
                predictions.append(
                    Prediction(
                        **common, **next(fields), cached=cached, coverage=float(np.min(shares))
                    )
                )
        return predictions


def _logits(
    head: SavedHead, sets: list[list[FeatureKey]], ids: list[str], extracted: ImageFeatures
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Return for each image the logits and distances of its crops, each the mean over the views."""
    logits, distances = [], []
    for name in ids:
        parts = [[extracted.rows[key.fingerprint][name] for key in keys] for keys in sets]
        if len({len(part) for view in parts for part in view}) > 1:
            raise DataError(
                "The features or views have different sizes, and a grid does not cut them alike."
                " Use --crops center or tencrop."
            )
        of_views = [np.concatenate(view, axis=1) for view in parts]
        logits.append(np.mean([head.logits(rows) for rows in of_views], axis=0))
        unknown = np.full(len(of_views[0]), math.nan)
        distances.append(
            np.mean([head.spread.distance(rows) for rows in of_views], axis=0)
            if head.spread
            else unknown
        )
    return logits, distances


def _threshold(
    name: str, head: SavedHead, threshold: float | None, target_fpr: float | None
) -> float:
    """Return the logit above which an image is called fake."""
    if threshold is not None and target_fpr is not None:
        raise SettingsError("Name --threshold or --target-fpr, not both.")
    if target_fpr is not None:
        if head.held_out is None:
            raise SettingsError(
                f"The head {name} holds no held-out data: its false-positive rates are not known."
                " Train it again with: featcache probe --save"
            )
        return head.held_out.threshold_for_fpr(target_fpr)
    if threshold is None:
        return logit_of(head.threshold)
    if not 0 < threshold < 1:
        raise SettingsError(f"--threshold {threshold:g} is no probability between 0 and 1.")
    if head.calibration is None:
        return logit_of(threshold)
    return (logit_of(threshold) - head.calibration.offset) / head.calibration.slope


def _keys(name: str, head: SavedHead, views: Sequence[str]) -> list[list[FeatureKey]]:
    """Return for each view the keys of the features that a head joins."""
    if not head.feature_keys:
        raise DataError(
            f"The head {name} does not say which features it was trained on. "
            "Train one with: featcache probe --save HEAD"
        )
    keys = [FeatureKey(fields) for fields in head.feature_keys]
    if not views:
        return [keys]
    return [
        [FeatureKey({**key.fields, "view": view.to_key()}) for key in keys]
        for view in parse_views(list(views))
    ]


def _problem(item: Item, features: ImageFeatures) -> str:
    return item.problem or features.problems.get(item.sample_id, "")
