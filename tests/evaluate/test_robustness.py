"""The robustness table in the terminal comes from cached views: no forward pass, no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featcache.testing import make_tree

VIEWS = "clean,jpeg:50,blur:1"


def test_probe_prints_a_row_for_each_view(featcache: Callable[..., Any], tmp_path: Path) -> None:
    tree, store = make_tree(tmp_path / "toy", n=4), tmp_path / "store"
    common = ["--cache", store, "-q"]
    backbone = ["--backbone", "efficientnet-lite0", "--data", tree, "--view", VIEWS]
    assert featcache("extract", *backbone, *common).code == 0
    ran = featcache("probe", "--features", "efficientnet-lite0", "--test-view", VIEWS, *common)
    assert ran.code == 0, ran.err
    for view in VIEWS.split(","):
        assert any(line.split()[:1] == [view] for line in ran.out.splitlines()), ran.out
    program = (
        "import sys\nfrom featcache.cli import run\n"
        f"assert run(['probe', '--features', 'efficientnet-lite0', '--test-view', {VIEWS!r}, "
        f"'--cache', {str(store)!r}, '-q']) == 0\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True, capture_output=True)
