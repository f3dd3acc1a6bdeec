"""Settings files that may name clusters and places outside their own folder.

A ``featcache.toml`` comes along with a folder that somebody else made. An engine that it names
would run in this process what a foreign cluster returns, and a path would let it choose where
features are written. Such settings count only in files that the user has trusted, as direnv and
git's ``safe.directory`` do. Trust is bound to the path and to the content: a changed file is
trusted again by hand.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from featcache.errors import SettingsError
from featcache.files import digest_bytes, read_file, read_text, write_atomic

ALWAYS = ("engine", "address")
"""Keys that need trust whatever they say: they decide what code runs."""

PLACES = ("cache", "weights")
"""Keys that need trust if they point outside the folder of the file."""


MAX_SETTINGS_BYTES = 1 << 20
"""Bytes of a settings file at the most."""


def trust_list() -> Path:
    """Return the file that lists what the user has trusted.

    Returns
    -------
    Path
    """
    return user_config_path("featcache") / "trusted.json"


def trust(path: Path) -> None:
    """Trust a settings file as it is now.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    SettingsError
        If it cannot be read.
    """
    try:
        digest = digest_bytes(read_file(path, MAX_SETTINGS_BYTES))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}.") from error
    known = _read() | {str(path.resolve()): digest}
    trust_list().parent.mkdir(parents=True, exist_ok=True)
    write_atomic(trust_list(), json.dumps(known, indent=1, sort_keys=True).encode())


def is_trusted(path: Path) -> bool:
    """Return whether the user has trusted a settings file with its present content.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    bool
    """
    return _read().get(str(path.resolve())) == digest_bytes(read_file(path, MAX_SETTINGS_BYTES))


def require_trust(path: Path, values: dict[str, Any]) -> None:
    """Raise an error if an untrusted file sets what needs trust.

    Parameters
    ----------
    path : Path
        The settings file.
    values : dict
        Its settings, with absolute paths.

    Raises
    ------
    SettingsError
        Naming the settings and the command that trusts the file.
    """
    needed = [name for name in ALWAYS if values.get(name) not in (None, "", "local")]
    folder = path.parent.resolve()
    for name in PLACES:
        value = values.get(name)
        places = value.values() if isinstance(value, dict) else [value] if value else []
        if any(not _is_below(folder, str(place)) for place in places):
            needed.append(name)
    if needed and not is_trusted(path):
        raise SettingsError(
            f"{path} sets {', '.join(needed)}, which decides where code runs or what is read and "
            "written outside its folder, and you have not trusted this file. Read it, then run "
            f"'featcache trust {path}', or give the setting as a flag."
        )


def _is_below(folder: Path, place: str) -> bool:
    target = os.path.realpath(folder / place)
    return target == str(folder) or target.startswith(f"{folder}{os.sep}")


def _read() -> dict[str, str]:
    try:
        known = json.loads(read_text(trust_list()))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
