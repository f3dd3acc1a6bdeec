"""What the folders of a tree mean: split, generator, category and label.

The layout read here is the field's own::

    <root>/[{train,val,test}/]<generator>/[<category>/]{0_real,1_fake}/*

(also ``real``/``fake`` and GenImage's ``nature``/``ai``). Everything below a class folder belongs to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from featcache.errors import DataError

CLASS_FOLDERS = {"0_real": 0, "1_fake": 1, "real": 0, "fake": 1, "nature": 0, "ai": 1}
SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}

EXPECTED = "<root>/{train,test}/<generator>/[<category>/]{0_real,1_fake}/*"

IMAGE_SUFFIXES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".gif",
        ".ppm",
        ".pgm",
        ".jp2",
        ".avif",
        ".tga",
    ]
)


@dataclass(frozen=True, slots=True)
class Place:
    """What the folders above an image say about it; ``split`` is empty where they say none."""

    split: str
    generator: str
    category: str
    label: int


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of a class folder; ``is_folder`` marks a folder that is named like an image."""

    path: Path
    place: Place
    is_folder: bool = False


def find_files(root: Path) -> Iterator[Found]:
    """Yield every entry below the class folders of ``root``, in sorted order.

    Parameters
    ----------
    root : Path
        The tree; links are followed, loops of links are not.

    Raises
    ------
    DataError
        If the folder is missing or holds no class folder: says what was expected and what was found.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder. Give the root of an image tree: {EXPECTED}")
    n_classes = 0
    for folder in _walk(root):
        if (place := read_place(folder.relative_to(root).parts, root.name)) is not None:
            n_classes += 1
            yield from _entries(folder, place)
    if not n_classes:
        raise DataError(_unknown_tree(root))


def read_place(parts: tuple[str, ...], root_name: str) -> Place | None:
    """Return what a folder's path below the root says, or None above the class folders.

    Examples
    --------
    >>> read_place(("test", "stylegan", "cat", "1_fake"), "data")
    Place(split='test', generator='stylegan', category='cat', label=1)
    """
    depth = next((i for i, part in enumerate(parts) if part.lower() in CLASS_FOLDERS), None)
    if depth is None:
        return None
    label = CLASS_FOLDERS[parts[depth].lower()]
    split, names = _split_and_names(parts[:depth])
    generator, *categories = names or (root_name,)
    return Place(split or SPLIT_FOLDERS.get(root_name, ""), generator, "/".join(categories), label)


def _split_and_names(above: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the split and the names from the generator down.

    Below a split folder the generator comes first (``data/train/progan/cat``: what stands above the split
    only leads to the tree); where nothing is below it, the generator stands above (``sdv5/train``).
    """
    for i, part in enumerate(above):
        if part.lower() in SPLIT_FOLDERS:
            return SPLIT_FOLDERS[part.lower()], above[i + 1 :] or above[:i]
    return "", above


def _walk(root: Path) -> Iterator[Path]:
    """Yield the folders of a tree in sorted order, each real folder once."""
    seen: set[tuple[int, int]] = set()
    for name, folders, _ in os.walk(root, followlinks=True):
        status = os.stat(name)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not _image_name(f))
        yield Path(name)


def _entries(folder: Path, place: Place) -> Iterator[Found]:
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        if not entry.is_dir():
            yield Found(Path(entry.path), place)
        elif _image_name(entry.name):
            yield Found(Path(entry.path), place, is_folder=True)


def _image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _unknown_tree(root: Path) -> str:
    names = sorted(entry.name for entry in os.scandir(root))
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") if names else "nothing"
    return (
        f"{root} holds no folders named 0_real and 1_fake (or real and fake). "
        f"Expected {EXPECTED}; found {shown}."
    )
