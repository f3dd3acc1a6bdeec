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

TRAIN = "cyclegan"
"""The generator that the demo trains on."""

VERSION = 2
"""Of the recipe; a tree of another recipe is made anew."""

QUALITY = 92
"""JPEG quality of everything, real and fake: one codec, or the probe learns the codec."""

RECORD = "demo.json"
N_REALS, N_REALS_FULL = 90, 200
"""Distinct crops at least: in the default tree and in the full one."""


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


def build_tree(
    out: Path, *, photos: Path | None = None, full: bool = False, n_reals: int | None = None
) -> DemoTree:
    """Make ``<out>/data/{train,test}/<generator>/{0_real,1_fake}/<photo>__<crop>.jpg``.

    The training split holds :data:`TRAIN` alone: most of the time goes into making fakes.

    Parameters
    ----------
    out : Path
    photos : Path, optional
        The user's own photographs; those that packages carry by default.
    full : bool
        Make training fakes of every generator, and twice as many crops.
    n_reals : int, optional
        Distinct crops at least; :data:`N_REALS` or :data:`N_REALS_FULL` by default.

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
    n_reals = n_reals or (N_REALS_FULL if full else N_REALS)
    if photos is None and _is_finished(root, record, _recipe("packaged", n_reals, full)):
        return _tree(root, record, built=False)
    loaded = load_folder(photos) if photos else load_packaged()
    recipe = _recipe([photo.digest for photo in loaded] if photos else "packaged", n_reals, full)
    if _is_finished(root, record, recipe):
        return _tree(root, record, built=False)
    crops = plan_crops({photo.name: photo.image.size for photo in loaded}, n_reals)
    held_out = held_out_photos(sorted(photo.name for photo in loaded))
    splits = {
        "train": [crop for crop in crops if crop.photo not in held_out],
        "test": [crop for crop in crops if crop.photo in held_out],
    }
    record = {
        "recipe": recipe,
        "n_crops": len(crops),
        "n_files": 2 * sum(len(splits[s]) * len(_generators(s, full)) for s in splits),
        "photos": [
            {name: getattr(photo, name) for name in ("name", "digest", "credit", "licence")}
            for photo in loaded
        ],
    }
    _write_whole(root, {photo.name: photo for photo in loaded}, splits, record)
    return _tree(root, record, built=True)


def _is_finished(root: Path, record: dict[str, Any], recipe: dict[str, Any]) -> bool:
    """Say whether the tree is of this recipe and has all its files."""
    if record.get("recipe") != recipe:
        return False
    return sum(1 for _ in root.rglob("*.jpg")) == int(record["n_files"])


def _generators(split: str, full: bool) -> list[str]:
    """Return the generators that make fakes for a split."""
    return list(GENERATORS) if full or split == "test" else [TRAIN]


def _recipe(photos: Any, n_reals: int, full: bool) -> dict[str, Any]:
    return {
        "version": VERSION,
        "photos": photos,
        "n_reals": n_reals,
        "full": full,
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
        # Trees of the first version have no "n_files".
        if set(record) | {"n_files"} != {"recipe", "n_crops", "n_files", "photos"}:
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
    root: Path, photos: dict[str, Photo], splits: dict[str, list[Crop]], record: dict[str, Any]
) -> None:
    """Make the tree in a temporary folder beside its place, then put it there."""
    full = record["recipe"]["full"]
    with whole_folder(root) as folder, progress("fakes", record["n_files"] // 2) as advance:
        for split, crops in splits.items():
            reals = [crop_image(photos[crop.photo], crop) for crop in crops]
            styles = [reals[i] for i in style_of(crops)]
            names = _generators(split, full)
            _write_reals(folder / split, names, crops, reals)
            for name in names:
                fakes = make_fakes(name, reals, styles, advance)
                _write_set(folder / split / name / "1_fake", crops, fakes)
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


def _write_reals(folder: Path, names: list[str], crops: list[Crop], reals: list[Pixels]) -> None:
    """Write the reals once; every generator's folder has them as links to the same bytes."""
    first, *others = names
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
