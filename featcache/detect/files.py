"""Which images are meant: files as they are named, and all images below folders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from featcache.errors import DataError
from featcache.hashing import digest_bytes
from featcache.images import decode

SUFFIXES = frozenset(Image.registered_extensions())
"""Files of these names are taken from a folder; a file that is named is taken whatever its name."""

Picture = Path | Image.Image


@dataclass(frozen=True)
class Item:
    """One image to score: a file, or an image in memory, with the digest that names it.

    ``problem`` says why it cannot be read; then there is no ``sample_id``.
    """

    path: str
    sample_id: str = ""
    memory: Image.Image | None = None
    problem: str = ""

    def open(self) -> Image.Image:
        """Return the image as RGB.

        Raises
        ------
        ImageError, OSError
            If it cannot be decoded or read.
        """
        if self.memory is not None:
            return self.memory.convert("RGB")
        return decode(Path(self.path).read_bytes())


def find_items(pictures: Iterable[str | Picture]) -> list[Item]:
    """Return the images that are meant, in the order named, the files of a folder sorted.

    Raises
    ------
    DataError
        If a path does not exist or a folder holds no image.
    """
    items: list[Item] = []
    for picture in pictures:
        if isinstance(picture, Image.Image):
            items.append(_in_memory(picture))
        else:
            items += [_in_file(path) for path in _files(Path(picture))]
    return items


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists() and not path.is_symlink():
            raise DataError(f"There is no file or folder {str(path)!r}.")
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.is_dir())
    if not found:
        raise DataError(f"The folder {str(path)!r} holds no file named like an image.")
    return found


def _in_file(path: Path) -> Item:
    try:
        return Item(str(path), digest_bytes(path.read_bytes()))
    except OSError as error:
        return Item(str(path), problem=f"cannot be read: {error.strerror or error}")


def _in_memory(image: Image.Image) -> Item:
    return Item("", digest_bytes(image.convert("RGB").tobytes()), memory=image)
