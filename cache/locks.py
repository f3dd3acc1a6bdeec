"""Claims: who is making which shard, so that no two processes do the same work.

A claim is a lock on a small file beside the shard, held by the kernel for as long as its owner
lives: it cannot outlive a killed process, and nobody has to guess whether an owner is dead. On
file systems without such locks, filelock falls back to a file that is taken over only from an
owner that is provably gone (same host, no such process). The file says who holds it, for the one
who waits.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from featcache.errors import StoreError
from featcache.files import open_file, store_error
from featcache.parsing import parse_json

log = logging.getLogger("featcache")

POLL_S = 0.2
"""How often a waiting process looks again, at first; it slows down to :data:`POLL_MAX_S`."""
POLL_MAX_S = 5.0


@dataclass(frozen=True)
class Owner:
    """Who holds a claim.

    Parameters
    ----------
    host, user : str
    pid : int
    since : float
        Seconds since the epoch.
    """

    host: str
    user: str
    pid: int
    since: float

    @classmethod
    def this_process(cls) -> Owner:
        """Return this process.

        Returns
        -------
        Owner
            This process.
        """
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container without a name for the user
            user = str(os.getuid()) if hasattr(os, "getuid") else "?"
        return cls(socket.gethostname(), user, os.getpid(), time.time())

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S on %d %b", time.localtime(self.since))
        return f"process {self.pid} of {self.user} on {self.host}, since {clock}"


@contextmanager
def acquire(path: Path, made: Path) -> Iterator[bool]:
    """Hold the claim of a shard, if it is to be made and nobody else holds it.

    Parameters
    ----------
    path : Path
        The claim's file.
    made : Path
        The shard.

    Yields
    ------
    bool
        Whether this process is to make the shard. False: another one is at it, or it is there.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    """
    if path.is_symlink():
        raise StoreError(f"{path} is a link, not the lock of a shard. Remove it and run again.")
    lock = FileLock(path, timeout=0, thread_local=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flock not supported")  # its fallback is as safe
        held = _acquire(lock, path)
    if not held:
        yield False
        return
    native = not isinstance(lock, SoftFileLock)  # the other kind keeps its own record in the file
    try:
        if made.exists():  # looked at only now: its maker held the claim until it was there
            yield False
        else:
            if native:
                path.write_text(json.dumps(asdict(Owner.this_process())), encoding="utf-8")
            yield True
    finally:
        if native:
            with suppress(OSError):
                # Unlinked while locked: a process that has it open finds it gone and retries.
                path.unlink()
        lock.release()


def read_owner(path: Path) -> Owner | None:
    """Return who signed a claim; None where it is gone or not signed.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    Owner | None
        Who signed a claim.
    """
    try:
        with open_file(path) as file:
            text = file.read(4096)
        fields = parse_json(text)
        return Owner(
            str(fields["host"]), str(fields["user"]), int(fields["pid"]), float(fields["since"])
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def held(path: Path) -> bool:
    """Say whether a process that lives holds a claim's file.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    bool
    """
    if path.is_symlink() or not path.is_file():  # no process of ours made it
        return False
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except (Timeout, OSError, NotImplementedError):
        return True
    lock.release()
    return False


def wait(path: Path, what: str) -> None:
    """Return when a claim's file is gone or not held any more; say for whom we wait, once.

    Parameters
    ----------
    path : Path
    what : str
        What the other process makes, for a person.
    """
    pause, said = POLL_S, False
    while path.exists() and held(path):
        if not said:
            log.info("Waiting for %s: %s", what, read_owner(path) or "another process")
            said = True
        time.sleep(pause)
        pause = min(pause * 1.5, POLL_MAX_S)


def _acquire(lock: FileLock, path: Path) -> bool:
    try:
        lock.acquire()
    except Timeout:
        return False
    except OSError as error:
        raise store_error(error, path) from error
    return True
