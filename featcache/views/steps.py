"""The built-in steps: blur, noise, resize, crop, flip, JPEG, WebP, and ``match``.

``match`` gives every image one format, one quality and one size, so that none of the three tells
real from fake. The centre is cut without resampling; only an image that is smaller is scaled up
first. What an earlier, stronger compression did to the pixels stays in them: choose a quality not
above the lowest in the set (``featcache datasets audit`` proposes one).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from featcache.images import FILTERS, center_crop, resize_shorter_side
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


CROP_SIZE = 224
SIDE = Arg("size", 1, 4096)


def gaussian_blur(pixels: NDArray[np.uint8], sigma: float) -> None:
    """Blur in place, channel by channel and in 8 bits, as the code of CNNDetection and UnivFD does.

    Parameters
    ----------
    pixels : ndarray of shape (H, W, 3), uint8
    sigma : float, pixels
    """
    for channel in range(3):
        gaussian_filter(pixels[:, :, channel], output=pixels[:, :, channel], sigma=sigma)


def add_noise(
    pixels: NDArray[np.uint8], sigma: float, state: np.random.RandomState
) -> NDArray[np.uint8]:
    """Add white Gaussian noise of ``sigma`` 8-bit levels; rounded and clipped to [0, 255].

    Parameters
    ----------
    pixels : ndarray of uint8
        Pixels of shape (height, width, 3), uint8 or float64 in [0, 255].
    sigma : float
        Standard deviation.
    state : random.RandomState
        Random numbers.

    Returns
    -------
    ndarray of uint8
    """
    noisy = pixels + sigma * state.standard_normal(pixels.shape)
    return np.rint(noisy).clip(0, 255).astype(np.uint8)


def ten_crop(image: Image.Image, size: int, number: int) -> Image.Image:
    """Return one of torchvision's ten crops; an image that is too small is first padded with black.

    Parameters
    ----------
    image : PIL.Image.Image
    size : int, pixels
    number : int in [0, 9]
        Four corners (top left, top right, bottom left, bottom right) and centre, then the same of
        the mirrored image.

    Returns
    -------
    Image.Image
        One of torchvision's ten crops.
    """
    if min(image.size) < size:
        image = _pad_to(image, size)
    if number >= 5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if number % 5 == 4:
        return center_crop(image, size)
    left = (image.width - size) * (number % 5 % 2)
    top = (image.height - size) * (number % 5 // 2)
    return image.crop((left, top, left + size, top + size))


def _pad_to(image: Image.Image, size: int) -> Image.Image:
    width, height = max(image.width, size), max(image.height, size)
    left, top = (width - image.width) // 2, (height - image.height) // 2
    return image.crop((-left, -top, width - left, height - top))


def _blur(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    pixels = np.array(image)
    gaussian_blur(pixels, params["sigma"])
    return Image.fromarray(pixels)


def _noise(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    return Image.fromarray(add_noise(np.asarray(image), params["sigma"], state))


def _resize(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    width, height = (max(round(side * params["scale"]), 1) for side in image.size)
    return image.resize((width, height), FILTERS["bicubic"])


def _short(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    return resize_shorter_side(image, int(params["size"]), "bilinear")


def _square(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    return image.resize((int(params["size"]),) * 2, FILTERS["bilinear"])


def _crop(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    width, height = (max(round(side * params["fraction"]), 1) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _flip(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _ten_crop(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    return ten_crop(image, int(params["size"]), int(params["draw"]))


BLUR = StepKind(
    "blur",
    _blur,
    (Arg("sigma", 0.0, 100.0),),
    "Gaussian blur of this sigma in pixels",
    facts={"filter": "scipy.gaussian_filter", "truncate": 4.0, "border": "reflect", "bits": 8},
)

NOISE = StepKind(
    "noise",
    _noise,
    (Arg("sigma", 0.0, 255.0),),
    "white Gaussian noise of this sigma in 8-bit levels",
    random=True,
)

RESIZE = StepKind(
    "resize",
    _resize,
    (Arg("scale", 0.01, 8.0),),
    "both sides times this factor",
    facts={"filter": "bicubic"},
)

SHORT = StepKind(
    "short",
    _short,
    (SIDE,),
    "the shorter side to this many pixels, keeping the aspect",
    facts={"filter": "bilinear"},
)

SQUARE = StepKind(
    "square",
    _square,
    (SIDE,),
    "both sides to this many pixels, whatever the aspect (AIGCDetectBenchmark)",
    facts={"filter": "bilinear"},
)

CROP = StepKind("crop", _crop, (Arg("fraction", 0.01, 1.0),), "the centre, this share of each side")

FLIP = StepKind("flip", _flip, (), "mirrored left to right")

TEN_CROP = StepKind(
    "tencrop",
    _ten_crop,
    (Arg("size", 1, 4096, default=CROP_SIZE),),
    "four corners and centre, and the same mirrored: ten views",
    facts={"padding": "black"},
    draws=10,
)


MATCH_QUALITY, MATCH_SIZE = 90, 224


def _match(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    size = int(params["size"])
    if min(image.size) < size:
        image = resize_shorter_side(image, size, "bicubic")
    return through_jpeg(center_crop(image, size), int(params["quality"]))


MATCH = StepKind(
    "match",
    _match,
    (Arg("quality", 1, 100, default=MATCH_QUALITY), Arg("size", 8, 4096, default=MATCH_SIZE)),
    "every image the same: centre of this size, JPEG of this quality",
    facts={"filter": "bicubic", "crop": "center", **JPEG_FACTS},
    codec=("JPEG", "quality"),
)
