"""Which squares are cut from which photograph, and which photographs are for testing. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.demo.photographs import SIZE, Photo
from featcache.errors import DataError
from featcache.hashing import digest_bytes

SCALES = (1.0, 0.75, 0.5, 0.35)
"""Sides of the squares as shares of the photograph's short side; none below SIZE pixels."""


@dataclass(frozen=True, order=True)
class Crop:
    """A square of a photograph: its corner and side in pixels of the photograph."""

    photo: str
    left: int
    top: int
    side: int

    @property
    def name(self) -> str:
        """Stem of the crop's file; what stands before the double underscore is the photograph."""
        return f"{self.photo}__{self.side}-{self.left}-{self.top}"


def plan_crops(sizes: dict[str, tuple[int, int]], n: int) -> list[Crop]:
    """Return at least ``n`` distinct crops, as evenly spread over the photographs as they allow.

    Parameters
    ----------
    sizes : dict of str to (int, int)
        Width and height of each photograph.
    n : int

    Raises
    ------
    DataError
        If the photographs do not hold that many distinct squares.
    """
    candidates = {name: _squares(name, size) for name, size in sizes.items()}
    chosen: list[Crop] = []
    for turn in range(max(map(len, candidates.values()), default=0)):
        if len(chosen) >= n:
            break
        chosen += [squares[turn] for squares in candidates.values() if turn < len(squares)]
    if len(chosen) < n:
        raise DataError(
            f"These {len(sizes)} photographs hold {len(chosen)} distinct crops of {SIZE} pixels, "
            f"and {n} are needed. Give more or larger photographs."
        )
    return sorted(chosen)


def held_out_photos(names: list[str]) -> set[str]:
    """Return the half of the photographs that is for testing, the same whatever their order."""
    ranked = sorted(names, key=lambda name: digest_bytes(name.encode()))
    return set(ranked[: len(ranked) // 2])


def cut(photo: Photo, crop: Crop) -> NDArray[np.uint8]:
    """Return a crop's pixels, (SIZE, SIZE, 3) uint8, scaled down with antialiasing."""
    box = (crop.left, crop.top, crop.left + crop.side, crop.top + crop.side)
    square = photo.image.crop(box).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(square)


def _squares(name: str, size: tuple[int, int]) -> list[Crop]:
    """Return a photograph's candidate squares, large and spread-out ones first, each once."""
    short = min(size)
    sides = [int(short * scale) for scale in SCALES if int(short * scale) > SIZE] + [SIZE]
    squares: dict[Crop, None] = {}
    for places in (1, 2, 3, 4, 6):
        for side in sides:
            for left, top in _corners(size, side, places):
                squares.setdefault(Crop(name, left, top, side))
    return list(squares)


def _corners(size: tuple[int, int], side: int, places: int) -> list[tuple[int, int]]:
    across, down = (_positions(length - side, places) for length in size)
    return [(left, top) for left in across for top in down]


def _positions(room: int, places: int) -> list[int]:
    if places == 1 or room == 0:
        return [room // 2]
    return sorted({round(i * room / (places - 1)) for i in range(places)})
