"""Images inside archives and tables, read in place.

A member is named by a path of its own: the container's path, ``::`` and the member's name (for
tables ``row/column``). :func:`read_bytes` reads such a path and an ordinary one alike.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from functools import lru_cache

from featcache.datasets.archives import (
    COMPRESSED_TARS,
    MAX_MEMBER_BYTES,
    Container,
    TarFile,
    ZipFile,
    spool_tar,
)
from featcache.datasets.tables import ArrowFile, ParquetFile
from featcache.errors import DataError
from featcache.files import read_file

SEPARATOR = "::"
"""Between a container and its member."""

TABLES = (".parquet", ".arrow")
SUFFIXES = (".tar", *COMPRESSED_TARS, ".zip", *TABLES)
OPEN_CONTAINERS = 64
"""Containers of a process whose tables of contents are kept."""


def is_container(name: str) -> bool:
    """Say whether a file of this name is read as a container.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Returns
    -------
    bool
    """
    return bool(container_suffix(name))


def container_suffix(name: str) -> str:
    """Return the suffix of a container, in lower case; empty where the name is of none.

    Parameters
    ----------
    name : str
        Name or path of a file.

    Returns
    -------
    str

    Examples
    --------
    >>> container_suffix("progan.tar.gz"), container_suffix("photo.png")
    ('.tar.gz', '')
    """
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")


def container_stem(path: str) -> str:
    """Return the name of a container without its folder and suffix.

    Parameters
    ----------
    path : str
        Name or path of a file.

    Returns
    -------
    str

    Examples
    --------
    >>> container_stem("sets/progan.tar.gz"), container_stem("list.csv")
    ('progan', 'list')
    """
    name = os.path.basename(path)
    suffix = container_suffix(name)
    return name[: -len(suffix)] if suffix else os.path.splitext(name)[0]


def read_bytes(path: str) -> bytes:
    """Return the bytes of a sample: of a file, or of a member of a container.

    Parameters
    ----------
    path : str
        As it stands in a manifest.

    Returns
    -------
    bytes
        The bytes of a sample.

    Raises
    ------
    OSError
        If the file cannot be read, or the container has no such member.
    """
    head, separator, member = path.partition(SEPARATOR)
    if not separator or os.path.exists(path):
        return read_file(path, MAX_MEMBER_BYTES)
    try:
        return open_container(head).read(member)
    except KeyError as error:
        raise FileNotFoundError(2, f"{head} has no member", member) from error
    except DataError as error:
        raise OSError(str(error)) from error


def open_container(path: str) -> Container:
    """Return the container; its table of contents is read once per process.

    Parameters
    ----------
    path : str
        File or folder.

    Returns
    -------
    Container
        The container.

    Raises
    ------
    DataError
        If it is damaged or of another kind than its name says.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{path!r} cannot be read: {error.strerror or error}.") from error
    return _open(path, status.st_size, status.st_mtime_ns)


_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError)


@lru_cache(maxsize=OPEN_CONTAINERS)
def _open(path: str, size: int, mtime_ns: int) -> Container:
    suffix = container_suffix(path)
    try:
        if suffix == ".parquet":
            return ParquetFile(path)
        if suffix == ".arrow":
            return ArrowFile(path)
        if suffix in COMPRESSED_TARS:
            return TarFile(path, spool_tar(path))
        return TarFile(path) if suffix == ".tar" else ZipFile(path)
    except _DAMAGE as error:
        raise DataError(
            f"{path!r} is no readable {suffix[1:]} file: {error}. Remove or replace it."
        ) from error
