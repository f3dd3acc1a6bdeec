"""Photographs: the pinned ones are the right files, the user's own are checked. No network."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcache.demo import photographs
from featcache.demo.downloads import archives
from featcache.errors import DataError, MissingExtraError, ResourceError

ROWS: list[dict[str, Any]] = json.loads(
    files("featcache.demo").joinpath("photos.json").read_text(encoding="utf-8")
)


def _save(path: Path, seed: int, size: tuple[int, int] = (300, 280)) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(5):
        _save(tmp_path / "photos" / f"Holiday {seed}.png", seed)
    return tmp_path / "photos"


def test_table_is_sound() -> None:
    assert len(ROWS) >= 20
    for key in ("name", "digest"):
        assert len({row[key] for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", row["name"])
        assert ("package" in row) != ("archive" in row)
        assert row.get("archive", "imgaug") in archives()
        assert row["licence"]
        assert row["credit"]


def test_installed_photographs_are_the_pinned_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = [row for row in ROWS if "package" in row]
    for row in installed:
        pytest.importorskip(row["package"])
        photo = photographs._packaged(row)
        assert photo.image.mode == "RGB"
        assert min(photo.image.size) >= photographs.SIZE


def test_another_file_is_refused() -> None:
    row = {**next(row for row in ROWS if row.get("package") == "sklearn"), "digest": "0" * 32}
    with pytest.raises(ResourceError, match=row["name"]):
        photographs._packaged(row)


def test_missing_package_says_how_to_install_it() -> None:
    row = {**ROWS[0], "package": "featcache_no_such_package"}
    with pytest.raises(MissingExtraError, match=r"pip install 'featcache\[demo\]'"):
        photographs._packaged(row)


def test_missing_file_is_said() -> None:
    row = {**next(row for row in ROWS if row.get("package") == "sklearn"), "file": "no-such.jpg"}
    with pytest.raises(ResourceError, match=r"no-such\.jpg"):
        photographs._packaged(row)


def test_own_photographs(folder: Path) -> None:
    photos = photographs.load_folder(folder)
    assert len({photo.name for photo in photos}) == 5
    # The name stands before the double underscore of a file name, so it must hold none itself.
    assert all("__" not in photo.name and "/" not in photo.name for photo in photos)


def test_own_photographs_of_one_stem_keep_apart(folder: Path) -> None:
    _save(folder / "a" / "same.png", 90)
    _save(folder / "b" / "same.png", 91)
    assert len({photo.name for photo in photographs.load_folder(folder)}) == 7


def test_copies_count_once(folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "Holiday 0.png").read_bytes())
    assert len(photographs.load_folder(folder)) == 5


def test_too_few_says_what_was_passed_over_and_why(tmp_path: Path) -> None:
    _save(tmp_path / "good.png", 0)
    _save(tmp_path / "small.png", 1, (100, 300))
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        photographs.load_folder(tmp_path)
    for part in ("1 usable", "small.png", "300 x 100", "broken.jpg", str(tmp_path)):
        assert part in str(caught.value)


def test_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--photos"):
        photographs.load_folder(tmp_path / "nowhere")
