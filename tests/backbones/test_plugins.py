"""Backbones of other packages: by the same door, and a broken one is a warning that names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featcache.backbones import BACKBONES, describe_all, resolve
from featcache.errors import FeatcacheWarning, ResourceError

MODULE = """
from dataclasses import replace
from featcache.backbones.pretrained import RESNET50
GOOD = replace(RESNET50, name="mine", summary="of a plug-in")
WRONG = "no backbone"
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with one good, one broken and one wrong backbone, as pip would leave it."""
    info = tmp_path / "site" / "plug_in-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-in\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[featcache.backbones]\nmine = plug_in_module:GOOD\n"
        "broken = plug_in_that_is_not_there:X\nwrong = plug_in_module:WRONG\n"
    )
    (info.parent / "plug_in_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(info.parent))


@pytest.mark.usefixtures("plugins")
def test_a_broken_plug_in_is_a_warning_with_its_name_and_spoils_nothing() -> None:
    with pytest.warns(FeatcacheWarning) as caught:
        names = [row["name"] for row in describe_all()]
    said = [str(warning.message) for warning in caught]
    assert "mine" in names
    assert "clip-vit-b16" in names
    assert any("'broken'" in text and "package plug-in 1.0" in text for text in said)
    assert any("'wrong'" in text and "is a str, not a BackboneSpec" in text for text in said)
    assert {"broken", "wrong"} <= set(BACKBONES.names())
    assert not {"broken", "wrong"} & set(names)


@pytest.mark.usefixtures("plugins")
def test_a_plug_in_that_is_asked_for_is_used_or_refused_by_name(tmp_path: Path) -> None:
    assert resolve("mine@layer2").n_features == 512
    with pytest.raises(ResourceError, match=r"backbone 'broken' \(plug_in_that_is_not_there:X"):
        resolve("broken")


@pytest.mark.usefixtures("plugins")
@pytest.mark.filterwarnings("default::featcache.errors.FeatcacheWarning")
def test_the_command_line_says_it(featcache: Callable[..., Any]) -> None:
    ran = featcache("backbones", "ls", "--json")
    assert ran.code == 0
    assert "Warning: The backbone 'broken'" in ran.err
    assert "mine" in {row["name"] for row in ran.json["backbones"]}
