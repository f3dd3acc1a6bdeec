"""Files that appear whole or not at all, and the words for a disk that says no."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from featcache.errors import StoreError

TEMPORARY_PREFIX = ".tmp-"
"""Every temporary file starts like this, so that what a killed process left can be recognised."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that no reader ever sees half of it.

    The bytes go to a temporary file in the same folder, are flushed to the disk and renamed; then the
    folder is flushed, so that the name survives a power cut too.

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
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise store_error(error, path, len(data)) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def printable(text: str) -> str:
    """Return a text in which bytes of a file name that are no UTF-8 show as escapes.

    Examples
    --------
    >>> print(printable("a\\udcff.png"))
    a\\udcff.png
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def store_error(
    error: OSError, path: Path, n_bytes: int = 0, *, verb: str = "written"
) -> StoreError:
    """Return the error that says in a user's words why ``path`` could not be written (or read)."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"The disk is full: writing {path} needs {n_bytes:,} bytes and {_free(path):,} are free. "
            "What was finished before is kept; free some space or choose another folder, "
            "then run the same command again."
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
