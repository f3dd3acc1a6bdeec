"""Score images with saved heads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.backbones.weights import parse_weights
from featcache.cache import FeatureKey, FeatureStore
from featcache.detect.features import FeatureMaker, ImageFeatures, Item, Picture, find_items
from featcache.detect.prediction import Prediction, predict
from featcache.errors import DataError
from featcache.probes import SavedHead
from featcache.probes.saved_head import load_head
from featcache.progress import progress
from featcache.views import parse_views


class Detector:
    """Says whether images are fake, with one or several saved heads.

    Parameters
    ----------
    *heads : str or Path
        Files that ``featcache probe --save`` wrote.
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

    Raises
    ------
    DataError
        If a file is no head, or the head does not say what features it was trained on.

    Examples
    --------
    ::

        from featcache import Detector

        detector = Detector("head.safetensors")
        for prediction in detector("photo.jpg", "folder"):
            print(prediction.path, prediction.verdict, prediction.probability)
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
    ) -> None:
        if not heads:
            raise DataError("A detector needs a head. Make one: featcache probe --save HEAD")
        self.heads = {str(path): load_head(Path(path)) for path in heads}
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
        )

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
            Image by image, head by head. An image that cannot be read has a ``problem``.

        Raises
        ------
        DataError
            If a path does not exist.
        WeightsError
            If the weights that a head was trained with are not here.
        """
        items = find_items(pictures)
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
        said = iter(predict(head, *_features(head, sets, ids, features)) if ids else ())
        needed = {key.fingerprint for keys in sets for key in keys}
        predictions = []
        for item in items:
            common: dict[str, Any] = {
                "path": item.path,
                "head": Path(name).name,
                "sample_id": item.sample_id,
            }
            if problem := _problem(item, features):
                predictions.append(Prediction(**common, problem=problem))
            else:
                cached = all((key, item.sample_id) in features.cached for key in needed)
                predictions.append(Prediction(**common, **next(said), cached=cached))
        return predictions


def _features(
    head: SavedHead, sets: list[list[FeatureKey]], ids: list[str], extracted: ImageFeatures
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return features and logits of images, each the mean over the views."""
    features, logits = [], []
    for keys in sets:
        parts = [np.stack([extracted.rows[key.fingerprint][i] for i in ids]) for key in keys]
        joined = np.concatenate(parts, axis=1)
        features.append(joined.astype(np.float64))
        logits.append(head.logits(joined))
    return np.mean(features, axis=0), np.mean(logits, axis=0)


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
