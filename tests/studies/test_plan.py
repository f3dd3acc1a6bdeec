"""Runs of a study, other backbones in it, and its lock: pure parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from featcache.datasets import Manifest, Sample
from featcache.errors import DataError, SettingsError
from featcache.studies.plan import (
    Lock,
    Run,
    changes,
    digest_samples,
    plan_runs,
    read_lock,
    with_backbones,
    write_lock,
)
from featcache.studies.schema import load_study


def test_runs_of_the_paper() -> None:
    names = [run.name for run in plan_runs(load_study("dfwf"))]
    assert names == ["clip", "synclr", "stablerep", "dinov2", "clip + synclr"]


def test_runs_of_univfd_vary_heads_and_classes() -> None:
    runs = plan_runs(load_study("univfd"))
    assert len(runs) == 3 * 2 + 2 * 4
    assert Run(features=("clip-vit-l14",), train=("progan",), head="knn", n_classes=2) in runs
    assert len({run.name for run in runs}) == len(runs)


def test_other_backbones_keep_taps_and_drop_what_has_none() -> None:
    layers = with_backbones(load_study("layers"), ["dinov2"])
    assert layers.extract.backbones[:2] == ("dinov2", "dinov2@layer3")
    mixture = with_backbones(load_study("mixture"), ["a"])
    assert mixture.feature_sets == (("a",),)
    paper = with_backbones(load_study("dfwf"), ["a", "b"])
    assert paper.feature_sets == (("a",), ("b",), ("a", "b"))
    assert paper.baseline == ("a",)


def test_too_many_backbones() -> None:
    with pytest.raises(SettingsError, match="at most as many"):
        with_backbones(load_study("layers"), ["a", "b"])


def sample(name: str, label: int) -> Sample:
    return Sample(
        dataset="d", root="/", path=f"/{name}", label=label, generator="g", paired_with="g",
        family="GAN", split="test", sample_id=name, source=name,
    )  # fmt: skip


LOCK = Lock(
    study="s", samples="m", n_samples=2, keys={"clip clean": {"weights": "w"}},
    results={"clip": "r"}, versions={"numpy": "2"},
)  # fmt: skip


def test_sample_digest_sees_labels_but_not_order_or_place() -> None:
    a, b = sample("a", 0), sample("b", 1)
    digest = digest_samples(Manifest((a, b)))
    assert digest == digest_samples(Manifest((replace(b, path="/moved"), a)))
    assert digest != digest_samples(Manifest((a, replace(b, label=0))))


def test_lock_round_trip_and_changes(tmp_path: Path) -> None:
    path = tmp_path / "study.lock.json"
    assert read_lock(path) is None
    write_lock(path, LOCK)
    assert read_lock(path) == LOCK
    assert changes(LOCK, replace(LOCK, versions={"numpy": "3"})) == []
    message = changes(
        LOCK, replace(LOCK, samples="n", n_samples=3, keys={"clip clean": {"weights": "v"}})
    )
    assert message == [
        "the samples have changed (2 then, 3 now)",
        "other features under the same name: clip clean",
    ]


def test_damaged_lock(tmp_path: Path) -> None:
    path = tmp_path / "study.lock.json"
    path.write_text('{"format": 1}')
    with pytest.raises(DataError, match="no lock of a study"):
        read_lock(path)
