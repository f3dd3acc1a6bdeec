"""Studies that come along, end to end and offline, on a small tree of the demo: the answer, the
rows, the lock.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featcache.backbones import resolve
from featcache.demo.build import build_tree
from featcache.demo.photographs import load_packaged
from featcache.demo.run import SOURCE_PATTERN

pytestmark = pytest.mark.slow
pytest.importorskip("ncnn", reason="the demo extra is not installed")
Call = Callable[..., Any]

LITE = "efficientnet-lite0"
N_PHOTOS = 8
FEW = ["--max-per-class", "4"]
STUDIES: dict[str, tuple[list[str], str]] = {
    "mixture": (
        ["--backbone", LITE, *FEW],
        r"^Fitted on fakes alone, .*: efficientnet-lite0 reaches AP 0\.\d\d at 5% fakes",
    ),
    "boundary": (
        ["--backbone", LITE, *FEW],
        r"^From which strength on AP lies above chance: efficientnet-lite0 sees ",
    ),
    "layers": (
        ["--backbone", "dinov2-vit-s14", "--random-init", "0", *FEW],
        r"^(No layer beats|The best layer on these test sets is) .* final feature",
    ),
    "resnet": (
        ["--backbone", f"dinov2-vit-s14,{LITE}", "--random-init", "0", *FEW],
        (
            r"^Against dinov2-vit-s14#random0 \(transformer, mAP .*efficientnet-lite0"
            r" \(convolutional\)"
        ),
    ),
    "robustness": (
        ["--backbone", LITE, *FEW],
        r"^In mAP, clean against the worst view: efficientnet-lite0 falls from",
    ),
    "finetune": (
        ["--backbone", LITE, "--train", "cyclegan", *FEW],
        r"^Against the frozen backbone, in points of mAP: ",
    ),
}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for photo in load_packaged()[:N_PHOTOS]:
        photo.image.save(folder / f"{photo.name}.png")
    return folder


@pytest.fixture(scope="session")
def demo(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's tree of a few photographs, made by its real generators, one crop of each."""
    out = tmp_path_factory.mktemp("demo")
    build_tree(out, photos=photos, full=True, n_reals=N_PHOTOS)
    return out


def check(first: Any, second: Any, message: str) -> None:
    """The report opens with the answer, the lock has all keys, and nothing is done twice."""
    assert re.search(message, first["answer"]), first["answer"]
    page = html.unescape(Path(first["report"]).read_text("utf-8"))
    finding = re.search('<p class="finding">(.*?)</p>', page)
    assert finding is not None
    assert finding[1] == first["answer"]
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


def check_rows(featcache: Call, result: Any, store: Path) -> None:
    """Every row of a logistic head is what ``probe`` says of the same features."""
    for run in result["runs"]:
        if run["run"]["head"] != "logistic":
            continue
        features = ",".join(run["result"]["features"])
        flags = [part for name in run["run"]["train"] for part in ("--train", name)]
        if features == LITE:  # the fine-tuned have the same name
            flags += ["--weights", f"{LITE}={resolve(LITE).find_weights()}"]
        probed = featcache(
            "probe", "--features", features, *flags, *FEW, "--cache", store, "--json"
        )
        assert probed.code == 0, probed.err
        for name, one in run["result"]["generators"].items():
            for metric in ("ap", "acc", "auroc"):
                assert one[metric] == pytest.approx(
                    probed.json["generators"][name][metric], abs=1e-9
                )


@pytest.mark.parametrize("name", STUDIES)
def test_study(name: str, featcache: Call, demo: Path, photos: Path, tmp_path: Path) -> None:
    flags, message = STUDIES[name]
    store = tmp_path / "store"
    place = ["--cache", store, "--out", tmp_path / "out", "--json"]
    where = ["--data", demo / "data", "--source-pattern", SOURCE_PATTERN]
    where = ["--photos", photos] if name == "boundary" else where
    first = featcache("run", name, *flags, *where, *place)
    assert first.code == 0, first.err
    second = featcache("run", name, *flags, *where, *place)
    check(first.json, second.json, message)
    check_rows(featcache, first.json, store)


def test_demo(
    featcache: Call, demo: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featcache.demo.build.N_REALS", N_PHOTOS)
    place = ["--out", demo, "--cache", tmp_path / "store", "--json"]
    command = ["run", "demo", "--photos", photos, *place]
    first = featcache(*command)
    assert first.code == 0, first.err
    second = featcache(*command)
    check(first.json, second.json, r"^Trained on cyclegan, .* unseen generators")
    check_rows(featcache, first.json, tmp_path / "store")
