"""The documentation is true: every command and snippet in it is run, every link and file leads
somewhere.

In each page the fenced blocks are taken in order, in one folder with a small tree ``mydata`` and
a folder ``photos``: ``console`` lines that begin with ``$`` are run, ``python`` blocks are
executed, ``toml`` blocks after a comment ``<!-- file: NAME -->`` are written. What needs a
cluster, an account or minutes is marked ``<!-- not run: REASON -->`` right before its block, and
only such blocks are left out.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from featcache.cli import run
from featcache.testing import make_images, make_tree

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    if "examples" not in path.parts
)
EXTERNAL = ("make", "pip", "pre-commit", "featcache demo", "docker")
"""First words of commands that other tests run (make, the wheel, the demo): only their names are
checked.
"""

BLOCK = re.compile(
    r"^(?:<!-- (?P<note>.*?) -->\n+)?```(?P<kind>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    note: str


def blocks(page: Path) -> Iterator[Block]:
    for match in BLOCK.finditer(page.read_text("utf-8")):
        yield Block(match["kind"], match["text"], match["note"] or "")


def commands(block: Block) -> list[list[str]]:
    joined = block.text.replace("\\\n", " ")
    lines = [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
    return [shlex.split(line, comments=True) for line in lines]


def test_there_are_pages_and_they_have_blocks() -> None:
    assert len(PAGES) > 5
    assert sum(len(commands(block)) for page in PAGES for block in blocks(page)) > 20


def marked(page: Path) -> object:
    """A whole study with eight views takes minutes where cores are busy."""
    marks = [pytest.mark.slow] if page.stem == "studies" else []
    return pytest.param(page, marks=marks, id=page.relative_to(ROOT).as_posix())


@pytest.mark.parametrize("page", [marked(page) for page in PAGES])
def test_snippets(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    todo = [block for block in blocks(page) if not block.note.startswith("not run: ")]
    if any(block.kind in ("console", "python") for block in todo):
        furnish(work)
    names: dict[str, object] = {}
    for block in todo:
        if block.kind == "console":
            for command in commands(block):
                run_command(command)
        elif block.kind == "python":
            exec(compile(block.text, str(page), "exec"), names)  # noqa: S102
        elif block.note.startswith("file: "):
            Path(block.note.removeprefix("file: ")).write_text(block.text, "utf-8")


def furnish(work: Path) -> None:
    make_tree(work / "mydata", n=6)
    (work / "photos").mkdir()
    for number, image in enumerate(make_images(3, seed=7, size=96)):
        image.save(work / "photos" / f"photo{number}.jpg")


def run_command(command: list[str]) -> None:
    line = " ".join(command)
    if line.startswith(EXTERNAL):
        check_outside(command)
    elif command[0] == "featcache":
        assert run([*command[1:], *([] if "--json" in command else ["-q"])]) == 0, line
    elif command[0] == "cd":
        os.chdir(command[1])
    else:
        subprocess.run(command, check=True)


def check_outside(command: list[str]) -> None:
    if command[0] == "make":
        makefile = (ROOT / "Makefile").read_text("utf-8")
        assert all(
            re.search(rf"^{name}:", makefile, re.MULTILINE)
            for name in command[1:]
            if "=" not in name
        ), command
    extras = [part for part in command if "[" in part] if command[0] == "pip" else []
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for extra in extras:
        for name in extra[extra.index("[") + 1 : extra.index("]")].split(","):
            assert re.search(rf"^{name} = \[", project, re.MULTILINE), extra


@pytest.mark.slow
def test_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells run in their order, in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text("utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for number, source in enumerate(sources, 1):
        exec(compile(source, f"cell {number}", "exec"), names)  # noqa: S102
    assert len(sources) > 5
    assert (work / "head.safetensors").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", target) and not target.startswith("reference/"):
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_files_exist(page: Path) -> None:
    """Files of the project that a page names in backticks are there."""
    for name in re.findall(
        r"`((?:docs|benchmarks|featcache|tests|\.ci)/[\w./-]+)`", page.read_text("utf-8")
    ):
        assert (ROOT / name).exists(), f"{page}: {name}"
