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
        *(".ppm", ".pgm", ".jp2", ".avif", ".tga", ".heic", ".heif", ".jxl", ".ico", ".mpo"),
    )
)


NOISE = frozenset(("@eadir", "__macosx", "$recycle.bin", "system volume information"))
"""Folders that systems put into others' trees, in lower case."""

COPY = "archive beside the unpacked folder of its name"
NOT_LISTED = "folder that cannot be listed"


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
    problem : str
        Why the folder or container was not read; empty where it was.
    """

    parts: tuple[str, ...]
    files: list[File] = field(default_factory=list)
    container: str = ""
    problem: str = ""


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
        yield from _walk(root, (), ())


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


def _walk(
    path: str, parts: tuple[str, ...], ancestors: tuple[tuple[int, int], ...]
) -> Iterator[Folder]:
    status = os.stat(path)
    identity = (status.st_dev, status.st_ino)
    # Only an ancestor makes a loop: several links to one pool of reals are several folders.
    if identity in ancestors:
        return
    try:
        with os.scandir(path) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        if not parts:
            raise
        yield Folder(parts, problem=f"{NOT_LISTED}: {error.strerror or error}")
        return
    folder = Folder(parts)
    below = []
    containers = []
    for entry in entries:
        if _is_folder(entry) and suffix_of(entry.name) not in IMAGE_SUFFIXES:
            if not entry.name.startswith(".") and entry.name.lower() not in NOISE:
                below.append(entry)
        elif is_container(entry.name):
            containers.append(entry)
        else:
            folder.files.append(_file(entry))
    yield folder
    unpacked = {entry.name.lower() for entry in below}
    for container in containers:
        stem = os.path.splitext(container.name)[0]
        if stem.lower() in unpacked and not container.name.lower().endswith(".parquet"):
            yield Folder((*parts, stem), container=container.path, problem=COPY)
        else:
            yield from _inside(container.path, parts)
    for entry in below:
        yield from _walk(entry.path, (*parts, entry.name), (*ancestors, identity))


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
