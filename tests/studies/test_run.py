"""Whole studies in a moment: small forms of the backbones on a toy tree; what is found is what
``probe`` finds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featcache.backbones import BACKBONES
from featcache.errors import DataError
from featcache.studies import load_study
from featcache.studies.prepare import StudyOptions
from featcache.studies.run import forecast_study, run_study
from featcache.testing import make_tree, small

pytest.importorskip("matplotlib", reason="the viz extra is not installed")
Call = Callable[..., Any]

STUDY = """
title = "Views and mixtures"
asks = "What do views cost, and what does a head see that never saw a photograph?"
answer = "{answer}"
[data]
roots = ["toy"]
[extract]
backbones = ["clip"]
views = ["clean", "jpeg:50"]
[probe]
train = {train}
heads = {heads}
test_views = ["clean", "jpeg:50"]
shares = {shares}
"""


@pytest.fixture(autouse=True)
def small_forms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = small("clip")
    monkeypatch.setitem(BACKBONES._added, spec.name, spec)
    make_tree(tmp_path / "toy", n=4, size=32)


def write(folder: Path, answer: str, *, train: str = "[[]]", heads: str = "['logistic']",
          shares: str = "[]") -> str:  # fmt: skip
    path = folder / f"{answer}.toml"
    path.write_text(STUDY.format(answer=answer, train=train, heads=heads, shares=shares))
    return str(path)


def options(folder: Path, **values: Any) -> StudyOptions:
    return StudyOptions(
        out=folder / "out", cache=folder / "store", random_init=0, n_resamples=50, **values
    )


def test_robustness_ends_in_a_report_and_a_lock_and_is_not_done_twice(
    featcache: Call, tmp_path: Path
) -> None:
    study = load_study(write(tmp_path, "robustness"))
    plan = forecast_study(study, options(tmp_path))
    assert (plan["n_samples"], plan["n_forward"]) == (32, 64)
    assert plan["seconds"] > 0
    first = run_study(study, options(tmp_path))
    assert first.n_forwarded == 64
    assert first.result.answer.startswith(
        "In mAP, clean against the worst view: clip#random0 falls"
    )
    assert "Random weights stand in for clip" in " ".join(first.result.notes)
    assert first.result.answer in " ".join(first.report.read_text("utf-8").split())
    lock = json.loads(first.lock.read_text())
    assert lock["n_samples"] == 32
    assert sorted(key["view"]["name"] for key in lock["keys"].values()) == ["clean", "jpeg:50"]
    second = run_study(study, options(tmp_path))
    assert (second.n_forwarded, second.result.answer) == (0, first.result.answer)
    assert json.loads(second.lock.read_text()) == lock
    assert forecast_study(study, options(tmp_path))["n_forward"] == 0
    probed = featcache("probe", "--features", "clip#random0", "--cache", tmp_path / "store",
                       "--test-view", "clean,jpeg:50", "--json")  # fmt: skip
    (run,) = first.result.runs
    assert run.result.mAP == pytest.approx(probed.json["mAP"], abs=1e-9)
    assert run.result.views["jpeg:50"].mAP == pytest.approx(
        probed.json["views"]["jpeg:50"]["mAP"], abs=1e-9
    )


def test_mixture_with_two_training_sets_keeps_every_run_apart(tmp_path: Path) -> None:
    path = write(tmp_path, "mixture", train="[['progan'], ['biggan']]",
                 heads="['oneclass']", shares="[0.1, 0.5]")  # fmt: skip
    result = run_study(load_study(path), options(tmp_path)).result
    names = [run.name for run in result.runs]
    assert names == ["clip#random0, on progan, oneclass", "clip#random0, on biggan, oneclass"]
    assert [run.result.train.generators for run in result.runs] == [["progan"], ["biggan"]]
    assert [(m.run, m.share) for m in result.mixtures] == [
        (n, s) for n in names for s in (0.1, 0.5)
    ]
    assert result.answer.startswith(
        "Fitted on fakes alone, without a single photograph: clip#random0"
    )


@pytest.mark.slow
def test_a_changed_tree_is_said_and_a_damaged_lock_refused(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, "finding"))
    done = run_study(study, options(tmp_path))
    next((tmp_path / "toy").rglob("test/*/1_fake/*.png")).unlink()
    again = run_study(study, options(tmp_path))
    assert "Since the last run the samples have changed (32 then, 31 now)." in again.result.notes
    done.lock.write_text("{}")
    with pytest.raises(DataError, match="no lock of a study"):
        run_study(study, options(tmp_path))
