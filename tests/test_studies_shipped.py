"""Studies that come along, end to end and offline, on a small tree of the demo: the answer, the rows, the lock."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featcache.demo.build import build_tree
from featcache.demo.run import SOURCE_PATTERN

pytestmark = pytest.mark.slow
pytest.importorskip("ncnn", reason="the demo extra is not installed")
Call = Callable[..., Any]

LITE = "efficientnet-lite0"
FEW = ["--max-per-class", "4"]
STUDIES: dict[str, tuple[list[str], str]] = {
    "mixture": (["--backbone", LITE, *FEW], r"^Fitted on fakes alone, .*: efficientnet-lite0 reaches AP 0\.\d\d at 5% fakes"),
    "resnet": (
        ["--backbone", f"dinov2-vit-s14,{LITE}", "--random-init", "0", *FEW],
        r"^Against dinov2-vit-s14#random0 \(transformer, mAP .*efficientnet-lite0 \(convolutional\)",
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's own tree, made by its real generators, with as few crops as there are photographs."""
    out = tmp_path_factory.mktemp("demo")
    build_tree(out, n_reals=25)
    return out


def check(first: Any, second: Any, words: str) -> None:
    """The report opens with the answer, the lock has all keys, and nothing is done twice."""
    assert re.search(words, first["answer"]), first["answer"]
    page = " ".join(Path(first["report"]).read_text("utf-8").split())
    assert first["answer"].split(":")[0] in page
    lock = json.loads(Path(first["lock"]).read_text())
    assert set(lock["results"]) == {_name(run) for run in first["runs"]}
    features = {name for run in first["runs"] for name in run["result"]["features"]}
    assert features == {key["backbone"] for key in lock["keys"].values()}
    weights = {key["weights"] for run in first["runs"] for key in run["result"]["keys"]}
    assert weights == {key["weights"] for key in lock["keys"].values()}
    assert second["n_forwarded"] == 0
    assert second["answer"] == first["answer"]
    assert json.loads(Path(second["lock"]).read_text()) == lock


def _name(run: Any) -> str:
    head = run["run"]["head"]
    return " + ".join(run["run"]["features"]) + ("" if head == "logistic" else f", {head}")


def check_rows(featcache: Call, found: Any, store: Path) -> None:
    """Every row of a logistic head is what ``probe`` says of the same features."""
    for run in found["runs"]:
        if run["run"]["head"] != "logistic":
            continue
        features = ",".join(run["result"]["features"])
        train = [part for name in run["run"]["train"] for part in ("--train", name)]
        probed = featcache(
            "probe", "--features", features, *train, *FEW, "--cache", store, "--json"
        )
        assert probed.code == 0, probed.err
        for name, one in run["result"]["generators"].items():
            for metric in ("ap", "acc", "auroc"):
                assert one[metric] == pytest.approx(
                    probed.json["generators"][name][metric], abs=1e-9
                )


@pytest.mark.parametrize("name", STUDIES)
def test_study(name: str, featcache: Call, demo: Path, tmp_path: Path) -> None:
    flags, words = STUDIES[name]
    store = tmp_path / "store"
    place = ["--cache", store, "--out", tmp_path / "out", "--json"]
    where = ["--data", demo / "data", "--source-pattern", SOURCE_PATTERN]
    first = featcache("run", name, *flags, *where, *place)
    assert first.code == 0, first.err
    second = featcache("run", name, *flags, *where, *place)
    check(first.json, second.json, words)
    check_rows(featcache, first.json, store)
