"""Run the doctests under the installed names (pytest's own finder would import `cache`)."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = ("featcache", "featcache.cache", "featcache.cli")


def modules() -> list[str]:
    names = set(PACKAGES)
    for name in PACKAGES:
        package = importlib.import_module(name)
        names |= {m.name for m in pkgutil.walk_packages(package.__path__, f"{name}.")}
    return sorted(n for n in names if not n.endswith("__main__"))


@pytest.mark.parametrize("name", modules())
def test_doctests(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name), verbose=False).failed == 0
