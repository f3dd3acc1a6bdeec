"""Real photographs: those that packages carry, or the user's own."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from featcache.datasets.walk import IMAGE_SUFFIXES
from featcache.demo.archives import read_member
from featcache.errors import DataError, ImageError, MissingExtraError, ResourceError
from featcache.hashing import digest_bytes
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

    Raises
    ------
    ResourceError
        If a package is missing or carries another file.
    """
    rows = json.loads(files("featcache.demo").joinpath("photos.json").read_text(encoding="utf-8"))
    return [_packaged(row) for row in rows]


def load_folder(folder: Path) -> list[Photo]:
    """Return the photographs in a folder that are large enough, by sorted name.

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
                photo = _own(path, folder)
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
            f"The photograph {row['name']!r} in {row.get('package') or row.get('archive')} is not the one "
            "that the demo was made with. Run: pip install --upgrade 'featcache[demo]'"
        )
    return Photo(row["name"], row["digest"], decode(data), row["credit"], row["licence"])


def _read_installed(row: dict[str, Any]) -> bytes:
    spec = find_spec(row["package"])
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            f"The demo needs the photographs of {row['package']}. Run: pip install 'featcache[demo]'"
        )
    path = Path(spec.origin).parent / row["file"]
    if not path.is_file():
        raise ResourceError(f"{path} is missing. Run: pip install --upgrade 'featcache[demo]'")
    data: bytes = path.read_bytes()
    return data


def _own(path: Path, folder: Path) -> Photo:
    data = path.read_bytes()
    image = decode(data)
    if min(image.size) < SIZE:
        raise ImageError(f"only {image.width} x {image.height}")
    digest = digest_bytes(data)
    stem = "".join(c if c.isalnum() else "-" for c in path.relative_to(folder).with_suffix("").name)
    return Photo(f"{stem[:MAX_NAME]}-{digest[:6]}", digest, image)
