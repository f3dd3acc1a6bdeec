"""Standard output that cannot be written is a plain error, not a bug."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
