"""A fitted linear head that can be kept, sent and used again: safetensors, nothing in it is
executed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from featcache.errors import DataError
from featcache.files import canonical_json, read_file, write_atomic
from featcache.parsing import parse_json
from featcache.probes.calibration import (
    Calibration,
    HeldOutLogits,
    read_calibration,
    read_held_out,
)
from featcache.probes.novelty import NoveltyModel, novelty_tensors, read_novelty

Features = NDArray[np.float32] | NDArray[np.float64]

FORMAT = "featcache-head-1"
MAX_BYTES = 1 << 28
"""A head has a weight per feature; a file of more than this is none."""


@dataclass(frozen=True, kw_only=True)
class SavedHead:
    """A linear head in raw feature space: ``logit = features @ weight + bias``.

    Parameters
    ----------
    weight : ndarray of shape (n_features,), float64
        Any scaling of the features is folded in.
    bias : float
    feature_keys : list of dict
        The complete key of each feature that is joined, in order; empty where unknown.
    widths : list of int
        Width of each of these features; they add up to ``n_features``.
    threshold : float in [0, 1]
        Fake probability above which a sample is called fake.
    l2 : bool
        Each feature vector is divided by its Euclidean norm first.
    meta : dict
        ``head``, ``C``, ``scaling``, ``train``, ``versions``, …: where it comes from.
    calibration : Calibration or None
        From logits to probabilities that held-out training images bear out.
    spread : NoveltyModel or None
        Where the training features lie, to say how far outside another image is.
    held_out : HeldOutLogits or None
        Logits of held-out training images, from which error rates are computed; None in heads of
        earlier versions and of others.
    """

    weight: NDArray[np.float64]
    bias: float
    feature_keys: list[dict[str, Any]] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    threshold: float = 0.5
    l2: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    spread: NoveltyModel | None = None
    held_out: HeldOutLogits | None = None

    @property
    def n_features(self) -> int:
        """Width of the joined feature."""
        return len(self.weight)

    def logits(self, features: Features) -> NDArray[np.float64]:
        """Return the logit of being fake of each row.

        Parameters
        ----------
        features : ndarray of shape (n_samples, n_features), float
            Raw features as they are cached, joined in the order of ``feature_keys``.

        Returns
        -------
        ndarray of float64
            The logit of being fake of each row.

        Raises
        ------
        DataError
            If the width is another one.
        """
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise DataError(
                f"The head expects rows of {self.n_features} features, not {features.shape}."
            )
        return np.asarray(self._prepare(features) @ self.weight + self.bias)

    def probabilities(self, features: Features) -> NDArray[np.float64]:
        """Return the probability of being fake of each row of ``features``.

        Parameters
        ----------
        features : Features
            Features of shape (n_samples, n_features).

        Returns
        -------
        ndarray of float64
            The probability of being fake of each row of ``features``.
        """
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * self.logits(features))))

    def save(self, path: Path) -> Path:
        """Write the head, whole or not at all.

        Parameters
        ----------
        path : Path
            File or folder.

        Returns
        -------
        Path
            The file, absolute.
        """
        tensors = {"weight": self.weight.astype(np.float64), "bias": np.array([self.bias])}
        if self.spread is not None:
            tensors |= novelty_tensors(self.spread)
        if self.held_out is not None:
            tensors |= self.held_out.tensors()
        about = {
            "format": FORMAT,
            "feature_keys": canonical_json(self.feature_keys),
            "widths": canonical_json(self.widths),
            "threshold": repr(float(self.threshold)),
            "l2": canonical_json(self.l2),
            "calibration": canonical_json(asdict(self.calibration) if self.calibration else None),
            "meta": canonical_json(dict(self.meta)),
        }
        write_atomic(path, save(tensors, about))
        return path.resolve()

    def _prepare(self, features: Features) -> NDArray[np.float64]:
        rows = features.astype(np.float64)
        if not self.l2:
            return rows
        stops = np.cumsum(self.widths or [self.n_features])[:-1]
        for block in np.split(rows, stops, axis=1):  # views: divided in place
            block /= np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12)
        return rows


def load_head(path: Path) -> SavedHead:
    """Read a head that :meth:`SavedHead.save` wrote.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    SavedHead

    Raises
    ------
    DataError
        If the file is missing, something else or damaged: says what, and what makes a head.
    """
    try:
        data = read_file(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"The head {path} cannot be read: {error.strerror or error}.") from error
    try:
        header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
        tensors, about = load(data), dict(header.get("__metadata__") or {})
        if about.get("format") != FORMAT:
            raise ValueError(f"its format is {about.get('format')!r}, not {FORMAT!r}")
        weight, bias = tensors["weight"].astype(np.float64), tensors["bias"].astype(np.float64)
        widths, threshold = parse_json(about["widths"]), float(about["threshold"])
        if weight.ndim != 1 or bias.shape != (1,) or not np.isfinite([*weight, *bias]).all():
            raise ValueError("its weights are not one finite vector and one bias")
        if widths and sum(widths) != len(weight):
            raise ValueError(f"the widths {widths} do not add up to {len(weight)}")
        if not (math.isfinite(threshold) and 0 <= threshold <= 1):
            raise ValueError(f"its threshold is {threshold}")
        keys, meta = parse_json(about["feature_keys"]), parse_json(about["meta"])
        if not (isinstance(keys, list) and all(isinstance(k, dict) for k in keys)):
            raise ValueError("its feature keys are no list of keys")
        if not isinstance(meta, dict):
            raise TypeError("its metadata are no object")
        return SavedHead(
            weight=weight,
            bias=float(bias[0]),
            feature_keys=keys,
            widths=widths,
            threshold=threshold,
            l2=bool(parse_json(about["l2"])),
            meta=meta,
            calibration=read_calibration(parse_json(about.get("calibration", "null"))),
            spread=read_novelty(tensors, len(weight)),
            held_out=read_held_out(tensors),
        )
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise _no_head(path, str(error)) from error


def _no_head(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is no saved head: {why}. Make one with 'featcache probe --features NAME --save"
        f" {path}'."
    )
