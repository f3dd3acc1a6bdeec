"""The training and validation augmentation of UnivFD, in its order and with its filters.

UnivFD draws anew in every epoch; here each image gets K fixed draws, cached like any other view.
Its JPEG encoder is chosen at random between OpenCV and Pillow. Both are libjpeg with 4:2:0 and
the same integer transform and write the same bytes (``tests/views/test_views.py`` checks it for
every quality), so the choice changes nothing and Pillow does both.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from featcache.images import resize_shorter_side
from featcache.views.steps import JPEG_FACTS, gaussian_blur, through_jpeg
from featcache.views.view import Params, StepKind

RESIZE, CROP = 256, 224
BLUR_P = JPEG_P = FLIP_P = 0.5
MAX_SIGMA = 3.0
LOWEST_QUALITY, HIGHEST_QUALITY = 30, 100
VAL_SIGMA, VAL_QUALITY = 1.5, 65


def augment(image: Image.Image, sigma: float | None, quality: int | None) -> Image.Image:
    """Blur, then JPEG; None leaves the step out.

    Parameters
    ----------
    image : Image.Image
        Decoded image.
    sigma : float | None
        Standard deviation.
    quality : int | None
        JPEG or WebP quality, 1 to 100.

    Returns
    -------
    Image.Image
    """
    if sigma is not None:
        pixels = np.array(image)
        gaussian_blur(pixels, sigma)
        image = Image.fromarray(pixels)
    return image if quality is None else through_jpeg(image, quality)


def _train(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    # All numbers are drawn whether they are used or not: each then always means the same.
    blurs, sigma, encodes, quality, top, left, flips = state.random_sample(7)
    n_qualities = HIGHEST_QUALITY - LOWEST_QUALITY + 1
    image = augment(
        resize_shorter_side(image, RESIZE, "bilinear"),
        sigma * MAX_SIGMA if blurs < BLUR_P else None,
        LOWEST_QUALITY + int(quality * n_qualities) if encodes < JPEG_P else None,
    )
    x = int(left * (image.width - CROP + 1))
    y = int(top * (image.height - CROP + 1))
    image = image.crop((x, y, x + CROP, y + CROP))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flips < FLIP_P else image


def _val(image: Image.Image, params: Params, state: np.random.RandomState) -> Image.Image:
    blurs, encodes = state.random_sample(2)
    return augment(
        resize_shorter_side(image, RESIZE, "bilinear"),
        VAL_SIGMA if blurs < BLUR_P else None,
        VAL_QUALITY if encodes < JPEG_P else None,
    )


_COMMON = {
    "resize": RESIZE,
    "filter": "bilinear",
    "blur_p": BLUR_P,
    "jpeg_p": JPEG_P,
    "codec": "libjpeg (OpenCV and Pillow write the same)",
    **JPEG_FACTS,
}

TRAIN = StepKind(
    "univfd-train",
    _train,
    (),
    "K draws of UnivFD's training augmentation: resize 256, blur, JPEG, crop 224, flip",
    facts={
        **_COMMON,
        "sigma": [0.0, MAX_SIGMA],
        "quality": [LOWEST_QUALITY, HIGHEST_QUALITY],
        "crop": CROP,
        "flip_p": FLIP_P,
    },
    random=True,
    draws="counted",
)

VAL = StepKind(
    "univfd-val",
    _val,
    (),
    "K draws of UnivFD's validation augmentation: resize 256, blur 1.5 and JPEG 65 half the time",
    facts={**_COMMON, "sigma": VAL_SIGMA, "quality": VAL_QUALITY},
    random=True,
    draws="counted",
)
