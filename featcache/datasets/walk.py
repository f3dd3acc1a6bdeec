"""What lies in a tree: every file below the root with its folder, size and time, containers opened.

Sorted by name, so that nothing depends on the order of the file system.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from featcache.datasets.containers import SEPARATOR, is_container, open_container

IMAGE_SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
        *(".ppm", ".pgm", ".jp2", ".avif", ".tga"),
    )
)


class File(NamedTuple):
    """A file: its name, its path as it stands in a manifest, and why it cannot be read, if so."""

    name: str
    path: str
    n_bytes: int
    mtime_ns: int
    problem: str = ""


@dataclass(slots=True)
class Folder:
    """A folder and its files.

    Parameters
    ----------
    parts : tuple of str
        Names of the folders from the root, which is not among them, down to this one.
    files : list of File
        Sorted by name.
    container : str
        Path of the tar, zip or Parquet file that the folder lies in; empty for an ordinary one.
    """

    parts: tuple[str, ...]
    files: list[File] = field(default_factory=list)
    container: str = ""


def walk(root: str) -> Iterator[Folder]:
    """Yield the folders of a tree, also empty ones; links are followed, loops of links are not.

    Parameters
    ----------
    root : str
        A folder, or one container.

    Yields
    ------
    Folder
        The folders of a tree, also empty ones.

    Raises
    ------
    OSError
        If the root cannot be read.
    """
    if os.path.isfile(root):
        yield from _inside(root, None)
    else:
        yield from _walk(root, (), set())


def suffix_of(name: str) -> str:
    """Return the last extension in lower case, with its dot: ``a.b.PNG`` gives ``.png``.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Returns
    -------
    str
        The last extension in lower case, with its dot.
    """
    return os.path.splitext(name)[1].lower()


def _walk(path: str, parts: tuple[str, ...], seen: set[tuple[int, int]]) -> Iterator[Folder]:
    status = os.stat(path)
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    with os.scandir(path) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    folder = Folder(parts)
    below = []
    containers = []
    for entry in entries:
        if _is_folder(entry) and suffix_of(entry.name) not in IMAGE_SUFFIXES:
            if not entry.name.startswith("."):
                below.append(entry)
        elif is_container(entry.name):
            containers.append(entry.path)
        else:
            folder.files.append(_file(entry))
    yield folder
    for container in containers:
        yield from _inside(container, parts)
    for entry in below:
        yield from _walk(entry.path, (*parts, entry.name), seen)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _file(entry: os.DirEntry[str]) -> File:
    try:
        status = entry.stat()
    except OSError as error:
        return File(entry.name, entry.path, 0, 0, f"cannot be read: {error.strerror or error}")
    problem = ""
    if stat.S_ISDIR(status.st_mode):
        problem = "is a folder, not an image file"
    elif not stat.S_ISREG(status.st_mode):
        problem = "is no regular file"
    elif not status.st_size:
        problem = "the file is empty"
    n_bytes = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return File(entry.name, entry.path, n_bytes, status.st_mtime_ns, problem)


def _inside(path: str, parts: tuple[str, ...] | None) -> Iterator[Folder]:
    """Yield the folders of a container.

    It counts as a folder called by its stem; as the root (``parts`` None) it is the tree itself.
    """
    mtime_ns = os.stat(path).st_mtime_ns
    stem = os.path.splitext(os.path.basename(path))[0]
    top = () if parts is None else (*parts, stem)
    folders: dict[tuple[str, ...], Folder] = {}
    for member in open_container(path).members():
        *above, name = [part for part in member.name.split("/") if part not in ("", ".")]
        key = (*top, *above) if not path.lower().endswith(".parquet") else top
        folder = folders.setdefault(key, Folder(key, container=path))
        full = f"{path}{SEPARATOR}{member.name}"
        folder.files.append(File(name, full, member.n_bytes, mtime_ns))
    for key in sorted(folders):
        if not any(part.startswith((".", "__MACOSX")) for part in key[len(top) :]):
            folders[key].files.sort()
            yield folders[key]
