"""Where networks look in images, and what pushes a head's score, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MapKind = Literal["attention", "rollout", "response", "energy"]


@dataclass(frozen=True, kw_only=True)
class AttentionMap:
    """One map over an image.

    Parameters
    ----------
    kind : {"attention", "rollout", "response", "energy"}
        Attention of the class token in the last layer; the same rolled out over all layers; how much
        each place pushes the head's logit up (signed); or, without a head, the feature's energy.
    values : ndarray of shape (rows, columns), float64
        Attention sums to ``mass`` over the image; the rest goes to the class token and registers.
    head : int or None
        Attention head; None for the mean over heads.
    mass : float
        Sum of ``values``.
    """

    kind: MapKind
    values: NDArray[np.float64]
    head: int | None = None
    mass: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class Attended:
    """All maps of one backbone over one image.

    Parameters
    ----------
    path : str
    backbone : str
    pixels : ndarray of shape (size, size, 3), uint8
        What the network saw: resized and cropped.
    maps : tuple of AttentionMap
    n_layers, n_heads : int
        0 for networks without attention.
    row_error : float
        Largest distance of a row of attention from summing to 1, over all layers, heads and rows; NaN
        without attention.
    logit : float
        Of the head; NaN without one.
    """

    path: str
    backbone: str
    pixels: NDArray[np.uint8]
    maps: tuple[AttentionMap, ...]
    n_layers: int
    n_heads: int
    row_error: float
    logit: float = float("nan")

    def find(self, kind: MapKind) -> AttentionMap | None:
        """Return the map of a kind over all heads, or None."""
        return next((m for m in self.maps if m.kind == kind and m.head is None), None)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the pixels as plain values."""
        return {
            "path": self.path,
            "backbone": self.backbone,
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "row_error": self.row_error,
            "logit": self.logit,
            "maps": [
                {"kind": m.kind, "head": m.head, "mass": m.mass, "values": m.values.tolist()}
                for m in self.maps
            ],
        }
