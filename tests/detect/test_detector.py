"""New images: the same scores as probe's, bad files as rows, and a sense of what the head knows."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcache import Detector
from featcache.detect.crops import CROPS, cut, frame
from featcache.detect.prediction import predict
from featcache.errors import DataError, SettingsError, WeightsError
from featcache.probes.calibration import HeldOutLogits, fit_platt, share_ci
from featcache.probes.novelty import NoveltyModel
from featcache.probes.saved_head import SavedHead, load_head
from featcache.reports.formatting import format_fraction
from featcache.testing import make_images


@pytest.fixture(scope="module")
def trained(
    extracted: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A head and the CSV of probe's scores, made by the command line."""
    from featcache.cli import run

    folder = tmp_path_factory.mktemp("trained")
    head, scores = folder / "head.safetensors", folder / "scores.csv"
    command = ["probe", "--features", "efficientnet-lite0", "--cache", extracted[1], "-q"]
    command += ["--save", head, "--scores", scores]
    assert run([str(part) for part in command]) == 0
    return head, scores


def probe_scores(path: Path) -> dict[str, float]:
    with path.open(newline="") as file:
        return {row["sample_id"]: float(row["score"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("with_store", [False, True])
def test_scores_are_those_of_probe(
    extracted: tuple[Path, Path], trained: tuple[Path, Path], with_store: bool
) -> None:
    root, store = extracted
    head, scores = trained
    detector = Detector(head, cache=store if with_store else None, batch_size=5)
    predictions = detector(root / "test")
    expected = probe_scores(scores)
    assert {v.sample_id for v in predictions} == set(expected)
    assert {v.cached for v in predictions} == {with_store}
    for prediction in predictions:
        assert prediction.score == pytest.approx(expected[prediction.sample_id], abs=1e-5)
        assert prediction.verdict == ("fake" if prediction.score > 0.5 else "real")
        assert 0 < prediction.probability < 1


def test_image_in_memory_scores_as_its_file(
    extracted: tuple[Path, Path], trained: tuple[Path, Path]
) -> None:
    path = min((extracted[0] / "test").rglob("*.png"))
    detector = Detector(trained[0])
    (in_file,), (in_memory,) = detector(path), detector(Image.open(path))
    assert in_memory.score == pytest.approx(in_file.score, abs=1e-6)
    assert in_memory.path == ""


def test_command_prints_table_and_json_and_writes_csv(
    featcache: Callable[..., Any],
    extracted: tuple[Path, Path],
    trained: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    image = min((extracted[0] / "test").rglob("*.png"))
    table = tmp_path / "t.csv"
    ran = featcache("score", image, "--head", trained[0], "--json", "--out", table, "-q")
    assert ran.code == 0
    (row,) = ran.json["images"]
    assert row["path"] == str(image)
    assert row["verdict"] in ("fake", "real")
    assert float(next(csv.DictReader(table.read_text().splitlines()))["score"]) == row["score"]


def test_table_reads_well_at_80_columns(
    featcache: Callable[..., Any],
    extracted: tuple[Path, Path],
    trained: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    good = min((extracted[0] / "test").rglob("*.png"))
    Path("photos").mkdir()
    Path("photos/IMG_20260101_120000.png").write_bytes(good.read_bytes())
    Path("photos/broken.jpg").write_text("no picture")
    ran = featcache("score", "photos", "--head", trained[0], "-q")
    (prediction,) = (v for v in Detector(trained[0])("photos") if not v.problem)
    header, scored, broken, *_ = (line.rstrip() for line in ran.out.splitlines())
    assert header.split() == ["prediction", "probability", "known", "seen", "image"]
    shown = [prediction.prediction, format_fraction(prediction.probability)]
    assert scored.split()[:2] == shown
    assert scored.endswith("  photos/IMG_20260101_120000.png")
    assert broken.split()[:5] == ["-", "-", "-", "-", "photos/broken.jpg:"]
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "Fake: probability above 0." in ran.out
    assert "reals" in ran.out
    assert ran.code == 6


def test_bad_image_is_a_row_with_its_reason_and_exit_6(
    featcache: Callable[..., Any],
    extracted: tuple[Path, Path],
    trained: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    good = min((extracted[0] / "test").rglob("*.png"))
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.png").write_bytes(good.read_bytes()[:300])
    (folder / "b.png").write_bytes(good.read_bytes())
    (folder / "c.jpg").write_text("no picture")
    (folder / "d.png").symlink_to(folder / "nowhere.png")
    ran = featcache("score", folder, "--head", trained[0], "--json", "-q")
    assert ran.code == 6
    rows = {Path(row["path"]).name: row for row in ran.json["images"]}
    assert list(rows) == ["a.png", "b.png", "c.jpg", "d.png"]
    assert rows["b.png"]["problem"] == ""
    assert rows["b.png"]["score"] is not None
    for name, message in (
        ("a.png", "damaged"),
        ("c.jpg", "not an image"),
        ("d.png", "No such file"),
    ):
        assert message in rows[name]["problem"]
        assert rows[name]["score"] is None


def test_two_heads_give_two_rows(extracted: tuple[Path, Path], trained: tuple[Path, Path]) -> None:
    head = load_head(trained[0])
    another = replace(head, bias=head.bias - 100).save(trained[0].with_name("other.safetensors"))
    image = min((extracted[0] / "test").rglob("*.png"))
    first, second = Detector(trained[0], another, cache=extracted[1])(image)
    assert (first.head, second.head) == ("head.safetensors", "other.safetensors")
    assert second.verdict == "real"
    assert second.score < first.score


def test_views_are_averaged(extracted: tuple[Path, Path], trained: tuple[Path, Path]) -> None:
    image = min((extracted[0] / "test").rglob("*.png"))
    both, clean, jpeg = (
        Detector(trained[0], views=views)(image)[0]
        for views in (("clean", "jpeg:50"), ("clean",), ("jpeg:50",))
    )
    assert jpeg.logit != pytest.approx(clean.logit, abs=1e-3)
    assert both.logit == pytest.approx((clean.logit + jpeg.logit) / 2, abs=1e-5)


def test_other_images_are_told_to_be_outside(
    extracted: tuple[Path, Path], trained: tuple[Path, Path], tmp_path: Path
) -> None:
    like = sorted((extracted[0] / "test").rglob("0_real/*.png"))[:6]
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[::8], colours[:, :, 0] = 255, 200
    Image.fromarray(colours).save(tmp_path / "stripes.png")
    predictions = Detector(trained[0])(*like, tmp_path / "stripes.png")
    assert predictions[-1].outside
    assert "do not rely" in predictions[-1].familiarity
    assert max(v.distance for v in predictions[:-1]) < predictions[-1].distance
    assert np.mean([v.outside for v in predictions[:-1]]) < 0.5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weights": "blake2b:0"}, WeightsError, "--weights efficientnet-lite0=FILE"),
        ({"architecture": "timm:other"}, DataError, "architecture is 'timm:other'"),
    ],
)
def test_features_that_cannot_be_made_are_refused(
    trained: tuple[Path, Path], change: dict[str, str], error: type[Exception], message: str
) -> None:
    head = load_head(trained[0])
    changed = replace(head, feature_keys=[{**head.feature_keys[0], **change}])
    path = changed.save(trained[0].with_name("changed.safetensors"))
    with pytest.raises(error, match=message):
        Detector(path)(make_images(1, seed=0)[0])


def test_head_keeps_calibration_and_spread(trained: tuple[Path, Path]) -> None:
    head = load_head(trained[0])
    assert head.calibration is not None
    assert head.spread is not None
    again = load_head(head.save(trained[0].with_name("again.safetensors")))
    assert again.calibration == head.calibration
    assert again.spread is not None
    for name, value in vars(head.spread).items():
        np.testing.assert_array_equal(getattr(again.spread, name), value)
    assert head.held_out is not None
    assert again.held_out is not None
    for name, value in vars(head.held_out).items():
        np.testing.assert_array_equal(getattr(again.held_out, name), value)


def test_onnx_agrees_with_the_detector(
    featcache: Callable[..., Any],
    extracted: tuple[Path, Path],
    trained: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    pytest.importorskip("onnx", reason="needs featcache[onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="needs featcache[onnx]")
    file = tmp_path / "detector.onnx"
    ran = featcache("score", "--head", trained[0], "--onnx", file, "--json")
    assert ran.code == 0, ran.err
    head = load_head(trained[0])
    from featcache.cache import FeatureKey
    from featcache.detect.features import make_request

    request = make_request(FeatureKey(head.feature_keys[0]), {})
    paths = sorted((extracted[0] / "test").rglob("*.png"))[:3]
    pixels = np.stack([request.preprocessing(Image.open(path).convert("RGB")) for path in paths])
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    given = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    logits, probabilities = session.run(None, {"pixels": given})
    predictions = Detector(trained[0])(*paths)
    np.testing.assert_allclose(logits, [v.logit for v in predictions], atol=1e-4)
    np.testing.assert_allclose(probabilities, [v.score for v in predictions], atol=1e-4)


def test_platt_recovers_a_known_sigmoid() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * logits - 0.7)))).astype(np.int64)
    result = fit_platt(logits, labels)
    assert result is not None
    assert result.slope == pytest.approx(0.5, abs=0.03)
    assert result.offset == pytest.approx(-0.7, abs=0.05)
    assert fit_platt(-logits, labels) is None


def test_spread_knows_its_own_and_not_others() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(20, 200))
    inside, fresh = (rng.normal(size=(n, 20)) @ mixing for n in (600, 300))
    noise, another = 0.1 * rng.normal(size=(600, 200)), 0.1 * rng.normal(size=(300, 200))
    spread = NoveltyModel.fit(inside + noise, np.arange(600).astype(object))
    held_out = spread.tail_probability(spread.distance(fresh + another))
    assert 0.35 < held_out.mean() < 0.7
    assert (held_out < 0.01).mean() < 0.03
    away = spread.tail_probability(spread.distance(fresh + 3 * rng.normal(size=(300, 200))))
    assert (away < 0.01).mean() > 0.95


def test_messages_name_what_mends_them(featcache: Callable[..., Any], tmp_path: Path) -> None:
    assert "probe --save" in featcache("score", "x.png").err
    ran = featcache("score", "x.png", "--head", tmp_path / "none", "--json")
    assert ran.code == 3
    assert json.loads(ran.out)["error"]["exit_code"] == 3


def some_held_out(n: int = 200, seed: int = 0) -> HeldOutLogits:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    logits = rng.normal(0, 1, n) + np.where(labels == 1, 1.0, -1.0)
    return HeldOutLogits.of(logits, labels, (np.arange(n) // 4).astype(object))


def test_error_rates_are_counts_on_the_held_out_data() -> None:
    held_out = some_held_out()
    rates = held_out.rates(0.3)
    real, fake = (held_out.logits[held_out.labels == label] for label in (0, 1))
    assert rates.fpr == sum(x > 0.3 for x in real) / len(real)
    assert rates.fnr == sum(x <= 0.3 for x in fake) / len(fake)
    assert (rates.n_real, rates.n_sources_real) == (100, 50)
    assert rates.fpr_ci[0] < rates.fpr < rates.fpr_ci[1]


@pytest.mark.parametrize("per_source", [1, 5])
def test_interval_of_a_share_covers_the_truth_with_dependent_samples(per_source: int) -> None:
    """All samples of a source agree: an interval that counts samples would cover far too rarely."""
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(400):
        above = np.repeat(rng.random(60) < 0.2, per_source)
        low, high = share_ci(above, np.repeat(np.arange(60), per_source))[1]
        covered.append(low <= 0.2 <= high)
    assert np.mean(covered) > 0.92


def test_no_error_seen_is_no_proof_of_none() -> None:
    share, (low, high) = share_ci(np.zeros(50, bool), np.arange(50))
    assert (share, low) == (0, 0)
    assert 0.05 < high < 0.12


def test_target_rate_is_reached_and_not_wasted() -> None:
    held_out = some_held_out()
    for target in (0.01, 0.05, 0.3):
        threshold = held_out.threshold_for_fpr(target)
        assert held_out.rates(threshold).fpr <= target
        assert (
            held_out.rates(np.nextafter(np.float32(threshold), np.float32(-9))).fpr > target - 0.01
        )
    with pytest.raises(SettingsError, match="100 held-out reals"):
        held_out.threshold_for_fpr(0.009)


def test_many_held_out_samples_are_thinned_by_source() -> None:
    n = 50_000
    labels, sources = np.arange(n) % 2, (np.arange(n) // 10).astype(object)
    held_out = HeldOutLogits.of(np.arange(n, dtype=float), labels, sources)
    assert 19_000 < len(held_out.logits) <= 20_000
    assert set(np.bincount(held_out.sources)) == {0, 10}


def test_outcomes_follow_threshold_band_and_distribution() -> None:
    held_out = some_held_out()
    head = SavedHead(weight=np.zeros(1), bias=0.0, held_out=held_out)
    logits = [np.array([x]) for x in (-4.0, -0.1, 0.1, 4.0)]
    unknown = [np.array([np.nan])] * 4
    outcomes = [row["prediction"] for row in predict(head, logits, unknown, 0.0)]
    assert outcomes == ["real", "inconclusive", "inconclusive", "fake"]
    assert [row["verdict"] for row in predict(head, logits, unknown, 0.0)][1:3] == ["real", "fake"]
    without = replace(head, held_out=None)
    outcomes = [row["prediction"] for row in predict(without, logits, unknown, 0.0)]
    assert outcomes == ["real", "real", "fake", "fake"]


def test_few_held_out_images_of_the_other_class_decide_nothing() -> None:
    """With 10 reals the smallest share that can be measured is 1 in 11, over 5 %."""
    held_out = some_held_out(20)
    head = SavedHead(weight=np.zeros(1), bias=0.0, held_out=held_out)
    (row,) = predict(head, [np.array([50.0])], [np.array([np.nan])], 0.0)
    assert (row["prediction"], row["p_real"]) == ("inconclusive", 1 / 11)


def test_threshold_is_on_the_probability_that_is_shown(
    extracted: tuple[Path, Path], trained: tuple[Path, Path]
) -> None:
    images = sorted((extracted[0] / "test").rglob("*.png"))
    for value in (0.3, 0.9):
        predictions = Detector(trained[0], cache=extracted[1], threshold=value)(*images)
        for prediction in predictions:
            assert prediction.probability_threshold == pytest.approx(value)
            assert (prediction.verdict == "fake") == (prediction.probability > value)
    with pytest.raises(SettingsError, match="not both"):
        Detector(trained[0], threshold=0.5, target_fpr=0.1)


def test_heads_without_held_out_data_say_what_is_not_known(
    featcache: Callable[..., Any], extracted: tuple[Path, Path], trained: tuple[Path, Path]
) -> None:
    old = replace(load_head(trained[0]), held_out=None, calibration=None, spread=None)
    path = old.save(trained[0].with_name("old.safetensors"))
    image = min((extracted[0] / "test").rglob("*.png"))
    ran = featcache("score", image, "--head", path, "-q")
    assert "are not known" in ran.out
    assert "not calibrated" in ran.out
    ran = featcache("score", image, "--head", path, "--target-fpr", "0.1", "-q")
    assert ran.code == 2
    assert "probe --save" in ran.err


def test_files_passed_over_are_counted_with_the_reason(
    featcache: Callable[..., Any],
    extracted: tuple[Path, Path],
    trained: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    good = min((extracted[0] / "test").rglob("*.png")).read_bytes()
    (tmp_path / "photos" / "deeper").mkdir(parents=True)
    contents = {"a.png": good, "b": good, "c.mp4": b"ftyp", ".d.png": good, "deeper/e.docx": b"x"}
    for name, data in contents.items():
        (tmp_path / "photos" / name).write_bytes(data)
    ran = featcache("score", tmp_path / "photos", "--head", trained[0], "--json", "-q")
    scored = [Path(row["path"]).name for row in ran.json["images"]]
    reasons = {Path(one["path"]).name: one["reason"] for one in ran.json["skipped"]}
    assert scored == ["a.png", "b"]
    assert reasons == {
        "c.mp4": "no image (.mp4)",
        ".d.png": "hidden file",
        "e.docx": "no image (.docx)",
    }


KEY = {
    "view": {"name": "clean"},
    "preprocessing": {"resize": "none", "interpolation": "none", "size": 32, "aspect": "kept"},
}


@pytest.mark.parametrize("crops", CROPS)
@pytest.mark.parametrize("resize", ["none", 48])
@pytest.mark.parametrize("size", [(100, 64), (70, 200), (32, 32), (20, 90), (10, 12)])
def test_boxes_are_what_the_crops_hold(crops: str, resize: Any, size: tuple[int, int]) -> None:
    """The coverage of the boxes is the share of marked pixels; each crop holds its box."""
    how = {**KEY["preprocessing"], "resize": resize, "interpolation": "nearest"}
    width, height = size
    image = Image.fromarray(np.full((height, width, 3), 255, np.uint8))
    framing = frame({**KEY, "preprocessing": how}, width, height, crops)
    assert framing is not None
    scale = 1.0 if resize == "none" else 48 / min(size)
    parts = cut(how, image, crops)
    boxes = framing.boxes * 2 if crops == "tencrop" else framing.boxes
    assert len(parts) == len(boxes)
    for part, (left, top, right, bottom) in zip(parts, boxes, strict=True):
        seen = (part[:, :, 0] == 255).sum()
        assert seen == pytest.approx((right - left) * (bottom - top) * scale**2, rel=0.05)
    fine = 20  # points along each pixel
    marked = np.zeros((height * fine, width * fine), bool)
    for left, top, right, bottom in np.round(np.array(framing.boxes) * fine).astype(int):
        marked[top:bottom, left:right] = True
    assert framing.coverage == pytest.approx(marked.mean(), abs=0.01)


def test_grid_covers_what_fits_into_it() -> None:
    framing = frame(KEY, 150, 190, "grid")
    assert framing is not None
    assert (len(framing.boxes), framing.coverage) == (30, 1.0)
    large = frame(KEY, 4000, 3000, "grid")
    assert large is not None
    assert len(large.boxes) == 36
    assert frame({**KEY, "view": {"name": "resize:0.5"}}, 100, 100) is None


def test_crops_spread_and_center_agrees(
    extracted: tuple[Path, Path], trained: tuple[Path, Path], tmp_path: Path
) -> None:
    image = tmp_path / "large.png"
    make_images(1, seed=3, size=500)[0].save(image)
    center, ten, grid = (
        Detector(trained[0], crops=crops, batch_size=4)(image)[0] for crops in CROPS
    )
    assert (center.n_crops, ten.n_crops, grid.n_crops) == (1, 10, 9)
    assert center.coverage == pytest.approx(224**2 / 500**2)
    assert grid.coverage == 1.0
    for prediction in (ten, grid):
        low, high = prediction.probability_low, prediction.probability_high
        assert low <= prediction.probability <= high
        assert low < high
    small = min((extracted[0] / "test").rglob("*.png"))
    alone, grid = (Detector(trained[0], crops=crops)(small)[0] for crops in ("center", "grid"))
    assert grid.logit == pytest.approx(alone.logit, abs=1e-5)


def test_rotated_photographs_score_as_extracted(
    featcache: Callable[..., Any], tmp_path: Path, extracted: tuple[Path, Path]
) -> None:
    """The preset with ``+exif`` reaches extraction, head and new images alike."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = tmp_path / "photo.jpg"
    make_images(1, seed=5, size=300)[0].crop((0, 0, 300, 240)).save(photo, exif=exif)
    Image.open(photo).rotate(-90, expand=True).save(tmp_path / "upright.png")
    store, head, preset = tmp_path / "store", tmp_path / "h.safetensors", "univfd+exif"
    common = ["--cache", store, "--preset", preset, "-q"]
    root = extracted[0]
    ran = featcache("extract", "--backbone", "efficientnet-lite0", "--data", root, *common)
    assert ran.code == 0, ran.err
    ran = featcache("probe", "--features", "efficientnet-lite0", "--save", head, *common)
    assert ran.code == 0, ran.err
    assert load_head(head).feature_keys[0]["preprocessing"]["decoding"]["exif"] == "rotate"
    for crops in CROPS:
        turned, upright = Detector(head, crops=crops)(photo, tmp_path / "upright.png")
        assert turned.logit == pytest.approx(upright.logit, abs=1e-3)
