"""Images inside tar, zip and Parquet files, read in place.

A member is named by a path of its own: the container's path, ``::`` and the member's name (for Parquet
``row/column``). :func:`read_bytes` reads such a path and an ordinary one alike.
"""

from __future__ import annotations

import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from featcache.errors import DataError

SEPARATOR = "::"
"""Between a container and its member."""

SUFFIXES = (".tar", ".zip", ".parquet")
OPEN_CONTAINERS = 64
"""Containers of a process whose tables of contents are kept."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a container: its name there and its size."""

    name: str
    n_bytes: int


class Container(Protocol):
    """A file that holds files; reading is safe from several threads."""

    def members(self) -> Iterator[Member]:
        """Yield the files, in the container's order."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a member; ``KeyError`` where there is none of the name."""


def is_container(name: str) -> bool:
    """Say whether a file of this name is read as a container."""
    return name.lower().endswith(SUFFIXES)


def read_bytes(path: str) -> bytes:
    """Return the bytes of a sample: of a file, or of a member of a container.

    Parameters
    ----------
    path : str
        As it stands in a manifest.

    Raises
    ------
    OSError
        If the file cannot be read, or the container has no such member.
    """
    head, separator, member = path.partition(SEPARATOR)
    if not separator or os.path.exists(path):
        with open(path, "rb") as file:
            return file.read()
    try:
        return open_container(head).read(member)
    except KeyError as error:
        raise FileNotFoundError(2, f"{head} has no member", member) from error
    except DataError as error:
        raise OSError(str(error)) from error


def open_container(path: str) -> Container:
    """Return the container; its table of contents is read once per process.

    Raises
    ------
    DataError
        If it is damaged or of another kind than its name says.
    """
    status = os.stat(path)
    return _open(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=OPEN_CONTAINERS)
def _open(path: str, size: int, mtime_ns: int) -> Container:
    suffix = Path(path).suffix.lower()
    try:
        if suffix == ".parquet":
            # pyarrow takes a while to import, and most data sets have no Parquet.
            from featcache.datasets.parquet import ParquetFile

            return ParquetFile(path)
        return TarFile(path) if suffix == ".tar" else ZipFile(path)
    except (tarfile.TarError, zipfile.BadZipFile, ValueError, EOFError) as error:
        raise DataError(
            f"{path!r} is no readable {suffix[1:]} file: {error}. Remove or replace it."
        ) from error


class TarFile:
    """An uncompressed tar: members are read at their offsets, without a lock."""

    def __init__(self, path: str) -> None:
        with tarfile.open(path, "r:") as tar:
            found = [member for member in tar if member.isreg()]
        self._at = {member.name: (member.offset_data, member.size) for member in found}
        self._path = path

    def members(self) -> Iterator[Member]:
        """Yield the regular files."""
        yield from (Member(name, size) for name, (_, size) in self._at.items())

    def read(self, name: str) -> bytes:
        """Return the bytes of a member."""
        offset, size = self._at[name]
        with open(self._path, "rb") as file:
            file.seek(offset)
            return file.read(size)


class ZipFile:
    """A zip; one reader at a time."""

    def __init__(self, path: str) -> None:
        self._zip = zipfile.ZipFile(path)
        self._lock = threading.Lock()

    def members(self) -> Iterator[Member]:
        """Yield the files."""
        for info in self._zip.infolist():
            if not info.is_dir():
                yield Member(info.filename, info.file_size)

    def read(self, name: str) -> bytes:
        """Return the bytes of a member; a damaged or encrypted one is an OSError."""
        with self._lock:
            try:
                return self._zip.read(name)
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
                raise OSError(f"damaged or encrypted in the zip file: {error}") from error
