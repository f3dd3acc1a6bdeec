"""Real photographs: those that packages carry, or the user's own.

Which squares are cut from which photograph, and which photographs are for testing. Pure.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.datasets.walk import IMAGE_SUFFIXES
from featcache.demo.downloads import read_member
from featcache.errors import DataError, ImageError, MissingExtraError, ResourceError
from featcache.files import digest_bytes, read_file
from featcache.images import decode

SIZE = 256
"""Side of every crop in pixels; a photograph must have it, since nothing is ever scaled up."""

MIN_PHOTOS = 4
"""Fewer cannot be split into training and test photographs that say anything."""


MAX_PHOTOS = 200
"""More would only make the demo slow."""

MAX_NAME = 60
"""Characters of a photograph's name that are kept in file names."""


@dataclass(frozen=True)
class Photo:
    """One photograph.

    Parameters
    ----------
    name : str
        Short; stands in file names.
    digest : str
        Of the file's bytes.
    image : PIL.Image.Image
        RGB.
    credit, licence : str
        Empty for the user's own.
    """

    name: str
    digest: str
    image: Image.Image
    credit: str = ""
    licence: str = ""


def load_packaged() -> list[Photo]:
    """Return the photographs that packages carry, each checked against its digest.

    Returns
    -------
    list[Photo]
        The photographs that packages carry, each checked against its digest.

    Raises
    ------
    ResourceError
        If a package is missing or carries another file.
    """
    rows = json.loads(files("featcache.demo").joinpath("photos.json").read_text(encoding="utf-8"))
    return [_packaged(row) for row in rows]


def load_folder(folder: Path) -> list[Photo]:
    """Return the photographs in a folder that are large enough, by sorted name.

    Parameters
    ----------
    folder : Path
        Folder that is read or written.

    Returns
    -------
    list[Photo]
        The photographs in a folder that are large enough, by sorted name.

    Raises
    ------
    DataError
        If there are too few: says which were passed over and why.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. Give the folder of your photographs: --photos DIR")
    photos: dict[str, Photo] = {}
    passed_over = []
    # An order by name digest, so that the first photographs are a fair sample of a large folder.
    for path in sorted(folder.rglob("*"), key=lambda path: digest_bytes(os.fsencode(path.name))):
        if len(photos) == MAX_PHOTOS:
            break
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            try:
                data = read_file(path)
                image = decode(data)
                if min(image.size) < SIZE:
                    raise ImageError(f"only {image.width} x {image.height}")
                digest = digest_bytes(data)
                stem = "".join(
                    c if c.isalnum() else "-" for c in path.relative_to(folder).with_suffix("").name
                )
                photo = Photo(f"{stem[:MAX_NAME]}-{digest[:6]}", digest, image)
                photos.setdefault(photo.digest, photo)
            except (ImageError, OSError) as error:
                passed_over.append(f"{path.name} ({error})")
    if len(photos) < MIN_PHOTOS:
        why = f" Passed over: {', '.join(passed_over[:5])}." if passed_over else ""
        raise DataError(
            f"{folder} holds {len(photos)} usable photographs of at least {SIZE} x {SIZE} pixels; "
            f"{MIN_PHOTOS} are needed.{why}"
        )
    return sorted(photos.values(), key=lambda photo: photo.name)


def _packaged(row: dict[str, Any]) -> Photo:
    data = _read_installed(row) if "package" in row else read_member(row["archive"], row["file"])
    if digest_bytes(data) != row["digest"]:
        raise ResourceError(
            f"The photograph {row['name']!r} in {row.get('package') or row.get('archive')} is not"
            " the one that the demo was made with. Run: pip install --upgrade 'featcache[demo]'"
        )
    return Photo(row["name"], row["digest"], decode(data), row["credit"], row["licence"])


def _read_installed(row: dict[str, Any]) -> bytes:
    spec = find_spec(row["package"])
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            f"The demo needs the photographs of {row['package']}. Run: pip install"
            " 'featcache[demo]'"
        )
    path = Path(spec.origin).parent / row["file"]
    if not path.is_file():
        raise ResourceError(f"{path} is missing. Run: pip install --upgrade 'featcache[demo]'")
    return read_file(path)


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

    Returns
    -------
    list[Crop]
        At least ``n`` distinct crops, as evenly spread over the photographs as they allow.

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
    """Return the half of the photographs that is for testing, the same whatever their order.

    Parameters
    ----------
    names : list[str]
        Names, in order.

    Returns
    -------
    set[str]
        The half of the photographs that is for testing, the same whatever their order.
    """
    ranked = sorted(names, key=lambda name: digest_bytes(name.encode()))
    return set(ranked[: len(ranked) // 2])


def crop_image(photo: Photo, crop: Crop) -> NDArray[np.uint8]:
    """Return a crop's pixels, (SIZE, SIZE, 3) uint8, scaled down with antialiasing.

    Parameters
    ----------
    photo : Photo
        Photograph.
    crop : Crop
        Place of the crop.

    Returns
    -------
    ndarray of uint8
        A crop's pixels, (SIZE, SIZE, 3) uint8, scaled down with antialiasing.
    """
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
            across, down = (_positions(length - side, places) for length in size)
            for left, top in [(left, top) for left in across for top in down]:
                squares.setdefault(Crop(name, left, top, side))
    return list(squares)


def _positions(room: int, places: int) -> list[int]:
    if places == 1 or room == 0:
        return [room // 2]
    return sorted({round(i * room / (places - 1)) for i in range(places)})
