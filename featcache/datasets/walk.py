"""What lies in a tree: every file below the root with its folder, size and time, containers opened.

Sorted by name, so that nothing depends on the order of the file system.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from featcache.datasets.containers import (
    SEPARATOR,
    TABLES,
    container_stem,
    is_container,
    open_container,
)
from featcache.datasets.tables import TableFile
from featcache.datasets.template import split_of_stem
from featcache.errors import DataError
from featcache.files import read_text

IMAGE_SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
        *(".ppm", ".pgm", ".jp2", ".avif", ".tga", ".heic", ".heif", ".jxl", ".ico", ".mpo"),
    )
)


NOISE = frozenset(("@eadir", "__macosx", "$recycle.bin", "system volume information"))
"""Folders that systems put into others' trees, in lower case."""

NO_IMAGES = "table without a column of images"
OTHER_SNAPSHOT = "older snapshot of a data set of the Hub"
SPLIT_ARCHIVE = "volume of a split archive (join the volumes and unpack them)"
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
    DataError
        If the root is a volume of a split archive.
    """
    if os.path.isfile(root):
        if root.lower().endswith(".zip") and os.path.exists(f"{root[:-4]}.z01"):
            raise DataError(
                f"{root} is the last volume of a split archive. Join the volumes "
                f"(zip -s 0 {os.path.basename(root)} --out joined.zip) and give the result."
            )
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
    if _is_hub_cache(entries):
        yield from _hub_cache(path, parts, (*ancestors, identity))
        return
    folder = Folder(parts)
    below = []
    containers = []
    for entry in entries:
        if _is_folder(entry) and suffix_of(entry.name) not in IMAGE_SUFFIXES:
            if not entry.name.startswith(".") and entry.name.lower() not in NOISE:
                below.append(entry)
        elif is_container(entry.name) and not entry.name.startswith("."):
            containers.append(entry)
        else:
            folder.files.append(_file(entry))
    yield folder
    unpacked = {entry.name.lower() for entry in below}
    stems = {os.path.splitext(name)[0].lower() for name in _volumes(folder)}
    saved = _saved_files(path, folder)
    for container in containers:
        stem = container_stem(container.name)
        is_table = container.name.lower().endswith(TABLES)
        problem = ""
        if stem.lower() in unpacked and not is_table:
            problem = COPY
        elif stem.lower() in stems and container.name.lower().endswith(".zip"):
            problem = SPLIT_ARCHIVE
        elif container.name.lower().endswith(".arrow") and (
            container.name not in saved if saved else container.name.startswith("cache-")
        ):
            problem = NOT_SAVED
        if problem:
            yield Folder((*parts, stem), container=container.path, problem=problem)
        else:
            yield from _inside(container.path, parts)
    for entry in below:
        match = _HUB.fullmatch(entry.name)
        name = match[1] if match else entry.name
        yield from _walk(entry.path, (*parts, name), (*ancestors, identity))


NOT_SAVED = "Arrow file of the library's own cache, not of the data set"


def _saved_files(path: str, folder: Folder) -> set[str]:
    """Return the Arrow files that ``state.json`` of a saved data set lists; none without it."""
    if not any(file.name == "state.json" for file in folder.files):
        return set()
    try:
        state = json.loads(read_text(os.path.join(path, "state.json")))
        return {entry["filename"] for entry in state["_data_files"]}
    except (ValueError, KeyError, TypeError, OSError):
        return set()


def _volumes(folder: Folder) -> list[str]:
    """Return the files of a folder that are first volumes of split zip files (``set.z01``)."""
    return [file.name for file in folder.files if suffix_of(file.name) == ".z01"]


def _is_hub_cache(entries: list[os.DirEntry[str]]) -> bool:
    """Return whether a folder is a data set in the cache of the Hugging Face Hub."""
    folders = [entry for entry in entries if entry.name in ("blobs", "snapshots")]
    return len(folders) == 2 and all(map(_is_folder, folders))


def _hub_cache(
    path: str, parts: tuple[str, ...], ancestors: tuple[tuple[int, int], ...]
) -> Iterator[Folder]:
    """Yield the folders of the snapshot that ``refs/main`` names, or of the only one."""
    snapshots = os.path.join(path, "snapshots")
    names = sorted(entry.name for entry in os.scandir(snapshots) if _is_folder(entry))
    main = ""
    if os.path.exists(os.path.join(path, "refs", "main")):
        main = read_text(os.path.join(path, "refs", "main")).strip()
    if main not in names and len(names) != 1:
        raise DataError(
            f"{path} has {len(names):,} snapshots, and refs/main names none of them. Give one: "
            f"{snapshots}/{names[0] if names else 'COMMIT'}."
        )
    chosen = main if main in names else names[0]
    for name in names:
        if name == chosen:
            yield from _walk(os.path.join(snapshots, name), parts, ancestors)
        else:
            yield Folder((*parts, name), problem=OTHER_SNAPSHOT)


_HUB = re.compile(r"(?:datasets--|[^/]+___)(?:[^/]+--)?([^/]+)")
_VERSION = re.compile(r"snapshots|[0-9a-f]{32,64}|\d+\.\d+\.\d+")


def name_of_root(root: Path) -> str:
    """Return the name that a root stands for; that of a snapshot is the data set's.

    Parameters
    ----------
    root : Path
        Folder, archive, table or list.

    Returns
    -------
    str

    Examples
    --------
    >>> name_of_root(Path("hub/datasets--me--faces/snapshots/0123456789abcdef0123456789abcdef"))
    'faces'
    """
    own = container_stem(root.name) if root.is_file() else root.name
    if match := _HUB.fullmatch(own):
        return match[1]
    rest, _ = split_of_stem(re.sub(r"[-_.]?\d+(-of-\d+)?$", "", own))
    if _VERSION.fullmatch(own) or rest in ("", "data"):
        for folder in root.parents:
            if match := _HUB.fullmatch(folder.name):
                return match[1]
    return own


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
    stem = container_stem(path)
    top = () if parts is None else (*parts, stem)
    folders: dict[tuple[str, ...], Folder] = {}
    container = open_container(path)
    mtime_ns = os.stat(path).st_mtime_ns
    is_table = isinstance(container, TableFile)
    if isinstance(container, TableFile) and not container.columns:
        yield Folder(top, container=path, problem=NO_IMAGES)
        return
    for member in container.members():
        *above, name = [part for part in member.name.split("/") if part not in ("", ".")]
        key = (*top, *above) if not is_table else top
        folder = folders.setdefault(key, Folder(key, container=path))
        full = f"{path}{SEPARATOR}{member.name}"
        folder.files.append(File(name, full, member.n_bytes, mtime_ns))
    for key in sorted(folders):
        if not any(part.startswith((".", "__MACOSX")) for part in key[len(top) :]):
            folders[key].files.sort()
            yield folders[key]
