"""What all tests share: no settings from outside, a small tree, and a command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from featcache.cli import run
from featcache.testing import make_tree


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the user's variables and settings file out, and the working directory empty."""
    import os

    for name in [name for name in os.environ if name.startswith("FEATCACHE_")]:
        if name != "FEATCACHE_ASSETS":
            monkeypatch.delenv(name)
    empty = tmp_path / "cwd"
    empty.mkdir()
    monkeypatch.chdir(empty)


@dataclass(frozen=True)
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def featcache(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def call(*arguments: object) -> Ran:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "toy")


@pytest.fixture(scope="session")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tree and a store with its real EfficientNet-Lite0 features, made once by the command line."""
    folder = tmp_path_factory.mktemp("extracted")
    root, store = make_tree(folder / "toy"), folder / "store"
    command = [
        "extract",
        "--backbone",
        "efficientnet-lite0",
        "--data",
        root,
        "--cache",
        store,
        "-q",
    ]
    assert run([str(part) for part in command]) == 0
    return root, store
