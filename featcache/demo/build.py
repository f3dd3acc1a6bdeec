"""The demo's images: an ordinary tree of reals and fakes, made once, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from featcache.demo.generators import GENERATORS, Pixels, make_fakes
from featcache.demo.photographs import (
    SIZE,
    Crop,
    Photo,
    crop_image,
    held_out_photos,
    load_folder,
    load_packaged,
    plan_crops,
)
from featcache.errors import DataError
from featcache.files import read_text, whole_folder
from featcache.progress import progress

VERSION = 1
"""Of the recipe; a tree of another recipe is made anew."""

QUALITY = 92
"""JPEG quality of everything, real and fake: one codec, or the probe learns the codec."""

RECORD = "demo.json"
N_REALS = 200


@dataclass(frozen=True)
class DemoTree:
    """A finished tree of the demo.

    Parameters
    ----------
    root : Path
        ``<out>/data``.
    n_photos, n_reals : int
        Photographs, and distinct crops of them.
    generators : list of str
    built : bool
        Whether it was made just now.
    """

    root: Path
    n_photos: int
    n_reals: int
    generators: list[str]
    built: bool


def build_tree(out: Path, *, photos: Path | None = None, n_reals: int = N_REALS) -> DemoTree:
    """Make ``<out>/data/{train,test}/<generator>/{0_real,1_fake}/<photo>__<crop>.jpg``.

    Parameters
    ----------
    out : Path
    photos : Path, optional
        The user's own photographs; those that packages carry by default.
    n_reals : int
        Distinct crops at least.

    Returns
    -------
    DemoTree

    Raises
    ------
    DataError
        If ``<out>/data`` is something else, or the photographs are too few.
    """
    root = out / "data"
    record = _read_record(root)
    if photos is None and _is_finished(root, record, _recipe("packaged", n_reals)):
        return _tree(root, record, built=False)
    loaded = load_folder(photos) if photos else load_packaged()
    recipe = _recipe([photo.digest for photo in loaded] if photos else "packaged", n_reals)
    if _is_finished(root, record, recipe):
        return _tree(root, record, built=False)
    crops = plan_crops({photo.name: photo.image.size for photo in loaded}, n_reals)
    record = {
        "recipe": recipe,
        "n_crops": len(crops),
        "photos": [
            {name: getattr(photo, name) for name in ("name", "digest", "credit", "licence")}
            for photo in loaded
        ],
    }
    _write_whole(root, {photo.name: photo for photo in loaded}, crops, record)
    return _tree(root, record, built=True)


def _is_finished(root: Path, record: dict[str, Any], recipe: dict[str, Any]) -> bool:
    """Say whether the tree is of this recipe and has all its files."""
    if record.get("recipe") != recipe:
        return False
    n_files = sum(1 for _ in root.rglob("*.jpg"))
    return n_files == 2 * len(GENERATORS) * int(record["n_crops"])


def _recipe(photos: Any, n_reals: int) -> dict[str, Any]:
    return {
        "version": VERSION,
        "photos": photos,
        "n_reals": n_reals,
        "size": SIZE,
        "quality": QUALITY,
        "generators": list(GENERATORS),
    }


def _read_record(root: Path) -> dict[str, Any]:
    """Return what an earlier run noted, empty where there is nothing yet.

    Raises
    ------
    DataError
        If the folder is not the demo's: it is not overwritten.
    """
    if not root.exists():
        return {}
    try:
        record = json.loads(read_text(root / RECORD))
        if set(record) != {"recipe", "n_crops", "photos"}:
            raise ValueError(f"{RECORD} is not the demo's")
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{root} exists and was not made by the demo, so it is left alone. Choose another"
            " --out."
        ) from error
    return dict(record)


def _tree(root: Path, record: dict[str, Any], built: bool) -> DemoTree:
    return DemoTree(root, len(record["photos"]), record["n_crops"], list(GENERATORS), built)


def _write_whole(
    root: Path, photos: dict[str, Photo], crops: list[Crop], record: dict[str, Any]
) -> None:
    """Make the tree in a temporary folder beside its place, then put it there."""
    with whole_folder(root) as folder:
        held_out = held_out_photos(sorted(photos))
        with progress("fakes", len(crops) * len(GENERATORS)) as advance:
            for split in ("train", "test"):
                split_crops = [
                    crop for crop in crops if (crop.photo in held_out) == (split == "test")
                ]
                reals = [crop_image(photos[crop.photo], crop) for crop in split_crops]
                styles = [reals[i] for i in style_of(split_crops)]
                _write_reals(folder / split, split_crops, reals)
                for name in GENERATORS:
                    fakes = make_fakes(name, reals, styles, advance)
                    _write_set(folder / split / name / "1_fake", split_crops, fakes)
        (folder / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")


def style_of(crops: list[Crop]) -> list[int]:
    """Return for each crop the crop that styles it: of another photograph, as far away as can be.

    All are of one split, so that no style crosses from training to test photographs.

    Parameters
    ----------
    crops : list[Crop]
        Crops of photographs.

    Returns
    -------
    list[int]
        For each crop the crop that styles it.
    """
    n = len(crops)
    order = [*range(n // 2, n), *range(n // 2)]
    return [
        next((i + turn) % n for turn in order if crops[(i + turn) % n].photo != crop.photo)
        for i, crop in enumerate(crops)
    ]


def _write_reals(folder: Path, crops: list[Crop], reals: list[Pixels]) -> None:
    """Write the reals once; every generator's folder has them as links to the same bytes."""
    first, *others = GENERATORS
    _write_set(folder / first / "0_real", crops, reals)
    for name in others:
        target = folder / name / "0_real"
        target.mkdir(parents=True)
        for path in sorted((folder / first / "0_real").iterdir()):
            _link(path, target / path.name)


def _write_set(folder: Path, crops: list[Crop], images: list[Pixels]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for crop, image in zip(crops, images, strict=True):
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
        (folder / f"{crop.name}.jpg").write_bytes(buffer.getvalue())


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, target)
