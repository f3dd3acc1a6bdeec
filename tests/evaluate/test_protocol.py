"""Protocols: every sample gets the role that the paper gives it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featcache.datasets import Manifest, Sample
from featcache.datasets.families import group_of
from featcache.datasets.layouts import named_set
from featcache.datasets.protocols import (
    CLASS_COUNTS,
    UNIVFD_TESTS,
    class_subset,
    class_subsets,
    get_protocol,
    leave_one_out,
)
from featcache.errors import DataError, SettingsError, UnknownNameError
from featcache.testing import make_tree

Call = Callable[..., Any]


def sample(
    paired_with: str, split: str, label: int, category: str = "", source: str = ""
) -> Sample:
    name = f"{paired_with}-{split}-{label}-{category}"
    return Sample(
        dataset="d",
        root="/d",
        path=f"/d/{name}",
        label=label,
        generator=paired_with if label else "real",
        paired_with=paired_with,
        family=group_of(paired_with),
        split=split,
        category=category,
        source=source or name,
        sample_id=name,
    )


CATEGORIES = named_set("progan20")
UNIVFD = Manifest(
    (
        *(sample("progan", "train", y, category) for category in CATEGORIES for y in (0, 1)),
        *(sample("progan", "val", y, category) for category in CATEGORIES for y in (0, 1)),
        *(sample(name, "test", y) for name in (*UNIVFD_TESTS, "mine", "ffhq") for y in (0, 1)),
        *(sample("biggan", "train", y) for y in (0, 1)),
    )
)


def roles(manifest: Manifest) -> dict[str, set[str]]:
    result: dict[str, set[str]] = {}
    for one in manifest:
        result.setdefault(one.split, set()).add(one.paired_with)
    return result


def test_univfd_as_released_stops_on_progans_test_images_and_tests_nineteen_sets() -> None:
    manifest = get_protocol("univfd-as-released").apply(UNIVFD)
    assert roles(manifest) == {"train": {"progan"}, "val": {"progan"}, "test": set(UNIVFD_TESTS)}
    assert len(UNIVFD_TESTS) == 19
    val = {s.sample_id for s in manifest if s.split == "val"}
    assert val == {"progan-test-0-", "progan-test-1-"}
    assert len([s for s in manifest if s.split == "train"]) == 40


def test_univfd_validates_on_the_trees_own_val_split() -> None:
    manifest = get_protocol("univfd").apply(UNIVFD)
    assert {s.sample_id.split("-")[1] for s in manifest if s.split == "val"} == {"val"}


def test_dfwf_has_the_papers_groups() -> None:
    tested = roles(get_protocol("dfwf").apply(UNIVFD))["test"]
    assert Counter(map(group_of, tested)) == {"GAN": 6, "diffusion": 5}
    assert get_protocol("dfwf").missing(UNIVFD) == ["elsa"]


def test_4class_trains_on_four_categories_and_has_its_own_validation_set() -> None:
    manifest = get_protocol("4class").apply(UNIVFD)
    for split in ("train", "val"):
        assert {s.category for s in manifest if s.split == split} == {
            "car",
            "cat",
            "chair",
            "horse",
        }
    assert not any(s.split == "val" and "test" in s.sample_id for s in manifest)


def test_genimage_trains_on_one_of_its_eight() -> None:
    data = Manifest(tuple(
        sample(name, split, y)
        for name in ("stable_diffusion_v_1_4", "ADM", "BigGAN") for split in ("train", "test")
        for y in (0, 1)
    ))  # fmt: skip
    result = roles(get_protocol("genimage").apply(data))
    assert result == {
        "train": {"stable_diffusion_v_1_4"},
        "test": {"stable_diffusion_v_1_4", "ADM", "BigGAN"},
    }


def test_a_protocol_names_the_data_it_lacks() -> None:
    with pytest.raises(DataError, match="'genimage' needs train images of stable_diffusion_v_1_4"):
        get_protocol("genimage").apply(UNIVFD)
    with pytest.raises(UnknownNameError, match="Did you mean 'univfd'"):
        get_protocol("unifd")


def test_class_subsets_are_nested_and_leave_the_test_alone() -> None:
    subsets = class_subsets(UNIVFD)
    assert tuple(subsets) == CLASS_COUNTS
    categories = {
        n: {s.category for s in m if s.split == "train" and s.category} for n, m in subsets.items()
    }
    assert categories[1] == {"horse"}
    assert categories[2] == {"horse", "chair"}
    assert categories[4] == {"horse", "chair", "car", "cat"}
    assert categories[4] < categories[8] < categories[16] < categories[20] == set(CATEGORIES)
    n_test = sum(s.split == "test" for s in UNIVFD)
    assert {sum(s.split == "test" for s in m) for m in subsets.values()} == {n_test}
    with pytest.raises(SettingsError, match="21 classes"):
        class_subset(UNIVFD, 21)


def test_leave_one_out_keeps_the_one_left_out_independent() -> None:
    data = Manifest(tuple(
        sample(name, split, y, source=f"photo-{split}-{y}" if name != "c" else "photo-test-1")
        for name in "abc" for split in ("train", "test") for y in (0, 1)
    ))  # fmt: skip
    left = leave_one_out(data)
    assert set(left) == {"a", "b", "c"}
    assert roles(left["a"]) == {
        "train": {"b"},
        "test": {"a"},
    }  # c shares a photograph with a's test
    with pytest.raises(DataError, match="two generators or more"):
        leave_one_out(data.where(lambda s: s.paired_with == "a"))


def test_filters_and_protocol_by_the_command_line(featcache: Call, tmp_path: Path) -> None:
    root = make_tree(tmp_path / "toy", n=4, generators=["progan", "biggan", "mine"])
    store = tmp_path / "store"
    (tmp_path / "cwd" / "featcache.toml").write_text(
        f'cache = "{store}"\ndata = ["{root}"]\n[groups]\nhome = ["mi*"]\n'
    )
    assert featcache("trust").code == 0
    assert featcache("datasets", "scan").code == 0

    def ls(*flags: str) -> list[tuple[str, str, str, int]]:
        rows = featcache("datasets", "ls", *flags, "--json").json["rows"]
        return [(r["generator"], r["group"], r["split"], r["n_fake"]) for r in rows]

    assert ("mine", "home", "test", 4) in ls()
    assert ls("--groups", "home", "--max-per-class", "2") == [
        ("mine", "home", "test", 2),
        ("mine", "home", "train", 2),
    ]
    assert ls("--protocol", "univfd") == [
        ("biggan", "GAN", "test", 4),
        ("progan", "GAN", "test", 4),
        ("progan", "GAN", "train", 4),
    ]
    assert featcache("datasets", "ls", "--generators", "prog").code == 2
    for what in ("layouts", "protocols", "views"):
        assert featcache("datasets", what, "--json").json[what]
        assert featcache("datasets", what).code == 0
