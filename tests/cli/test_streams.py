"""What reaches standard output: data and nothing else, and a plain error where it cannot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_full_standard_output_is_one_line_and_exit_code_4(extra: list[str]) -> None:
    command = [sys.executable, "-m", "featcache.cli", "backbones", "ls", *extra]
    with FULL.open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr == ("Error: standard output cannot be written: No space left on device.\n")


def test_a_store_error_leaves_standard_output_empty(
    featcache: Callable[..., Any], tree: Path, tmp_path: Path
) -> None:
    assert featcache("datasets", "scan", tree, "--cache", tmp_path / "store").code == 0
    ran = featcache("probe", "--features", "clip", "--cache", tmp_path / "store", "--data", tree)
    assert ran.code == 4
    assert ran.out == ""
