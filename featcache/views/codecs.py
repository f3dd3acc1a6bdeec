"""Through an encoder and back: what a lossy file leaves of an image."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from featcache.views.view import Arg, Params, StepKind

SUBSAMPLING_420 = 2
"""Pillow's number for 4:2:0, which is also what libjpeg, Pillow and OpenCV do unless told
otherwise.
"""

JPEG_FACTS: Mapping[str, Any] = {"subsampling": "4:2:0"}
WEBP_METHOD = 4

QUALITY = Arg("quality", 1, 100)


def through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return the image after JPEG at an IJG quality, 4:2:0, decoded by Pillow.

    Parameters
    ----------
    image : Image.Image
        Decoded image.
    quality : int
        JPEG or WebP quality, 1 to 100.

    Returns
    -------
    Image.Image
        The image after JPEG at an IJG quality, 4:2:0, decoded by Pillow.
    """
    return _through(image, "JPEG", quality=quality, subsampling=SUBSAMPLING_420)


def through_webp(image: Image.Image, quality: int) -> Image.Image:
    """Return the image after lossy WebP, decoded by Pillow.

    Parameters
    ----------
    image : Image.Image
        Decoded image.
    quality : int
        JPEG or WebP quality, 1 to 100.

    Returns
    -------
    Image.Image
        The image after lossy WebP, decoded by Pillow.
    """
    return _through(image, "WEBP", quality=quality, method=WEBP_METHOD)


def _through(image: Image.Image, file_format: str, **options: int) -> Image.Image:
    buffer = io.BytesIO()
    # Pillow keeps the encoder's settings on the image: two threads that save one image at two
    # qualities would swap them, so each saves a copy.
    image.copy().save(buffer, file_format, **options)
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")


def _jpeg(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    return through_jpeg(image, int(params["quality"]))


def _jpeg2(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    return through_jpeg(through_jpeg(image, int(params["first"])), int(params["second"]))


def _webp(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    return through_webp(image, int(params["quality"]))


JPEG = StepKind(
    "jpeg",
    _jpeg,
    (QUALITY,),
    "JPEG at this IJG quality",
    facts=JPEG_FACTS,
    codec=("JPEG", "quality"),
)

JPEG2 = StepKind(
    "jpeg2",
    _jpeg2,
    (Arg("first", 1, 100), Arg("second", 1, 100)),
    "JPEG twice, as an image that was saved and shared",
    facts=JPEG_FACTS,
    codec=("JPEG", "second"),
)

WEBP = StepKind(
    "webp",
    _webp,
    (QUALITY,),
    "lossy WebP at this quality",
    facts={"method": WEBP_METHOD},
    codec=("WEBP", "quality"),
)
