"""A dry run writes nothing: every command that has one, with the files around it compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import typer
from PIL import Image

from featcache.cli.app import app

Call = Callable[..., Any]
LITE = "efficientnet-lite0"

COMMANDS: dict[str, list[list[str]]] = {
    "datasets scan": [["{tree}"]],
    "extract": [["--backbone", LITE, "--data", "{tree}"]],
    "probe": [[LITE, "--data", "{tree}"]],
    "ablate": [[LITE, "--data", "{tree}", "--C", "0.1,1"]],
    "finetune": [["--backbone", LITE, "--data", "{tree}", "--blocks", "0", "--epochs", "1"]],
    "run": [
        ["robustness", "--backbone", LITE, "--data", "{tree}", "--out", "{out}"],
        ["boundary", "--backbone", LITE, "--photos", "{tree}", "--out", "{out}"],
        ["boundary", "--backbone", LITE, "--out", "{out}"],
        ["demo", "--out", "{out}"],
    ],
}
"""What to call each with; a new command with ``--dry-run`` has to be added here."""
NEED_FEATURES = {"probe", "ablate"}


def _iter_commands(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child, sub in children.items():
        yield from _iter_commands(sub, f"{name} {child}".strip())


def test_every_command_with_a_dry_run_is_tried_here() -> None:
    commands = dict(_iter_commands(typer.main.get_command(app)))
    with_dry_run = {
        name
        for name, command in commands.items()
        if any("--dry-run" in parameter.opts for parameter in command.params)
    }
    assert with_dry_run == set(COMMANDS)


def _files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return time of change and content of everything below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree in an empty working directory, and nothing else."""
    folder = tmp_path / "place"
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        for kind in ("0_real", "1_fake"):
            target = folder / "tree" / split / "progan" / kind
            target.mkdir(parents=True)
            for i in range(6):
                pixels = noise.integers(0, 255, (256, 256, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(target / f"{split}{kind}{i}.png")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("with_store", [False, True], ids=["no store", "store"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [(name, arguments) for name, calls in COMMANDS.items() for arguments in calls],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_dry_run_writes_nothing(
    featcache: Call, place: Path, name: str, arguments: list[str], with_store: bool
) -> None:
    paths = {"tree": place / "tree", "out": place / "out"}
    if with_store and name in NEED_FEATURES:
        assert featcache("extract", "--backbone", LITE, "--data", place / "tree").code == 0
    elif with_store:
        assert featcache("datasets", "scan", place / "tree").code == 0
    before = _files(place)
    filled = [argument.format(**paths) for argument in arguments]
    ran = featcache(*name.split(), *filled, "--dry-run", "--json")
    if name in NEED_FEATURES and not with_store:
        assert ran.code in (3, 4), ran.err
        assert _files(place) == before
        return
    assert ran.code == 0, ran.err
    assert _files(place) == before
    spoken = featcache(*name.split(), *filled, "--dry-run")
    assert spoken.code == 0, spoken.err
    assert _files(place) == before
    assert ran.json["dry_run"] is True
