"""Resizing and cutting as torchvision does it on Pillow images, to the pixel; knows no torch."""

from __future__ import annotations

from PIL import Image

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Interpolation filters by name; all but ``nearest`` are antialiased when they shrink."""


def resize_shorter_side(image: Image.Image, size: int, interpolation: str) -> Image.Image:
    """Resize so that the shorter side is ``size``; the longer is truncated to whole pixels."""
    width, height = image.size
    short, long = sorted(image.size)
    if short == size:
        return image
    new_long = max(int(size * long / short), 1)
    new = (size, new_long) if width <= height else (new_long, size)
    return image.resize(new, FILTERS[interpolation])


def center_crop(image: Image.Image, size: int) -> Image.Image:
    """Cut the central square; what lies outside the image is black."""
    width, height = image.size
    left = _offset(width, size)
    top = _offset(height, size)
    return image.crop((left, top, left + size, top + size))


def _offset(length: int, size: int) -> int:
    """Return where the crop begins, with torchvision's rounding for cutting and for padding."""
    return round((length - size) / 2.0) if length >= size else -((size - length) // 2)
