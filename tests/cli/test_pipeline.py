"""One path through the real program: real weights, real image files, the commands a user types."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

NAME = "efficientnet-lite0"
Call = Callable[..., Any]


def probe(featcache: Call, store: Path, *more: object) -> Any:
    ran = featcache("probe", "--features", NAME, "--cache", store, "--json", *more)
    assert ran.code == 0, ran.err
    return ran.json


def test_metrics_can_be_redone_from_the_scores(
    featcache: Call, extracted: tuple[Path, Path], tmp_path: Path
) -> None:
    result = probe(featcache, extracted[1], "--scores", tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(result["generators"]) == {row["generator"] for row in rows} == {"progan", "biggan"}
    for name, outcome in result["generators"].items():
        own = [row for row in rows if row["generator"] == name]
        label = np.array([int(row["label"]) for row in own])
        score = np.array([float(row["score"]) for row in own])
        assert outcome["ap"] == pytest.approx(average_precision_score(label, score), abs=1e-9)
        assert outcome["auroc"] == pytest.approx(roc_auc_score(label, score), abs=1e-9)
        assert outcome["acc"] == pytest.approx(np.mean((score > 0.5) == label), abs=1e-9)
        assert outcome["r_acc"] == pytest.approx(np.mean(score[label == 0] <= 0.5), abs=1e-9)
        assert outcome["f_acc"] == pytest.approx(np.mean(score[label == 1] > 0.5), abs=1e-9)
        assert (outcome["n_real"], outcome["n_fake"]) == (8, 8)
        assert outcome["ap_ci"][0] <= outcome["ap"] <= outcome["ap_ci"][1] + 1e-12
    aps = [outcome["ap"] for outcome in result["generators"].values()]
    assert result["mAP"] == pytest.approx(np.mean(aps), abs=1e-12)
    assert result["n_features"] == 1280


def test_only_the_named_generators_are_trained_on(
    featcache: Call, extracted: tuple[Path, Path]
) -> None:
    result = probe(featcache, extracted[1], "--train", "biggan")
    assert result["train"]["generators"] == ["biggan"]
    assert result["train"]["n_real"] == result["train"]["n_fake"] == 8


def test_features_equal_a_direct_forward_pass(
    featcache: Call, extracted: tuple[Path, Path], tmp_path: Path
) -> None:
    """Through torchvision's transforms and timm, written as a user of theirs would."""
    import timm
    import torch
    from PIL import Image
    from torchvision import transforms

    from featcache.backbones import BACKBONES
    from featcache.backbones.efficientnet_lite import rename
    from featcache.backbones.preprocess import CLIP_MEAN, CLIP_STD

    assert featcache("cache", "export", "--features", NAME, "--cache", extracted[1], "--out",
                     tmp_path / "f.npz").code == 0  # fmt: skip
    arrays = np.load(tmp_path / "f.npz", allow_pickle=False)
    weights = BACKBONES.get(NAME).find_weights()
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    stages = (1, 2, 2, 3, 3, 4, 1)
    model.load_state_dict(rename(torch.load(weights, weights_only=True), stages))
    model.reset_classifier(0)
    prepare = transforms.Compose(
        [
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )
    paths = arrays["path"][::9]
    batch = torch.stack([prepare(Image.open(path).convert("RGB")) for path in paths])
    with torch.inference_mode():
        expected = model.eval()(batch).numpy()
    np.testing.assert_allclose(arrays["features"][::9], expected, atol=1e-5)


def test_export_is_row_aligned_and_without_objects(
    featcache: Call, extracted: tuple[Path, Path], tmp_path: Path
) -> None:
    featcache(
        "cache", "export", "--features", NAME, "--cache", extracted[1], "--out", tmp_path / "f.npz"
    )
    arrays = np.load(tmp_path / "f.npz", allow_pickle=False)
    assert {len(arrays[name]) for name in arrays.files} == {64}
    assert not [name for name in arrays.files if arrays[name].dtype.hasobject]
    fake = np.array(["1_fake" in path for path in arrays["path"]])
    assert (arrays["label"] == fake).all()
    assert set(arrays["generator"][~fake]) == {"real"}
    assert all(g in p for g, p in zip(arrays["serves"], arrays["path"], strict=True))


def test_a_second_run_does_no_forward_pass_even_after_a_move(
    featcache: Call, extracted: tuple[Path, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(extracted[0], tmp_path / "moved" / "elsewhere")
    store = shutil.copytree(extracted[1], tmp_path / "store")
    for data in (extracted[0], root):
        ran = featcache("extract", "--backbone", NAME, "--data", data, "--cache", store, "--json")
        assert ran.code == 0
        (summary,) = ran.json["backbones"]
        assert (summary["n_forwarded"], summary["n_cached"]) == (0, 64)
    assert probe(featcache, store)["train"]["n_fake"] == 16  # the copies count once


def test_a_run_killed_between_shards_is_resumed_to_the_same_bytes(
    featcache: Call, extracted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featcache.cache import FeatureStore

    monkeypatch.setenv("FEATCACHE_SHARD_ROWS", "10")
    full, torn = tmp_path / "whole", tmp_path / "torn"
    command = ("extract", "--backbone", NAME, "--data", extracted[0], "-q", "--cache")
    assert featcache(*command, full).code == 0
    write, calls = FeatureStore.write, []

    def write_three(self: FeatureStore, *arguments: Any) -> Path:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(arguments)
        return write(self, *arguments)

    monkeypatch.setattr(FeatureStore, "write", write_three)
    interrupted = featcache(*command, torn)
    assert interrupted.code == 130
    assert "run the same command to go on" in interrupted.err
    monkeypatch.setattr(FeatureStore, "write", write)
    resumed = featcache(*command, torn, "--json")
    assert resumed.json["backbones"][0]["n_forwarded"] == 64 - 30
    assert shards(torn) == shards(full)
    assert len(shards(full)) == 7


def shards(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.rglob("*.h5")}


def test_settings_file_makes_the_bare_commands_work(
    featcache: Call, extracted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    (folder / "below").mkdir(parents=True)
    os.symlink(extracted[0], folder / "toy")
    os.symlink(extracted[1], folder / "store")
    (folder / "featcache.toml").write_text(
        f'cache = "store"\ndata = ["toy"]\nbackbone = ["{NAME}"]\ntrain = ["progan"]\n'
    )
    monkeypatch.chdir(folder / "below")
    assert featcache("extract").code == 2  # the store is a link out of the folder
    assert featcache("trust").code == 0
    assert featcache("extract", "--json").json["backbones"][0]["n_forwarded"] == 0
    assert featcache("probe", "--json").json["train"]["generators"] == ["progan"]


def test_ls_commands(featcache: Call, extracted: tuple[Path, Path]) -> None:
    store = extracted[1]
    (row,) = featcache("cache", "ls", "--cache", store, "--json").json["features"]
    assert (row["name"], row["n_samples"], row["n_features"]) == (NAME, 64, 1280)
    rows = featcache("datasets", "ls", "--cache", store, "--json").json["rows"]
    assert [(r["generator"], r["split"], r["n_real"], r["n_fake"]) for r in rows] == [
        ("biggan", "test", 8, 8),
        ("biggan", "train", 8, 8),
        ("progan", "test", 8, 8),
        ("progan", "train", 8, 8),
    ]
    assert NAME in featcache("cache", "ls", "--cache", store).out
    backbones = featcache("backbones", "ls", "--json").json["backbones"]
    assert [b["weights"] for b in backbones if b["name"] == NAME] == ["found"]


def test_doctor(featcache: Call, tmp_path: Path) -> None:
    ran = featcache("doctor", "--cache", tmp_path / "none", "--json")
    assert ran.code == 0
    assert ran.json["ok"] is True
    assert {"package", "device", "weights", "disk", "store"} <= {
        f["topic"] for f in ran.json["findings"]
    }


def test_report_is_written(featcache: Call, extracted: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the viz extra is not installed")
    probe(featcache, extracted[1], "--report", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "progan" in text
    assert "<svg" in text


def test_features_of_both_types_are_told_apart(tree: Path, tmp_path: Path, featcache: Call) -> None:
    store, head = tmp_path / "store", tmp_path / "half.safetensors"
    common = ("--backbone", "efficientnet-lite0", "--data", tree, "--cache", store)
    assert featcache("extract", *common).code == 0
    assert featcache("extract", *common, "--dtype", "float16").code == 0
    probe = ("probe", "--features", "efficientnet-lite0", "--cache", store, "--json")
    unclear = featcache(*probe)
    assert unclear.code == 2
    assert "--dtype" in unclear.err
    wide = featcache(*probe, "--dtype", "float32").json
    half = featcache(*probe, "--dtype", "float16", "--save", head).json
    assert half["mAP"] == pytest.approx(wide["mAP"], abs=0.01)
    assert "float16" in featcache("cache", "ls", "--cache", store).out
    image = next(tree.rglob("*.png"), None) or next(tree.rglob("*.jpg"))
    scored = featcache("score", image, "--head", head, "--json")
    assert scored.code == 0, scored.err


def test_status_and_events_of_an_extraction(tree: Path, tmp_path: Path, featcache: Call) -> None:
    store, log = tmp_path / "store", tmp_path / "log.jsonl"
    assert "No job" in featcache("cache", "status", "--cache", store).out
    next(tree.rglob("*.png")).write_bytes(b"no image")
    ran = featcache("extract", "--backbone", NAME, "--data", tree, "--cache", store,
                    "--log-json", log)  # fmt: skip
    assert ran.code == 6
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["event"] for event in events] == ["started", "progress", "finished"]
    assert events[-1]["n_done"] == events[-1]["n_images"] == events[0]["n_images"]
    assert events[-1]["n_rejected"] == 1
    document = featcache("cache", "status", "--cache", store, "--json").json
    (feature,), (job,) = document["features"], document["jobs"]
    assert feature["n_planned"] == feature["n_done"] == events[0]["n_images"]
    assert feature["n_rejected"] == 1
    assert (job["state"], job["pid"], job["part"]) == ("done", os.getpid(), "1/1")
    assert document["seconds_left"] is None
    watched = featcache("extract", "--watch", "--cache", store)
    assert watched.code == 0
    assert "done" in watched.out
