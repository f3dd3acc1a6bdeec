"""Images inside tar and zip files: members are read in place, compressed tars from a copy.

A compressed tar cannot be read from its middle, so it is unpacked once, into a temporary file that
has no name and goes away with the process.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, cast

from featcache.files import TEMPORARY_PREFIX, open_file

MAX_MEMBERS = 20_000_000
"""Members of a container at the most: the largest published archives hold a few millions."""
MAX_MEMBER_BYTES = 1 << 30
"""Bytes of one image file at the most."""
MAX_RATIO = 1000
"""Unpacked over packed bytes of a member at the most; deflate cannot do more than 1,032."""
RATIO_FROM_BYTES = 1 << 26
"""Below this size a member may be as compressible as it likes: flat masks are."""


def _check_count(n: int) -> None:
    if n > MAX_MEMBERS:
        raise ValueError(f"it has more than {MAX_MEMBERS:,} members")


def _check_size(name: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise OSError(f"{name!r} has {size:,} bytes; {MAX_MEMBER_BYTES:,} are the limit")


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a container: its name there and its size."""

    name: str
    n_bytes: int


class Container(Protocol):
    """A file that holds files; reading is safe from several threads."""

    def members(self) -> Iterator[Member]:
        """Yield the files, in the container's order.

        Returns
        -------
        Iterator[Member]
            The files, in the container's order.
        """

    def read(self, name: str) -> bytes:
        """Return the bytes of a member; ``KeyError`` where there is none of the name.

        Parameters
        ----------
        name : str
            Name to look up or to show.

        Returns
        -------
        bytes
            The bytes of a member.
        """


class TarFile:
    """A tar: members are read at their offsets, without a lock.

    Parameters
    ----------
    path : str
    unpacked : file object, optional
        The unpacked bytes of a compressed tar, see :func:`spool_tar`.
    """

    def __init__(self, path: str, unpacked: BinaryIO | None = None) -> None:
        self._at: dict[str, tuple[int, int]] = {}
        self._path, self._unpacked = path, unpacked
        if unpacked is not None:
            weakref.finalize(self, unpacked.close)
        with self._open() as file, tarfile.open(fileobj=file, mode="r:") as tar:
            n_bytes = os.fstat(file.fileno()).st_size
            for member in tar:
                # tarfile keeps every header; only ours are needed.
                tar.members.clear()  # type: ignore[attr-defined]
                if member.isreg():
                    if member.offset_data + member.size > n_bytes:
                        raise ValueError(f"the member {member.name!r} is cut off")
                    self._at[member.name] = (member.offset_data, member.size)
                    _check_count(len(self._at))

    def _open(self) -> BinaryIO:
        if self._unpacked is None:
            return open_file(self._path)
        return open(self._unpacked.fileno(), "rb", closefd=False)

    def members(self) -> Iterator[Member]:
        """Yield the regular files.

        Yields
        ------
        Member
            The regular files.
        """
        yield from (Member(name, size) for name, (_, size) in self._at.items())

    def read(self, name: str) -> bytes:
        """Return the bytes of a member.

        Parameters
        ----------
        name : str
            Name to look up or to show.

        Returns
        -------
        bytes
            The bytes of a member.
        """
        offset, size = self._at[name]
        _check_size(name, size)
        if self._unpacked is not None:  # several threads share the handle, not its position
            return os.pread(self._unpacked.fileno(), size, offset)
        with open_file(self._path) as file:
            file.seek(offset)
            return file.read(size)


COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
FREE_BYTES = 1 << 30
"""Bytes that unpacking leaves free on the disk of temporary files."""


def spool_tar(path: str) -> BinaryIO:
    """Unpack a compressed tar into a temporary file without a name.

    Parameters
    ----------
    path : str
        A file whose name ends in one of :data:`COMPRESSED_TARS`.

    Returns
    -------
    BinaryIO
        The tar. It goes away when it is closed or the process ends.

    Raises
    ------
    ValueError
        If the file is damaged, unpacks to more than :data:`MAX_RATIO` times its size, or to more
        than the disk of temporary files can hold.
    """
    suffix = path.lower()
    opener: Callable[..., Any] = gzip.open
    if suffix.endswith(("xz", "bz2")):
        opener = lzma.open if suffix.endswith("xz") else bz2.open
    folder = tempfile.gettempdir()
    spool = cast(
        BinaryIO,
        tempfile.TemporaryFile(prefix=TEMPORARY_PREFIX, dir=folder),  # noqa: SIM115
    )
    try:
        with open_file(path) as packed, opener(packed, "rb") as stream:
            limit = max(RATIO_FROM_BYTES, MAX_RATIO * os.fstat(packed.fileno()).st_size)
            while block := stream.read(1 << 22):
                if spool.tell() + len(block) > limit:
                    raise ValueError(f"it unpacks to more than {MAX_RATIO:,} times its size")
                if shutil.disk_usage(folder).free < FREE_BYTES + len(block):
                    raise ValueError(
                        f"{folder} has no room for its unpacked bytes; unpack it yourself (tar -xf)"
                        " and give the folder, or set TMPDIR to a folder on a larger disk"
                    )
                spool.write(block)
        spool.seek(0)
    except (lzma.LZMAError, zlib.error) as error:
        spool.close()
        raise ValueError(str(error)) from error
    except BaseException:
        spool.close()
        raise
    return spool


class ZipFile:
    """A zip; one reader at a time."""

    def __init__(self, path: str) -> None:
        file = open_file(path)
        try:
            self._zip = zipfile.ZipFile(file)
            _check_count(len(self._zip.infolist()))
        except BaseException:
            file.close()
            raise
        weakref.finalize(self, file.close)  # zipfile closes only what it has opened itself
        self._lock = threading.Lock()

    def members(self) -> Iterator[Member]:
        """Yield the files.

        Yields
        ------
        Member
            The files.
        """
        for info in self._zip.infolist():
            if not info.is_dir():
                yield Member(info.filename, info.file_size)

    def read(self, name: str) -> bytes:
        """Return the bytes of a member; a damaged or encrypted one is an OSError.

        Parameters
        ----------
        name : str
            Name to look up or to show.

        Returns
        -------
        bytes
            The bytes of a member.

        Raises
        ------
        OSError
            If the file cannot be read.
        """
        with self._lock:
            try:
                info = self._zip.getinfo(name)
                _check_size(name, info.file_size)
                if info.file_size > max(RATIO_FROM_BYTES, MAX_RATIO * info.compress_size):
                    raise OSError(f"it unpacks to more than {MAX_RATIO:,} times its size")
                with self._zip.open(info) as member:
                    data = member.read(info.file_size)
                    if member.read(1):
                        raise OSError("it unpacks to more bytes than it declares")
                if len(data) != info.file_size:
                    raise OSError("it unpacks to fewer bytes than it declares")
                return data
            except (
                zipfile.BadZipFile,
                RuntimeError,
                NotImplementedError,
                EOFError,
                ValueError,
                zlib.error,
                lzma.LZMAError,
            ) as error:
                raise OSError(f"damaged or encrypted in the zip file: {error}") from error
