"""Extract is killed and shared out, in a few runs; ``benchmarks/crash.py`` is the long form."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from featcache.testing import make_tree

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "crash.py"


def test_kills_cost_less_than_a_shard_and_writers_share(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-P", str(SCRIPT), "--kills", "6", "--writers", "2,4", "--images", "128"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads(ran.stdout)
    assert result["kills"]["kills"] == 6
    assert [run["writers"] for run in result["writers"]] == [2, 4]


def test_sigterm_drops_the_shard_in_the_making_and_says_how_to_go_on(tmp_path: Path) -> None:
    tree, store = make_tree(tmp_path / "toy", n=60), tmp_path / "store"
    command = [sys.executable, "-P", "-m", "featcache.cli", "extract", "--cache", str(store)]
    command += ["--backbone", "efficientnet-lite0", "--data", str(tree), "--batch-size", "4"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "FEATCACHE_SHARD_ROWS": "16"}
    )
    deadline = time.monotonic() + 120
    while not list(store.rglob("*.h5")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "What was finished is kept; run the same command to go on" in err
    assert "Traceback" not in err
    assert list(store.rglob("*.h5"))
    assert not [p for p in store.rglob("*") if ".tmp-" in p.name or p.suffix == ".claim"]
