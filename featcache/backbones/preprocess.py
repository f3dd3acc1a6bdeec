"""From an RGB image to the pixels that a backbone sees. Part of the feature key; knows no torch.

Resizing and cropping follow torchvision's ``Resize`` and ``CenterCrop`` on Pillow images to the pixel.
Pixels stay uint8 here; mean and standard deviation are applied on the device.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.errors import unknown_name
from featcache.geometry import center_crop, resize_shorter_side
from featcache.images import DECODING

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Channel statistics of OpenAI's CLIP, which UnivFD and the paper use for every backbone."""

PRESETS = ("univfd", "native", "resize")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What happens to an image before the backbone.

    Parameters
    ----------
    preset : str
        Name under which a user asks for it.
    resize : int or None, pixels
        Length of the shorter side after resizing; None leaves the size alone.
    interpolation : {"bilinear", "bicubic", "lanczos"}
        Filter of the resizing, always antialiased (Pillow's).
    size : int, pixels
        Side of the centre crop; smaller images are padded with black.
    mean, std : tuple of 3 float
        Applied to pixels in [0, 1].
    """

    preset: str
    resize: int | None
    interpolation: str
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def to_key(self) -> dict[str, Any]:
        """Return every setting as it stands in a feature key."""
        values = asdict(self)
        values |= {"mean": list(self.mean), "std": list(self.std), "crop": "center"}
        values |= {"antialias": self.resize is not None, "padding": "black", "decoding": DECODING}
        if self.resize is None:
            values |= {"resize": "none", "interpolation": "none"}
        return values

    def pads(self, width: int, height: int) -> bool:
        """Say whether an image of this size would be padded."""
        return self.resize is None and min(width, height) < self.size

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the pixels that the backbone sees.

        Parameters
        ----------
        image : PIL.Image.Image
            Mode ``"RGB"``.

        Returns
        -------
        ndarray of shape (size, size, 3), uint8 in [0, 255]
        """
        if self.resize is not None:
            image = resize_shorter_side(image, self.resize, self.interpolation)
        return np.asarray(center_crop(image, self.size))


def choose_preset(name: str, native: Preprocessing) -> Preprocessing:
    """Return the preprocessing that a preset means for a backbone.

    Parameters
    ----------
    name : {"univfd", "native", "resize"}
        ``univfd``: centre crop without resizing and CLIP's statistics, as UnivFD and the paper test
        every backbone. ``native``: what the backbone was trained for. ``resize``: the shorter side is
        resized to the input size, with the backbone's own filter and statistics.
    native : Preprocessing
        The backbone's own.

    Raises
    ------
    UnknownNameError
        If there is no such preset.
    """
    if name == "native":
        return native
    if name == "resize":
        return replace(native, preset="resize", resize=native.size)
    if name == "univfd":
        return replace(native, preset="univfd", resize=None, mean=CLIP_MEAN, std=CLIP_STD)
    raise unknown_name("preprocessing preset", name, PRESETS)
