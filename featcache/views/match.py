"""One format, one quality, one size for every image, so that none of the three tells real from fake.

The centre is cut without resampling; only an image that is smaller is scaled up first. What an earlier,
stronger compression did to the pixels stays in them: choose a quality not above the lowest in the set
(``featcache datasets audit`` proposes one).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from featcache.geometry import center_crop, resize_shorter_side
from featcache.views.codecs import JPEG_FACTS, through_jpeg
from featcache.views.view import Arg, Params, StepKind

QUALITY, SIZE = 90, 224


def _match(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    size = int(params["size"])
    if min(image.size) < size:
        image = resize_shorter_side(image, size, "bicubic")
    return through_jpeg(center_crop(image, size), int(params["quality"]))


MATCH = StepKind(
    "match",
    _match,
    (Arg("quality", 1, 100, default=QUALITY), Arg("size", 8, 4096, default=SIZE)),
    "every image the same: centre of this size, JPEG of this quality",
    facts={"filter": "bicubic", "crop": "center", **JPEG_FACTS},
    codec=("JPEG", "quality"),
)
