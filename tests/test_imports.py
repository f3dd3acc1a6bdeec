"""The offline half loads no torch: checked in a fresh process, and the check is shown to be able
to fail.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = {"torch", "timm", "open_clip", "torchvision"}


def heavy_after(code: str) -> set[str]:
    """Return the heavy modules that a fresh process has loaded after running ``code``."""
    program = f"import sys\n{code}\nprint(*sorted(set(sys.modules) & {HEAVY!r}), file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    return set(result.stderr.splitlines()[-1].split())


def cli(*arguments: str) -> str:
    return f"from featcache.cli import run\nassert run({list(arguments)!r}) == 0"


def test_the_check_can_fail() -> None:
    assert "torch" in heavy_after("import torch")


def test_import_featcache() -> None:
    assert heavy_after("import featcache") == set()


def test_help() -> None:
    assert heavy_after(cli("--help")) == set()


def test_probe(extracted: tuple[Path, Path]) -> None:
    _, store = extracted
    command = cli(
        "probe", "--features", "efficientnet-lite0", "--cache", str(store), "--json", "-q"
    )
    assert heavy_after(command) == set()


def test_second_extract(extracted: tuple[Path, Path]) -> None:
    """Nothing is missing, so the backbone is not even loaded."""
    root, store = (str(path) for path in extracted)
    command = cli(
        "extract", "--backbone", "efficientnet-lite0", "--data", root, "--cache", store, "-q"
    )
    assert heavy_after(command) == set()
