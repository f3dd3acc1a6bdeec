"""Trees to manifests: places, splits, sources, identity by content."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcache.datasets import (
    Manifest,
    ScanOptions,
    file_metadata,
    load_manifests,
    merge,
    scan,
    scan_into,
)
from featcache.datasets.discovery import read_place
from featcache.datasets.layouts import Place
from featcache.datasets.scan import split_of
from featcache.errors import DataError, SettingsError, UnknownNameError
from featcache.testing import make_images, make_tree

OPTIONS = ScanOptions()


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("train/progan/0_real", Place("train", "progan", "", 0)),
        ("test/stylegan/cat/1_fake", Place("test", "stylegan", "cat", 1)),
        ("data/val/progan/car/1_fake", Place("val", "progan", "car", 1)),
        ("Midjourney/train/ai", Place("train", "Midjourney", "", 1)),
        ("mine/real", Place("", "mine", "", 0)),
        ("fake", Place("", "root", "", 1)),
        ("test/progan/0_real/deeper", Place("test", "progan", "", 0)),
    ],
)
def test_places(path: str, place: Place) -> None:
    read = read_place(f"root/{path}")
    assert read is not None
    assert replace(read[1], layout="tree") == place


def test_above_the_class_folders_there_is_no_place() -> None:
    assert read_place("root/train/progan") is None


def test_manifests_survive_the_disk(tree: Path, tmp_path: Path) -> None:
    folder = tree / "test" / "progan" / "1_fake"
    with open(os.fsencode(folder) + b'/\xff,"\n.png', "wb") as file:
        file.write((folder / "000.png").read_bytes() + b"\0")
    manifest = scan(tree, OPTIONS).manifest
    manifest.write(tmp_path / "m.csv")
    assert Manifest.read(tmp_path / "m.csv") == manifest
    assert any("\udcff" in sample.path for sample in manifest)


def test_a_second_scan_reads_no_file_again(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scan(tree, OPTIONS).manifest
    monkeypatch.setattr(file_metadata, "read_bytes", lambda path: pytest.fail(f"read {path}"))
    assert scan(tree, OPTIONS, known=first).manifest == first


def test_a_changed_file_is_read_again(tree: Path) -> None:
    first = scan(tree, OPTIONS).manifest
    path = Path(first.samples[0].path)
    make_images(1, seed=99, size=70)[0].save(path)
    second = scan(tree, OPTIONS, known=first).manifest
    changed = [a.path for a, b in zip(first, second, strict=True) if a.sample_id != b.sample_id]
    assert changed == [str(path)]


def test_links_are_followed_and_loops_are_not(tree: Path) -> None:
    (tree / "loop").symlink_to(tree)
    shutil.move(tree / "test" / "biggan", tree.parent / "outside")
    (tree / "test" / "biggan").symlink_to(tree.parent / "outside")
    assert len(scan(tree, OPTIONS).manifest) == 64


def test_sources_come_from_the_pattern(tree: Path) -> None:
    manifest = scan(tree, ScanOptions(source_pattern=r"(\d+)\.png$")).manifest
    assert {sample.source for sample in manifest} == {f"{i:03d}" for i in range(8)}
    with pytest.raises(SettingsError, match="no regular expression"):
        scan(tree, ScanOptions(source_pattern="("))


def test_a_tree_without_splits_is_split_by_source(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "flat", splits=["."], n=20)
    result = scan(root, ScanOptions(source_pattern=r"(\d+)\.png$"))
    splits = {sample.source: sample.split for sample in result.manifest}
    assert all(splits[sample.source] == sample.split for sample in result.manifest)
    assert set(splits.values()) == {"train", "test"}
    assert "split by source" in result.notes[0]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(), min_size=1, max_size=20, unique=True))
def test_splits_do_not_depend_on_the_others(sources: list[str]) -> None:
    alone = {source: split_of(source, 0.3) for source in sources}
    assert alone == {source: split_of(source, 0.3) for source in reversed(sources)}
    assert all(split_of(source, 0.6) == "test" for source, s in alone.items() if s == "test")


def test_one_content_with_two_labels_is_listed_and_left_out(tree: Path) -> None:
    folder = tree / "test" / "progan"
    shutil.copy(folder / "0_real" / "000.png", folder / "1_fake" / "copy.png")
    result = scan(tree, OPTIONS)
    manifest = merge([result.manifest])
    assert [s.label for s in manifest.conflicts()] == [0, 1]
    assert any("1 images are real in one place and fake in another" in n for n in result.notes)
    assert len(manifest.usable()) == len(manifest) - 2
    assert len(manifest.readable()) == len(manifest)
    with pytest.raises(DataError, match=r"real in one place and fake in another.*--strict"):
        scan(tree, ScanOptions(strict=True))


def test_a_moved_tree_counts_once_and_another_is_not_overwritten(
    tree: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    scan_into(store, tree, OPTIONS)
    moved = tmp_path / "new" / "toy2"
    shutil.copytree(tree, moved)
    scan_into(store, moved, OPTIONS)
    assert len(load_manifests(store)) == 64
    assert len(load_manifests(store, ["toy2"])) == 64
    another = make_tree(tmp_path / "other" / "toy", n=1)
    with pytest.raises(DataError, match="have the same name"):
        scan_into(store, another, OPTIONS)
    with pytest.raises(UnknownNameError, match="Did you mean 'toy"):
        load_manifests(store, ["to"])
