"""Parts of a manifest: what is asked for, and a sample of it that no file system decides."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from featcache.datasets import Manifest, Sample, ScanOptions, choose, scan, select
from featcache.errors import SettingsError, UnknownNameError


def sample(name: str, paired_with: str = "progan", **more: object) -> Sample:
    values: dict[str, object] = {
        "label": 1,
        "generator": paired_with,
        "family": "GAN",
        "split": "test",
    }
    return Sample(
        dataset="d",
        root="/d",
        path=f"/d/{name}",
        paired_with=paired_with,
        sample_id=name,
        **values | more,
    )  # type: ignore[arg-type]


MANIFEST = Manifest(
    tuple(
        sample(f"{generator}{label}{i}", generator, label=label, family=group, category=category)
        for generator, group in (("progan", "GAN"), ("guided", "diffusion"))
        for label in (0, 1)
        for i, category in enumerate(["cat", "dog", ""] * 10)
    )
)


def test_filters() -> None:
    assert select(MANIFEST) == MANIFEST
    assert {s.paired_with for s in select(MANIFEST, generators=["guided"])} == {"guided"}
    assert {s.paired_with for s in select(MANIFEST, groups=["gan"])} == {"progan"}
    assert {s.category for s in select(MANIFEST, categories=["cat"])} == {"cat", ""}
    assert len(select(MANIFEST, datasets=["d"], groups=["diffusion"], categories=["dog"])) == 40


def test_unknown_names_are_errors() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'guided'"):
        select(MANIFEST, generators=["guidet"])
    with pytest.raises(UnknownNameError, match="No category"):
        select(MANIFEST, categories=["horse"])
    with pytest.raises(SettingsError, match="must be positive"):
        select(MANIFEST, max_per_class=0)


def test_a_sample_depends_on_content_only_and_is_nested() -> None:
    shuffled = list(MANIFEST)
    random.Random(5).shuffle(shuffled)
    ten = {s.sample_id for s in select(MANIFEST, max_per_class=10)}
    again = {s.sample_id for s in select(Manifest(tuple(shuffled)), max_per_class=10)}
    assert ten == again
    counts = Counter((s.paired_with, s.label) for s in select(MANIFEST, max_per_class=10))
    assert set(counts.values()) == {10}
    assert {s.sample_id for s in select(MANIFEST, max_per_class=4)} < ten
    assert {s.sample_id for s in select(MANIFEST, max_per_class=10, seed=1)} != ten


def test_a_copied_tree_gives_the_same_sample(tree: Path) -> None:
    manifest = scan(tree, ScanOptions()).manifest
    (tree / "test" / "progan" / "1_fake" / "000.png").rename(
        tree / "test" / "progan" / "1_fake" / "zzz.png"
    )
    renamed = scan(tree, ScanOptions()).manifest
    picked = [{s.sample_id for s in select(m, max_per_class=3)} for m in (manifest, renamed)]
    assert picked[0] == picked[1]


def test_a_family_given_as_a_generator_names_the_right_flag() -> None:
    with pytest.raises(UnknownNameError, match="--groups gan"):
        select(MANIFEST, generators=["gan"])
    with pytest.raises(UnknownNameError, match="Did you mean 'progan'"):
        select(MANIFEST, generators=["ProGANN"])


def test_test_sets_that_a_filter_removes_are_said() -> None:
    faces = Manifest(
        (
            *MANIFEST,
            *(sample(f"face{i}", "stylegan", label=i % 2, category="face") for i in range(8)),
        )
    )
    chosen, notes = choose(faces, categories=["face"])
    assert {s.paired_with for s in chosen} == {"progan", "guided", "stylegan"}
    assert notes == []  # images without a category are kept
    named = Manifest(tuple(s for s in faces if s.category))
    chosen, notes = choose(named, categories=["face"])
    assert {s.paired_with for s in chosen} == {"stylegan"}
    (note,) = notes
    assert note == (
        "No test image of guided, progan is of the categories face: they are not tested."
    )
    assert choose(named, categories=["face"], generators=["stylegan"])[1] == []


def test_a_tested_generator_keeps_the_reals_that_it_shares() -> None:
    shared = [
        sample(f"r{i}", paired_with="guided|progan", split=split, label=0)
        for i in range(4)
        for split in ("train", "test")
    ]
    fakes = [sample(f"{name}{i}", name, split="test", label=1)
             for name in ("guided", "progan") for i in range(3)]  # fmt: skip
    chosen, _ = choose(Manifest((*shared, *fakes)), tested=["Guided"])
    test = [s for s in chosen if s.split == "test"]
    assert {s.paired_with for s in test} == {"guided"}
    assert [s.label for s in test].count(0) == 4
    assert {s.paired_with for s in chosen if s.split == "train"} == {"guided|progan"}
    with pytest.raises(UnknownNameError, match="test generator"):
        choose(Manifest((*shared, *fakes)), tested=["gided"])
