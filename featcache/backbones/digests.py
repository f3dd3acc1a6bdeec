"""Digests of weights files, remembered between runs: a file of gigabytes is read once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

from platformdirs import user_cache_path

from featcache.backbones.weights import parse_weights
from featcache.errors import StoreError, WeightsError
from featcache.files import write_atomic
from featcache.hashing import digest_file

SETTLED_S = 2.0
"""A file changed less than this long ago is not remembered: its time could not tell a further change."""

KEPT = 1000


def remembered_digest(path: Path) -> str:
    """Return the digest of a file; one of known path, size and time of change is not read again.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        As :func:`featcache.hashing.digest_file` gives it.
    """
    real = path.resolve()
    status = real.stat()
    entry = f"{real}|{status.st_size}|{status.st_mtime_ns}"
    memo = _read()
    if entry not in memo:
        memo[entry] = digest_file(real)
        if time.time() - status.st_mtime > SETTLED_S:
            _write(memo)
    return memo[entry]


def weights_identities(values: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Return which weights features shall come from, as their keys say it, by backbone.

    Parameters
    ----------
    values : iterable of str
        What ``--weights`` says: ``FILE`` or ``NAME=FILE``; ``blake2b:DIGEST`` may stand for a file
        that is not on this machine.
    names : iterable of str
        The features of the command.

    Raises
    ------
    SettingsError
        As :func:`~featcache.backbones.weights.parse_weights`.
    WeightsError
        If a file cannot be read.
    """
    return {name: _identity(path) for name, path in parse_weights(values, names).items()}


def _identity(path: Path) -> str:
    if str(path).startswith("blake2b:"):
        return str(path)
    try:
        return f"blake2b:{remembered_digest(path)}"
    except OSError as error:
        raise WeightsError(
            f"The weights file {path} cannot be read: {error.strerror or error}. Correct --weights."
        ) from error


def _file() -> Path:
    return user_cache_path("featcache") / "weights.json"


def _read() -> dict[str, str]:
    try:
        memo = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # lost or damaged: the files are read again
    good = isinstance(memo, dict) and all(isinstance(value, str) for value in memo.values())
    return memo if good else {}


def _write(memo: dict[str, str]) -> None:
    newest = dict(list(memo.items())[-KEPT:])
    try:
        write_atomic(_file(), json.dumps(newest, indent=1).encode())
    except StoreError:
        return  # a home that cannot be written costs a second reading, nothing else
