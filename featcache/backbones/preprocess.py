"""From an RGB image to the pixels that a backbone sees. Part of the feature key; knows no torch.

Resizing and cropping follow torchvision's ``Resize`` and ``CenterCrop`` on Pillow images to the
pixel. Pixels stay uint8 here; mean and standard deviation are applied on the device.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.errors import unknown_name
from featcache.images import (
    DECODING,
    FILTERS,
    apply_orientation,
    center_crop,
    resize_shorter_side,
)

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Channel statistics of OpenAI's CLIP, which UnivFD and the paper use for every backbone."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

PRESETS = ("univfd", "native", "resize")
STATISTICS = {
    "clip": (CLIP_MEAN, CLIP_STD),
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and deviation that may be asked for by name, after a colon: ``native:imagenet``."""


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
    squash : bool
        Resize both sides to ``resize`` instead of the shorter one.
    exif : {"ignore", "rotate"}
        Whether the EXIF orientation is applied, before the view.
    """

    preset: str
    resize: int | None
    interpolation: str
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    squash: bool = False
    exif: str = "ignore"

    def to_key(self) -> dict[str, Any]:
        """Return every setting as it stands in a feature key.

        Returns
        -------
        dict[str, Any]
            Every setting as it stands in a feature key.
        """
        values = asdict(self)
        values |= {"mean": list(self.mean), "std": list(self.std), "crop": "center"}
        decoding = {**DECODING, "exif": values.pop("exif")}
        values |= {"antialias": self.resize is not None, "padding": "black", "decoding": decoding}
        values["aspect"] = "squashed" if values.pop("squash") else "kept"
        if self.resize is None:
            values |= {"resize": "none", "interpolation": "none"}
        return values

    def pads(self, width: int, height: int) -> bool:
        """Say whether an image of this size would be padded.

        Parameters
        ----------
        width : int
            Width in pixels or characters.
        height : int
            Height in pixels.

        Returns
        -------
        bool
        """
        return self.resize is None and min(width, height) < self.size

    def orient(self, image: Image.Image) -> Image.Image:
        """Apply the EXIF orientation of a decoded image, where the preset asks for it.

        Parameters
        ----------
        image : PIL.Image.Image
            As it was decoded.

        Returns
        -------
        PIL.Image.Image

        Raises
        ------
        ImageError
            If the EXIF data are damaged.
        """
        return apply_orientation(image) if self.exif == "rotate" else image

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
        if self.resize is not None and self.squash:
            image = image.resize((self.resize, self.resize), FILTERS[self.interpolation])
        elif self.resize is not None:
            image = resize_shorter_side(image, self.resize, self.interpolation)
        return np.asarray(center_crop(image, self.size))


def native_difference(used: Preprocessing, native: Preprocessing) -> str:
    """Return how the input that is used differs from the one that the network was trained for.

    Parameters
    ----------
    used : Preprocessing
        What images go through.
    native : Preprocessing
        The backbone's own.

    Returns
    -------
    str
        In a few words; empty where size and statistics are the same. That images are cropped and
        not resized is not counted: it is what the preset ``univfd`` is for.
    """
    parts = []
    if used.size != native.size:
        parts.append(f"{used.size} pixels instead of {native.size}")
    if (used.mean, used.std) != (native.mean, native.std):
        parts.append(f"mean {used.mean} and std {used.std} instead of {native.mean}, {native.std}")
    return ", ".join(parts)


def choose_preset(name: str, native: Preprocessing, crop: int = 0) -> Preprocessing:
    """Return the preprocessing that a preset means for a backbone.

    Parameters
    ----------
    name : str
        ``univfd``: centre crop without resizing and CLIP's statistics, as UnivFD and the paper test
        every backbone. ``native``: what the backbone was trained for. ``resize``: the shorter side
        is resized to the input size, with the backbone's own filter and statistics. Each may name
        other statistics after a colon: ``univfd:imagenet``, ``native:clip``, ``resize:half``; and
        each may end in ``+exif``, which applies the EXIF orientation: ``univfd+exif``.
    native : Preprocessing
        The backbone's own.
    crop : int, pixels
        Side of the crop of ``univfd``; 0 stands for the native size.

    Returns
    -------
    Preprocessing
        The preprocessing that a preset means for a backbone.

    Raises
    ------
    UnknownNameError
        If there is no such preset, or no such statistics.

    Examples
    --------
    >>> from featcache.backbones.pretrained import SYNCLR_NATIVE
    >>> choose_preset("native:imagenet", SYNCLR_NATIVE).mean
    (0.485, 0.456, 0.406)
    """
    plain, plus, suffix = name.partition("+")
    if plus and suffix != "exif":
        raise unknown_name("suffix of a preset", f"+{suffix}", ["+exif"])
    base, colon, statistics = plain.partition(":")
    exif = "rotate" if plus else "ignore"
    chosen = replace(_base_preset(base, native, crop), preset=name, exif=exif)
    if not colon:
        return chosen
    if statistics not in STATISTICS:
        raise unknown_name("pair of mean and deviation", statistics, STATISTICS)
    mean, std = STATISTICS[statistics]
    return replace(chosen, mean=mean, std=std)


def _base_preset(name: str, native: Preprocessing, crop: int) -> Preprocessing:
    if name == "native":
        return native
    if name == "resize":
        return replace(native, resize=native.size, squash=False)
    if name == "univfd":
        size = crop or native.size
        return replace(native, resize=None, squash=False, size=size, mean=CLIP_MEAN, std=CLIP_STD)
    raise unknown_name("preprocessing preset", name, PRESETS)
