"""Files that appear whole or not at all, and the words for a disk that says no.

Identity: canonical JSON and digests. Nothing else in featcache makes a digest that names something.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
import socket
import stat
import tempfile
import time
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast, overload

from featcache.errors import FeatcacheError, StoreError

if TYPE_CHECKING:
    from typing_extensions import Buffer

StrPath = str | os.PathLike[str]
"""A path as the operating system takes it."""

TEMPORARY_PREFIX = ".tmp-"
"""Every temporary file starts like this, then host and process: what a killed one left is
recognised.
"""


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that no reader ever sees half of it.

    Parameters
    ----------
    path : Path
        The file to write; its folder is made where it is missing.
    data : bytes

    Raises
    ------
    StoreError
        If the disk is full, read-only or gone. ``path`` is then as it was before.
    """
    with atomic_file(path, len(data)) as file:
        file.write(data)


@contextmanager
def atomic_file(path: Path, n_bytes: int = 0) -> Iterator[BinaryIO]:
    """Give a file to write that becomes ``path`` when the block ends well, and else vanishes.

    The bytes go to a temporary file in the same folder, are flushed to the disk and renamed; then
    the folder is flushed, so that the name survives a power cut too.

    Parameters
    ----------
    path : Path
    n_bytes : int
        How many will be written, for the message about a full disk.

    Yields
    ------
    BinaryIO

    Raises
    ------
    StoreError
        If the disk is full, read-only or gone. ``path`` is then as it was before.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=temporary_prefix(), dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except StoreError:
        raise
    except OSError as error:
        raise store_error(error, path, n_bytes) from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # the first error is the one to tell
                Path(temporary).unlink(missing_ok=True)


def temporary_is_dead(path: Path, max_age_s: float = 86_400) -> bool:
    """Say whether a temporary file was left by a process of this machine that is gone, or a day
    ago.

    Parameters
    ----------
    path : Path
        File or folder.
    max_age_s : float
        Age in seconds from which a temporary file of another host is dead.

    Returns
    -------
    bool
    """
    match = re.match(rf"{re.escape(TEMPORARY_PREFIX)}([0-9a-f]{{8}})-(\d+)-", path.name)
    try:
        if match is None:  # not ours: somebody's own file beside a target
            return False
        if match[1] == _host_digest():
            os.kill(int(match[2]), 0)
            return False
        return time.time() - path.lstat().st_mtime > max_age_s
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # no permission: it lives; or the file has just gone
        return False


def temporary_prefix() -> str:
    """Return how the names of this process's temporary files begin.

    Returns
    -------
    str
    """
    return f"{TEMPORARY_PREFIX}{_host_digest()}-{os.getpid()}-"


def _host_digest() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


@contextmanager
def whole_folder(root: Path) -> Iterator[Path]:
    """Make a folder that appears whole or not at all, in the place of an older one.

    Parameters
    ----------
    root : Path
        Where the folder shall be.

    Yields
    ------
    Path
        A temporary folder beside it, to be filled; it is put in place when the block ends without
        an error, and removed otherwise.

    Raises
    ------
    StoreError
        If the disk is full, read-only or gone.
    """
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        # Remove the folders that earlier runs left when they were killed.
        for leftover in root.parent.glob(f"{TEMPORARY_PREFIX}*"):
            if leftover.is_dir() and temporary_is_dead(leftover):
                shutil.rmtree(leftover, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=temporary_prefix(), dir=root.parent))
        try:
            yield folder
            folder.chmod(0o777 & ~_umask())
            # Put a folder in its place; the old one leaves that place whole, so that a kill
            # leaves no half.
            if root.exists():
                old = Path(tempfile.mkdtemp(prefix=temporary_prefix(), dir=root.parent))
                os.replace(root, old)
                os.replace(folder, root)
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(folder, root)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except FeatcacheError:  # some of them are OSErrors too, and say what is wrong already
        raise
    except OSError as error:
        raise store_error(error, root) from error


def printable(text: str) -> str:
    """Return a text with escapes for those bytes of a file name that are not valid UTF-8.

    Parameters
    ----------
    text : str
        Text, as the operating system gives it.

    Returns
    -------
    str
        Text that can be printed.

    Examples
    --------
    >>> print(printable("a\\udcff.png"))
    a\\udcff.png
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def terminal_text(text: str) -> str:
    r"""Return a text without anything that a terminal acts on; line ends stay.

    Parameters
    ----------
    text : str
        May hold names from files.

    Returns
    -------
    str
        Control characters (ANSI sequences), marks of writing direction and surrogates are
        backslash escapes.

    Examples
    --------
    >>> terminal_text("a\x1b[31m\u202e\n")
    'a\\x1b[31m\\u202e\n'
    """
    if text.isprintable():
        return text
    return "".join(
        c
        if c.isprintable() or c == "\n" or unicodedata.category(c) == "Zs"
        else c.encode("unicode_escape").decode()
        for c in text
    )


def require_below(root: Path, folder: Path) -> None:
    """Refuse a folder that a link leads out of a store, before something is written there.

    Parameters
    ----------
    root : Path
        The store; it may be a link itself.
    folder : Path
        Below it by name; it need not exist.

    Raises
    ------
    StoreError
        If it lies elsewhere.
    """
    real, place = os.path.realpath(root), os.path.realpath(folder)
    if place != real and not place.startswith(real.rstrip(os.sep) + os.sep):
        raise StoreError(
            f"{folder} leads out of the store {root} to {place}; nothing is written there. Remove "
            "the link, or name the folder that is meant as --cache."
        )


def store_error(
    error: OSError, path: Path, n_bytes: int = 0, *, verb: str = "written"
) -> StoreError:
    """Return the error that says in a user's words why ``path`` could not be written (or read).

    Parameters
    ----------
    error : OSError
        Error that was raised.
    path : Path
        File or folder.
    n_bytes : int
        Size in bytes.
    verb : str
        What failed, for the message.

    Returns
    -------
    StoreError
        The error that says in a user's words why ``path`` could not be written (or read).
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"The disk is full: writing {path} needs {n_bytes:,} bytes and {_free(path):,} are"
            " free. What was finished before is kept; free some space or choose another folder,"
            " then run the same command again."
        )
    if error.errno in (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV):
        return StoreError(
            f"{path} cannot be {verb}: {error.strerror}. The disk or its network share has failed; "
            "what was finished before is kept. Look at the disk, then run the same command again."
        )
    if verb == "written" and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StoreError(
            f"{path} cannot be written: {error.strerror}. "
            "Make the folder writable or choose another one (--cache, --out)."
        )
    return StoreError(f"{path} cannot be {verb}: {error.strerror or error}.")


def check_room(folder: Path, n_bytes: int, what: str) -> None:
    """Refuse to begin what the disk cannot hold.

    Parameters
    ----------
    folder : Path
        Folder that is read or written.
    n_bytes : int
        Size in bytes.
    what : str
        What is being done, for messages.

    Raises
    ------
    StoreError
        If fewer than ``n_bytes`` are free for the folder.
    """
    free = _free(folder / "file")
    if n_bytes > free:
        raise StoreError(
            f"The disk is full: {what} need {n_bytes:,} bytes and {free:,} are free for {folder}. "
            "Nothing was begun. Free some space or choose another folder (--cache)."
        )


def _free(path: Path) -> int:
    """Return the free bytes on the disk that would hold ``path``."""
    for folder in path.parents:
        if folder.exists():
            return shutil.disk_usage(folder).free
    return 0


def _umask() -> int:
    """Return the process's umask, which mkstemp ignores and a shared store needs."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


MAX_READ_BYTES = 1 << 32
"""Bytes of a file that is read into memory, at the most, where a reader sets no lower limit."""


@overload
def open_file(path: StrPath, buffering: Literal[0]) -> io.FileIO: ...
@overload
def open_file(path: StrPath, buffering: Literal[-1] = ...) -> io.BufferedReader: ...
def open_file(path: StrPath, buffering: int = -1) -> io.FileIO | io.BufferedReader:
    """Open a regular file for reading, and nothing else.

    A pipe would be waited for, a device may have no end, and opening one may do something. Every
    file that featcache reads is opened here, so that a name in a folder, list or store that leads
    to such a thing is an error like that of a file without permission.

    Parameters
    ----------
    path : str or PathLike
        Links are followed.
    buffering : {-1, 0}
        0 gives the file without a buffer, as in :func:`open`.

    Returns
    -------
    io.BufferedReader or io.FileIO
        In binary mode; closed by the caller.

    Raises
    ------
    OSError
        If it cannot be opened, or is a folder, pipe, socket or device.
    """
    flags = os.O_RDONLY | _flag("O_NONBLOCK") | _flag("O_CLOEXEC") | _flag("O_BINARY")
    _require_regular(os.stat(path).st_mode, path)  # a device is not even opened
    handle = os.open(path, flags | _flag("O_NOCTTY"))
    try:
        _require_regular(os.fstat(handle).st_mode, path)  # it may have been exchanged since
        return cast("io.FileIO | io.BufferedReader", os.fdopen(handle, "rb", buffering))
    except BaseException:
        os.close(handle)
        raise


def read_file(path: StrPath, max_bytes: int = MAX_READ_BYTES) -> bytes:
    """Return the bytes of a regular file, a bounded number of them.

    Parameters
    ----------
    path : str or PathLike
    max_bytes : int
        Refuse a longer file, whatever length it has when it is opened.

    Returns
    -------
    bytes

    Raises
    ------
    OSError
        As for :func:`open_file`, or if the file is longer.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise _too_long(path, max_bytes)
        data = file.read(min(size, max_bytes) + 1)
        if len(data) > size:  # it grows, or is of a file system that knows no sizes
            data += file.read(max_bytes + 1 - len(data))
        if len(data) > max_bytes:
            raise _too_long(path, max_bytes)
    return data


def open_text(path: StrPath, newline: str | None = "") -> io.TextIOWrapper:
    """Open a regular file for reading as text; bytes that are no UTF-8 are kept as surrogates.

    Parameters
    ----------
    path : str or PathLike
    newline : str, optional
        As in :func:`open`.

    Returns
    -------
    io.TextIOWrapper
        Closed by the caller. A byte-order mark is dropped.

    Raises
    ------
    OSError
        As for :func:`open_file`.
    """
    return io.TextIOWrapper(
        open_file(path), encoding="utf-8-sig", errors="surrogateescape", newline=newline
    )


def read_text(path: StrPath, max_bytes: int = 1 << 26) -> str:
    """Return the text of a regular file in UTF-8, of bounded length.

    Parameters
    ----------
    path : str or PathLike
    max_bytes : int

    Returns
    -------
    str

    Raises
    ------
    OSError
        As for :func:`read_file`.
    ValueError
        If it is no UTF-8.
    """
    return read_file(path, max_bytes).decode("utf-8")


def require_file(path: StrPath) -> None:
    """Raise an error for what is no regular file, before a library opens it by its name.

    Parameters
    ----------
    path : str or PathLike

    Raises
    ------
    OSError
        As for :func:`open_file`.
    """
    open_file(path).close()


def _flag(name: str) -> int:
    """Return a flag of ``os.open``; 0 where the system has none of the name."""
    return int(getattr(os, name, 0))


def _require_regular(mode: int, path: StrPath) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(
            errno.EINVAL, "it is no regular file but a pipe, socket or device", os.fspath(path)
        )


def _too_long(path: StrPath, max_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"it has more than {max_bytes:,} bytes", os.fspath(path))


DIGEST_BYTES = 16
"""128 bits: no two of a billion images share an id by accident (odds below 1e-20)."""

BLOCK_BYTES = 1 << 20


def canonical_json(value: Any) -> str:
    """Return the one JSON text of ``value``: sorted keys, no spaces, ASCII, no NaN.

    Parameters
    ----------
    value : Any
        Value to convert.

    Returns
    -------
    str
        The one JSON text of ``value``.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": [0.5, None]})
    '{"a":[0.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_bytes(data: bytes, *more: Buffer) -> str:
    """Return the digest of ``data``: 32 hexadecimal digits (BLAKE2b, 128 bits).

    Parameters
    ----------
    data : bytes
        Bytes to hash.
    *more : bytes-like
        What follows on them; as if it were one text, without a copy of all.

    Returns
    -------
    str
        The digest of ``data``.

    Examples
    --------
    >>> digest_bytes(b"")
    'cae66941d9efbd404e4d88758ea67670'
    """
    state = hashlib.blake2b(data, digest_size=DIGEST_BYTES)
    for part in more:
        state.update(part)
    return state.hexdigest()


def digest_json(value: Any) -> str:
    """Return the digest of the canonical JSON of ``value``.

    Parameters
    ----------
    value : Any
        Value to convert.

    Returns
    -------
    str
        The digest of the canonical JSON of ``value``.
    """
    return digest_bytes(canonical_json(value).encode("ascii"))


def digest_file(path: Path) -> str:
    """Return the digest of a file's bytes; a file of unchanged size and time is not read again.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    str
        The digest of a file's bytes.
    """
    status = path.stat()
    return _digest_file(path, status.st_size, status.st_mtime_ns)


@lru_cache
def _digest_file(path: Path, size: int, mtime_ns: int) -> str:
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with open_file(path) as file:
        while block := file.read(BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()
