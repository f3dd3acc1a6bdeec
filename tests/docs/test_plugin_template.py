"""The plug-in template in a package of its own: found by its entry point, listed, and true to
the contract.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "docs" / "examples" / "backbone-plugin"


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Install the template into a folder beside the environment, as pip does, without the
    network.
    """
    source, target = tmp_path / "source", tmp_path / "site"
    shutil.copytree(TEMPLATE, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*command, "--target", str(target), str(source)], check=True)
    return {**os.environ, "PYTHONPATH": str(target)}


@pytest.mark.slow  # half a minute, most of it torch starting twice
@pytest.mark.skipif(not TEMPLATE.is_dir(), reason="the tests run without the repository's docs")
def test_found_listed_and_true_to_the_contract(installed: dict[str, str], tmp_path: Path) -> None:
    listing = subprocess.run(
        [sys.executable, "-P", "-m", "featcache.cli", "backbones", "ls", "--json"],
        env=installed, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = {row["name"]: row for row in json.loads(listing.stdout)["backbones"]}
    assert rows["tiny"]["n_features"] == 192
    contract = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            str(TEMPLATE / "tests"),
        ],
        env=installed,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert contract.returncode == 0, contract.stdout
    assert "2 passed" in contract.stdout
