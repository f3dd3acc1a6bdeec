"""Which parts of a photograph a backbone sees: boxes in its pixels, their share, their contents.

A preset that cuts 224 pixels out of a photograph of 12 million sees half a per cent of it. Heads
are trained and their error rates measured with the centre crop; ``tencrop`` and ``grid`` take the
mean of the logits over several crops of the same size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.images import FILTERS, center_crop, resize_shorter_side

CROPS = ("center", "tencrop", "grid")
MOST_PER_SIDE = 6
"""A grid has at most 6 x 6 crops, evenly spaced: larger photographs are sampled."""

SAME_GEOMETRY = frozenset(("clean", "jpeg", "jpeg2", "webp", "blur", "noise", "flip"))
"""Steps of a view after which a crop covers the same part of the photograph."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


@dataclass(frozen=True)
class Framing:
    """The crops of one photograph.

    Parameters
    ----------
    boxes : tuple of (float, float, float, float)
        Left, top, right, bottom in pixels of the photograph, cut off at its border.
    coverage : float in [0, 1]
        Share of the photograph's pixels that lie in at least one box.
    """

    boxes: tuple[Box, ...]
    coverage: float


def frame(key: Mapping[str, Any], width: int, height: int, crops: str = "center") -> Framing | None:
    """Return which parts of a photograph a feature is made from.

    Parameters
    ----------
    key : mapping
        Fields of the feature key.
    width : int, pixels
        Of the photograph, as it is decoded.
    height : int, pixels
    crops : {"center", "tencrop", "grid"}

    Returns
    -------
    Framing or None
        None where the view resizes or cuts the image first, or the key does not name a crop.
    """
    preprocessing = key.get("preprocessing", {})
    steps = {step.split(":")[0] for step in str(key["view"]["name"]).split("+")}
    if not (steps <= SAME_GEOMETRY and "size" in preprocessing and min(width, height) > 0):
        return None
    new_width, new_height = _resized(preprocessing, width, height)
    x, y, size = width / new_width, height / new_height, int(preprocessing["size"])
    boxes = []
    for left, top in _corners(new_width, new_height, size, crops):
        right, bottom = min(left + size, new_width), min(top + size, new_height)
        boxes.append((max(left, 0) * x, max(top, 0) * y, right * x, bottom * y))
    return Framing(tuple(boxes), _union(boxes) / (width * height))


def cut(
    preprocessing: Mapping[str, Any], image: Image.Image, crops: str
) -> list[NDArray[np.uint8]]:
    """Return the pixels of each crop.

    Parameters
    ----------
    preprocessing : mapping
        As it stands in a feature key.
    image : PIL.Image.Image
        Mode ``"RGB"``, behind the view.
    crops : {"center", "tencrop", "grid"}

    Returns
    -------
    list of ndarray of shape (size, size, 3), uint8
        In the order of the boxes of :func:`frame`; ``tencrop`` has each crop mirrored as well,
        after the five.
    """
    resize, size = preprocessing["resize"], int(preprocessing["size"])
    if resize != "none" and preprocessing["aspect"] == "squashed":
        image = image.resize((resize, resize), FILTERS[preprocessing["interpolation"]])
    elif resize != "none":
        image = resize_shorter_side(image, resize, preprocessing["interpolation"])
    if crops == "center":
        return [np.asarray(center_crop(image, size))]
    pixels = [
        np.asarray(image.crop((left, top, left + size, top + size)))
        for left, top in _corners(*image.size, size, crops)
    ]
    return [*pixels, *(part[:, ::-1] for part in pixels)] if crops == "tencrop" else pixels


def _resized(preprocessing: Mapping[str, Any], width: int, height: int) -> tuple[int, int]:
    """Return the size after resizing, by the rule of :func:`~featcache.images`."""
    resize = preprocessing["resize"]
    if resize == "none":
        return width, height
    if preprocessing["aspect"] == "squashed":
        return resize, resize
    short, long = min(width, height), max(width, height)
    new_long = max(int(resize * long / short), 1)
    return (resize, new_long) if width <= height else (new_long, resize)


def _corners(width: int, height: int, size: int, crops: str) -> list[tuple[int, int]]:
    """Return the left upper corner of each crop; negative where the image is smaller."""
    center = (_middle(width, size), _middle(height, size))
    if crops == "center":
        return [center]
    if crops == "tencrop":
        ends = [
            sorted({_start(n, size), _start(n, size) + max(n - size, 0)}) for n in (width, height)
        ]
        corners = [(ends[0][i], ends[1][j]) for j in (0, -1) for i in (0, -1)]
        return [*corners, center]
    starts = []
    for n in (width, height):
        count = min(math.ceil(n / size), MOST_PER_SIDE)
        spaced = np.linspace(0, max(n - size, 0), count).round().astype(int).tolist()
        starts.append(spaced if n > size else [_middle(n, size)])
    return [(left, top) for top in starts[1] for left in starts[0]]


def _middle(length: int, size: int) -> int:
    return round((length - size) / 2.0) if length >= size else -((size - length) // 2)


def _start(length: int, size: int) -> int:
    return 0 if length >= size else _middle(length, size)


def _union(boxes: list[Box]) -> float:
    """Return the area that lies in at least one box."""
    xs = sorted({x for box in boxes for x in (box[0], box[2])})
    ys = sorted({y for box in boxes for y in (box[1], box[3])})
    inside = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    for left, top, right, bottom in boxes:
        inside[ys.index(top) : ys.index(bottom), xs.index(left) : xs.index(right)] = True
    return float(np.diff(ys) @ inside @ np.diff(xs))
