"""What ships is what lies in the tree, under the names it is meant to have."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {"featcache": "featcache", "featcache.cache": "cache", "featcache.cli": "cli"}


def packages_on_disk() -> set[str]:
    result = set()
    for package, folder in SOURCES.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            result.add(".".join((package, *parts)))
    return result


def test_every_package_on_disk_is_listed_in_pyproject() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(packages_on_disk())


def test_top_level_cache_and_cli_do_not_ship() -> None:
    files = metadata.files("featcache") or []
    assert not [f for f in files if f.parts[0] in {"cache", "cli", "tests"}]


@pytest.mark.parametrize("module", ["featcache.cache", "featcache.cli"])
def test_imports_under_its_installed_name_only(module: str) -> None:
    code = f"import sys, {module}; sys.exit({{'cache', 'cli'}} & set(sys.modules) != set())"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_gitignore_does_not_hide_the_package_cache() -> None:
    lines = (ROOT / ".gitignore").read_text().splitlines()
    assert not [line for line in lines if line.strip() in {"cache", "cache/", "cache*", "/cache/"}]


NEED_TORCH = {
    *("api", "attention", "backbones", "cli", "demo", "detect", "doctor", "engines", "extract"),
    *("finetune", "studies", "testing"),
}
"""Packages that may import torch, at least when they are called."""


def test_every_package_stands_in_a_contract() -> None:
    tree = ROOT / "featcache"
    modules = {p.stem for p in tree.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    names = {name for name in modules | {"cache", "cli"} if not name.startswith("_")}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    forbidden = {
        contract["forbidden_modules"][0]: {
            name.removeprefix("featcache.") for name in contract["source_modules"]
        }
        for contract in contracts["contracts"]
        if contract["type"] == "forbidden"
    }
    assert forbidden["torch"] == names - NEED_TORCH
    assert forbidden["h5py"] == names - {"cache"}
