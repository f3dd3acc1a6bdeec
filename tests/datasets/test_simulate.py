"""Simulated fakes: the artefact and nothing else, as strong as it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcache.datasets import ScanOptions, count_rows, scan
from featcache.datasets.artefacts import ARTEFACTS, apply_artefact
from featcache.datasets.simulate import SimulateOptions, simulate, split_generator
from featcache.errors import DataError, SettingsError, UnknownNameError
from featcache.testing import make_images

Call = Callable[..., Any]


def state() -> np.random.RandomState:
    return np.random.RandomState(3)


def pixels(seed: int = 0, size: int = 64) -> np.ndarray:
    smooth = make_images(1, seed=seed, size=size)[0]
    return np.asarray(smooth)


@pytest.mark.parametrize("name", ARTEFACTS)
def test_strength_is_linear_and_keeps_the_mean(name: str) -> None:
    image = pixels()
    changes = [
        np.abs(apply_artefact(name, s, image, state()).astype(float) - image).mean()
        for s in (0.0, 0.1, 0.2)
    ]
    assert changes[0] == 0
    assert changes[2] > 0.3
    assert changes[2] == pytest.approx(2 * changes[1], rel=0.15)
    full = ARTEFACTS[name](image.astype(float), state())
    assert full.shape == image.shape
    assert full[4:-4, 4:-4].mean() == pytest.approx(image[4:-4, 4:-4].mean(), abs=2.5)


def spectrum(image: np.ndarray) -> np.ndarray:
    grey = image.astype(float).mean(axis=2)
    return np.abs(np.fft.fft2(grey - grey.mean())) / grey.size


def test_artefacts_are_where_theory_puts_them() -> None:
    image = pixels()
    n = len(image)
    before = spectrum(image)
    zeros = spectrum(apply_artefact("zero-insertion", 0.5, image, state()))
    assert zeros[n // 2, n // 2] > 20 * before[n // 2, n // 2]  # a copy of the mean at Nyquist
    waves = spectrum(apply_artefact("peaks", 0.5, image, state()))
    assert waves[n // 8, 0] == pytest.approx(4, rel=0.4)  # 32/2 levels * 0.5, half on each side
    checker = spectrum(apply_artefact("transposed", 0.5, image, state()))
    assert checker[n // 2, 0] > 5 * before[n // 2, 0]
    smooth = spectrum(apply_artefact("smoothing", 1.0, image, state()))
    assert smooth[n // 4 :, n // 4 :].mean() < before[n // 4 :, n // 4 :].mean()


@pytest.mark.parametrize("size", [63, 64])
def test_odd_sides(size: int) -> None:
    for name in ARTEFACTS:
        assert apply_artefact(name, 1.0, pixels(size=size), state()).shape == (size, size, 3)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for k, image in enumerate(make_images(6, seed=4, size=200)):
        image.save(folder / ("more" if k % 2 else "") / f"{k}.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    make_images(1, seed=9, size=40)[0].save(folder / "small.png")
    return folder


OPTIONS = SimulateOptions(artefacts=("peaks", "noise"), strengths=(0.25, 1.0), size=64, per_photo=3)


def test_the_tree_is_an_ordinary_one(photos: Path, tmp_path: Path) -> None:
    made = simulate(photos, tmp_path / "sim", OPTIONS)
    assert (made.n_photos, made.n_tiles) == (6, 18)
    result = scan(tmp_path / "sim", ScanOptions())
    rows = count_rows(result.manifest)
    assert {row["generator"] for row in rows} == {"peaks@0.25", "peaks@1", "noise@0.25", "noise@1"}
    assert {row["group"] for row in rows} == {"simulated"}
    assert sum(row["n_fake"] for row in rows) == sum(row["n_real"] for row in rows) == 4 * 18
    sources = {
        split: {s.source for s in result.manifest if s.split == split}
        for split in ("train", "test")
    }
    assert not sources["train"] & sources["test"]
    assert len(sources["train"] | sources["test"]) == 6
    assert len({s.sample_id for s in result.manifest if not s.label}) == 18
    assert {(s.format, s.width, s.height) for s in result.manifest} == {("PNG", 64, 64)}
    assert split_generator("noise@0.25") == ("noise", 0.25)


def test_the_same_bytes_again(photos: Path, tmp_path: Path) -> None:
    ids = []
    for name in ("a", "b"):
        simulate(photos, tmp_path / name, OPTIONS)
        ids.append([s.sample_id for s in scan(tmp_path / name, ScanOptions()).manifest])
    assert ids[0] == ids[1]


def test_what_cannot_be_made_is_said(photos: Path, tmp_path: Path) -> None:
    def options(**values: Any) -> SimulateOptions:
        return SimulateOptions(size=64, **values)

    with pytest.raises(UnknownNameError, match="Did you mean 'peaks'"):
        simulate(photos, tmp_path / "s", options(artefacts=("peak",)))
    with pytest.raises(SettingsError, match="above 0"):
        simulate(photos, tmp_path / "s", options(strengths=(0.0,)))
    with pytest.raises(DataError, match="changes no pixel"):
        simulate(photos, tmp_path / "s", options(artefacts=("noise",), strengths=(1e-6,)))
    with pytest.raises(DataError, match="two are needed"):
        simulate(photos, tmp_path / "s", SimulateOptions(size=1000))
    assert not list(tmp_path.glob(".tmp-*"))
    (tmp_path / "s").mkdir()
    with pytest.raises(DataError, match="left alone"):
        simulate(photos, tmp_path / "s", options())


def test_plain_tiles_are_left_out_where_that_is_asked(photos: Path, tmp_path: Path) -> None:
    options = SimulateOptions(size=64, artefacts=("nearest",), strengths=(0.5,), skip_plain=True)
    before = simulate(photos, tmp_path / "before", options)
    assert before.n_plain == 0
    Image.new("RGB", (64, 64), "white").save(photos / "sky.png")
    after = simulate(photos, tmp_path / "after", options)
    assert (after.n_tiles, after.n_plain) == (before.n_tiles, 1)
    assert len(list((tmp_path / "after").rglob("1_fake/*.png"))) == before.n_tiles
    plain = tmp_path / "plain"
    plain.mkdir()
    for color in ("white", "black"):
        Image.new("RGB", (64, 64), color).save(plain / f"{color}.png")
    with pytest.raises(DataError, match="too plain"):
        simulate(plain, tmp_path / "none", options)


def test_the_command(featcache: Call, photos: Path, tmp_path: Path) -> None:
    ran = featcache("datasets", "simulate", "--photos", photos, "--out", tmp_path / "sim", "--size",
                    64, "--artefacts", "peaks", "--strengths", "0.5,1", "--json")  # fmt: skip
    assert ran.code == 0
    assert ran.json["generators"] == ["peaks@0.5", "peaks@1"]
    with Image.open(next((tmp_path / "sim").rglob("1_fake/*.png"))) as image:
        assert image.size == (64, 64)
