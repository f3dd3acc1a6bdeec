"""The demo command through the whole program, with cheap generators in place of the real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from featcache.demo import generators
from featcache.demo.generators import MakeOne, Pixels
from featcache.testing import make_images

Call = Callable[..., Any]


def blurred(sigma: float) -> Callable[[], MakeOne]:
    def make(pixels: Pixels, style: Pixels, number: int) -> Pixels:
        return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))

    return lambda: make


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cheap = {"cyclegan": blurred(1.0), "style26": blurred(0.7), "control-bicubic": blurred(0.3)}
    for name in list(generators.GENERATORS):
        monkeypatch.delitem(generators.GENERATORS, name)
    for name, maker in cheap.items():
        monkeypatch.setitem(generators.GENERATORS, name, maker)
    monkeypatch.setattr(
        "featcache.demo.build.build_tree.__kwdefaults__", {"photos": None, "n_reals": 24}
    )
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(make_images(6, seed=1, size=400)):
        image.save(folder / f"p{i}.png")
    return folder


def test_demo_twice(featcache: Call, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the viz extra is not installed")
    out = tmp_path / "out"
    first = featcache("demo", "--out", out, "--photos", photos, "--json")
    assert first.code == 0, first.err
    result = first.json
    assert result["train"]["generators"] == ["cyclegan"]
    assert set(result["generators"]) == {"cyclegan", "style26"}
    assert set(result["controls"]) == {"control-bicubic"}
    assert result["generators"]["cyclegan"]["n_sources"] == 3
    n_crops = len(list((out / "data").rglob("cyclegan/0_real/*.jpg")))
    assert result["n_forwarded"] == n_crops * 4  # each real once, though it stands in three folders
    assert Path(result["report"]).is_file()
    second = featcache("demo", "--out", out, "--photos", photos, "--json")
    assert second.json["n_forwarded"] == 0
    assert second.json["generators"] == result["generators"]


def test_the_demos_folder_works_with_the_ordinary_commands(
    featcache: Call, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    expected = featcache("demo", "--out", out, "--photos", photos, "--json").json
    monkeypatch.chdir(out)
    assert featcache("extract", "--json").json["backbones"][0]["n_forwarded"] == 0
    assert featcache("probe", "--json").json["generators"] == expected["generators"]
