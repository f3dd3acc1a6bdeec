"""The demo command through the whole program, with cheap generators in place of the real ones."""

from __future__ import annotations

import re
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
    monkeypatch.setattr("featcache.demo.build.N_REALS", 24)
    monkeypatch.setattr("featcache.demo.run.GRID", [1e-4, 1e-2])
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(make_images(6, seed=1, size=400)):
        image.save(folder / f"p{i}.png")
    return folder


def check_sections(page: str) -> None:
    """The report has every section for which the demo has data."""
    headings = re.findall(r"<h([23])[^>]*>([^<]*)<", page)
    parts = [heading for level, heading in headings if level == "2"]
    lite = "efficientnet-lite0"
    assert parts[:2] == [
        f"Probe on {lite}",
        f"Ablation of {lite} and {lite}@layer5",
    ]
    assert {"Spectra", f"The feature space of {lite}", "Command"} < set(parts)
    sections = {heading for level, heading in headings if level == "3"}
    assert sections >= {"Results", "Average precision", "Test sets one by one", "Robustness",
                        "Can the probabilities be believed?", "The choice of C", "Worst mistakes",
                        "Run card"}  # fmt: skip
    for table in ("generators", "views", "C", "ablation", "contributions", "reliability", "audit"):
        assert f"table-{table}" in page, table


def test_demo_twice_and_then_the_ordinary_commands(
    featcache: Call, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the viz extra is not installed")
    out = tmp_path / "out"
    first = featcache("demo", "--out", out, "--photos", photos, "--json")
    assert first.code == 0, first.err
    result = first.json
    assert result["train"]["generators"] == ["cyclegan"]
    assert set(result["generators"]) == {"cyclegan", "style26"}
    assert set(result["controls"]) == {"control-bicubic"}
    assert result["generators"]["cyclegan"]["n_sources"] == 3
    n_trained = len(list((out / "data" / "train").rglob("0_real/*.jpg")))
    n_tested = len(list((out / "data" / "test").rglob("cyclegan/0_real/*.jpg")))
    assert [path.name for path in (out / "data" / "train").iterdir()] == ["cyclegan"]
    # Each real once, though it stands in three folders; the test images in two further views.
    assert result["n_forwarded"] == n_trained * 2 + 3 * n_tested * 4
    assert set(result["views"]) == {"jpeg:75", "blur:1"}
    check_sections(Path(result["report"]).read_text("utf-8"))
    second = featcache("demo", "--out", out, "--photos", photos, "--json")
    assert second.json["n_forwarded"] == 0
    assert second.json["generators"] == result["generators"]

    check_ordinary_commands(featcache, out, result, monkeypatch)


def check_ordinary_commands(
    featcache: Call, out: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the demo's folder they need no flags, and find the same."""
    monkeypatch.chdir(out)
    extracted = featcache("extract", "--json").json["backbones"]
    assert [entry["n_forwarded"] for entry in extracted] == [0, 0]
    probed = featcache("probe", "--json").json
    assert probed["C"] == expected["C"]
    assert probed["generators"] == expected["generators"]
