"""The demo's tree, built by cheap generators from made-up photographs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featcache.demo import build
from featcache.demo.generators import GENERATORS, MakeOne, Pixels
from featcache.demo.photographs import SIZE
from featcache.errors import DataError
from featcache.images import read_metadata

N = 24
SPLITS = ("train", "test")


def _invert() -> MakeOne:
    return lambda pixels, style, number: 255 - pixels


def _take_style() -> MakeOne:
    return lambda pixels, style, number: style


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], MakeOne]]:
    for name in list(GENERATORS):
        monkeypatch.delitem(GENERATORS, name)
    monkeypatch.setitem(GENERATORS, "invert", _invert)
    monkeypatch.setitem(GENERATORS, "take-style", _take_style)
    monkeypatch.setattr(build, "TRAIN", "invert")
    return GENERATORS


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six photographs, each of one colour, so that the colour of a fake betrays where it comes
    from.
    """
    (tmp_path / "photos").mkdir()
    for i in range(6):
        shape = (SIZE + 90, SIZE + 40 + 10 * i, 3)
        noise = np.random.default_rng(i).integers(0, 6, shape, dtype=np.uint8)
        Image.fromarray(noise + np.uint8(40 * i)).save(tmp_path / "photos" / f"grey {i}.png")
    return tmp_path / "photos"


def _names(root: Path, split: str, generator: str, kind: str) -> list[str]:
    return sorted(path.name for path in (root / split / generator / kind).iterdir())


def _pixels(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image)


def _tables(path: Path) -> str:
    with Image.open(path) as image:
        return json.dumps(getattr(image, "quantization"))  # noqa: B009 - only JPEG images have it


def test_layout(tmp_path: Path, photos: Path) -> None:
    tree = build.build_tree(tmp_path / "out", photos=photos, full=True, n_reals=N)
    assert (tree.root, tree.n_photos, tree.built) == (tmp_path / "out" / "data", 6, True)
    assert tree.generators == ["invert", "take-style"]
    assert tree.n_reals >= N
    reals = 0
    for split in ("train", "test"):
        first = _names(tree.root, split, "invert", "0_real")
        reals += len(first)
        for generator in tree.generators:
            assert _names(tree.root, split, generator, "0_real") == first
            assert _names(tree.root, split, generator, "1_fake") == first
    assert reals == tree.n_reals


def test_only_one_generator_makes_training_fakes(tmp_path: Path, photos: Path) -> None:
    tree = build.build_tree(tmp_path, photos=photos, n_reals=N)
    folders = {split: sorted(p.name for p in (tree.root / split).iterdir()) for split in SPLITS}
    assert folders == {"train": ["invert"], "test": ["invert", "take-style"]}
    assert not build.build_tree(tmp_path, photos=photos, n_reals=N).built
    full = build.build_tree(tmp_path, photos=photos, full=True, n_reals=N)
    assert full.built
    assert sorted(p.name for p in (full.root / "train").iterdir()) == ["invert", "take-style"]


def test_photographs_never_stand_on_both_sides(tmp_path: Path, photos: Path) -> None:
    root = build.build_tree(tmp_path, photos=photos, full=True, n_reals=N).root
    sides = [
        {name.partition("__")[0] for name in _names(root, split, "invert", "0_real")}
        for split in ("train", "test")
    ]
    assert not sides[0] & sides[1]
    assert [len(side) for side in sides] == [3, 3]


def test_reals_and_fakes_leave_through_one_codec_at_one_size(tmp_path: Path, photos: Path) -> None:
    root = build.build_tree(tmp_path, photos=photos, full=True, n_reals=N).root
    facts = {read_metadata(path.read_bytes()) for path in root.rglob("*.jpg")}
    (only,) = facts
    assert (only.format, only.mode, only.width, only.height) == ("JPEG", "RGB", SIZE, SIZE)
    assert only.jpeg_quality == build.QUALITY
    tables = {_tables(path) for path in root.rglob("*.jpg")}
    assert len(tables) == 1


def test_reals_are_the_same_files_for_every_generator(tmp_path: Path, photos: Path) -> None:
    root = build.build_tree(tmp_path, photos=photos, full=True, n_reals=N).root
    for path in (root / "train" / "invert" / "0_real").iterdir():
        assert path.samefile(root / "train" / "take-style" / "0_real" / path.name)


def test_copies_where_links_are_not_to_be_had(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    root = build.build_tree(tmp_path, photos=photos, full=True, n_reals=N).root
    for path in (root / "train" / "invert" / "0_real").iterdir():
        another = root / "train" / "take-style" / "0_real" / path.name
        assert another.read_bytes() == path.read_bytes()


def test_fakes_belong_to_their_reals(tmp_path: Path, photos: Path) -> None:
    root = build.build_tree(tmp_path, photos=photos, full=True, n_reals=N).root
    for path in (root / "test" / "invert" / "1_fake").iterdir():
        real = _pixels(root / "test" / "invert" / "0_real" / path.name)
        assert abs(float(_pixels(path).mean()) - (255 - float(real.mean()))) < 2


def test_style_is_another_photograph_of_the_same_split(tmp_path: Path, photos: Path) -> None:
    root = build.build_tree(tmp_path, photos=photos, full=True, n_reals=N).root
    for split in ("train", "test"):
        greys = {
            round(float(_pixels(path).mean()) / 40)
            for path in (root / split / "take-style" / "0_real").iterdir()
        }
        for path in (root / split / "take-style" / "1_fake").iterdir():
            style = round(float(_pixels(path).mean()) / 40)
            real = round(float(_pixels(path.parents[1] / "0_real" / path.name).mean()) / 40)
            assert style in greys
            assert style != real


def test_record_names_photographs_and_credits(tmp_path: Path, photos: Path) -> None:
    root = build.build_tree(tmp_path, photos=photos, full=True, n_reals=N).root
    record = json.loads((root / build.RECORD).read_text(encoding="utf-8"))
    assert len(record["photos"]) == 6
    assert {"name", "digest", "credit", "licence"} <= set(record["photos"][0])


def test_second_call_builds_nothing(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build.build_tree(tmp_path, photos=photos, full=True, n_reals=N)
    before = {path: path.stat().st_mtime_ns for path in first.root.rglob("*")}

    def refuse(*args: object) -> None:
        raise AssertionError("nothing must be written")

    monkeypatch.setattr(build, "_write_whole", refuse)
    second = build.build_tree(tmp_path, photos=photos, full=True, n_reals=N)
    assert not second.built
    assert (second.root, second.n_photos, second.n_reals) == (first.root, 6, first.n_reals)
    assert before == {path: path.stat().st_mtime_ns for path in first.root.rglob("*")}


def test_same_recipe_gives_the_same_bytes(tmp_path: Path, photos: Path) -> None:
    trees = [build.build_tree(tmp_path / x, photos=photos, full=True, n_reals=N).root for x in "ab"]
    first, second = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*.jpg")}
        for root in trees
    )
    assert first == second


def test_other_photographs_replace_the_tree(tmp_path: Path, photos: Path) -> None:
    build.build_tree(tmp_path, photos=photos, full=True, n_reals=N)
    (photos / "grey 0.png").unlink()
    again = build.build_tree(tmp_path, photos=photos, full=True, n_reals=N)
    assert again.built
    assert again.n_photos == 5
    assert not list(again.root.rglob("grey-0*"))


def test_build_that_stops_half_way_leaves_nothing(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> MakeOne:
        raise KeyboardInterrupt

    monkeypatch.setitem(GENERATORS, "stops", stop)
    with pytest.raises(KeyboardInterrupt):
        build.build_tree(tmp_path / "out", photos=photos, full=True, n_reals=N)
    assert list((tmp_path / "out").iterdir()) == []


def test_killed_build_is_cleared_by_the_next(tmp_path: Path, photos: Path) -> None:
    left = tmp_path / "out" / ".tmp-00000000-1-killed" / "train"
    left.mkdir(parents=True)
    os.utime(left.parent, (0, 0))  # long ago; a young one may be another run's work
    build.build_tree(tmp_path / "out", photos=photos, full=True, n_reals=N)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data"]


def test_foreign_folder_is_left_alone(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="--out"):
        build.build_tree(tmp_path, photos=photos, full=True, n_reals=N)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mine.txt"]


def test_importing_the_builder_loads_no_networks() -> None:
    code = (
        "import sys, featcache.demo.build;"
        "print([m for m in ('torch', 'onnxruntime', 'ncnn', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
