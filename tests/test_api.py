"""Python of ten lines: scan, extract, probe, arrays, compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, matthews_corrcoef
from sklearn.svm import LinearSVC
from torchvision import transforms

import featcache as fc
from featcache.api import Dataset, FeatureSet, Probe
from featcache.backbones import BACKBONES, build_network, resolve
from featcache.backbones.resolve import weights_id
from featcache.errors import DataError, SettingsError, WeightsError
from featcache.testing import make_tree

LITE, LAYER = "efficientnet-lite0", "efficientnet-lite0@layer5"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("api") / "toy", n=6)


@pytest.fixture(scope="module")
def dataset(root: Path) -> Dataset:
    return fc.scan(str(root))


@pytest.fixture(scope="module")
def features(dataset: Dataset, root: Path) -> FeatureSet:
    return fc.extract(dataset, f"{LITE},{LAYER}", cache=str(root.parent / "store"), device="cpu")


@pytest.fixture(scope="module")
def probe(features: FeatureSet) -> Probe:
    return features.probe(LITE, train="progan", metrics={"mcc": mcc})


def mcc(y: np.ndarray, p: np.ndarray) -> float:
    return float(matthews_corrcoef(y, p > 0.5))


def test_scan_writes_nothing_and_shows_its_rows(
    dataset: Dataset, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    again = fc.scan([root])
    assert list((tmp_path / "empty").iterdir()) == []
    table = again.to_pandas()
    assert list(again.manifest) == list(dataset.manifest)
    assert len(table) == len(list(dataset.manifest))
    assert set(table.label) == {0, 1}
    assert repr(again) == f"Dataset({root}: {len(dataset.scans[0].manifest):,} samples)"


def test_extract_is_a_function_and_a_package() -> None:
    from featcache.extract import ExtractOptions

    assert callable(fc.extract)
    assert fc.extract.ExtractOptions is ExtractOptions is fc.ExtractOptions


def test_the_store_is_that_of_the_command_line(features: FeatureSet, dataset: Dataset) -> None:
    store = features.store.root
    loaded = fc.load_features([LITE, LAYER], cache=store)
    assert list(loaded.manifest) == list(features.manifest) == list(dataset.manifest)
    assert loaded.features == features.features == [LITE, LAYER]
    assert str(store) in repr(features)


def test_probe_equals_run_probe(probe: Probe, features: FeatureSet) -> None:
    options = fc.ProbeOptions(features=[LITE], train=["progan"])
    expected = fc.run_probe(features.manifest, features.store, options)
    assert json.dumps(probe.result.to_dict()) == json.dumps(expected.result.to_dict())
    np.testing.assert_array_equal(probe.scores.logit, expected.scores.logit)


def test_the_table_has_the_metrics_of_scikit_learn_and_the_user(probe: Probe) -> None:
    table = probe.to_pandas()
    assert list(table.index) == list(probe.result.generators)
    for name in table.index:
        rows_of = probe.scores.generator == name
        y, p = probe.scores.label[rows_of], probe.scores.score[rows_of]
        ap = average_precision_score(y, probe.scores.logit[rows_of])
        assert table.ap[name] == pytest.approx(ap, abs=1e-12)
        assert table.mcc[name] == pytest.approx(mcc(y, p), abs=1e-12)
        assert table.ap_low[name] <= table.ap[name] <= table.ap_high[name]


def test_reprs_are_short(probe: Probe) -> None:
    assert repr(probe).startswith(f"Probe({LITE}, logistic: mAP ")
    assert len(repr(probe)) < 120
    page = probe._repr_html_()
    assert "<table" in page
    assert len(page) < 10_000


def test_files(probe: Probe, tmp_path: Path) -> None:
    assert r"\toprule" in probe.to_latex(str(tmp_path / "t.tex")).read_text()
    assert "<html" in probe.report(str(tmp_path / "r.html")).read_text()
    saved = fc.load_head(probe.save(str(tmp_path / "h.safetensors")))
    assert probe.head is not None
    np.testing.assert_allclose(saved.weight, probe.head.weight)


def test_any_classifier_of_scikit_learn_and_a_grid(features: FeatureSet) -> None:
    svc = features.probe(LITE, train=["progan"], head=LinearSVC(random_state=0))
    assert "LinearSVC" in svc.result.head
    grid = features.probe(train="progan", C="grid", head="logistic")
    assert grid.result.features == [LITE, LAYER]
    assert grid.result.selection is not None


def test_arrays_hold_each_content_once(features: FeatureSet, root: Path) -> None:
    fc.extract(fc.scan(root), LITE, cache=features.store.root, device="cpu", views="jpeg:70")
    X, y, sources = features.arrays([LITE, LAYER], split="train", generators="progan")
    jpeg, *_ = features.arrays(LITE, split="train", generators="progan", view="jpeg:70")
    assert jpeg.shape == (len(X), jpeg.shape[1])
    assert not np.array_equal(jpeg, X[:, : jpeg.shape[1]])
    rows = {
        s.sample_id: s
        for s in features.manifest
        if s.split == "train" and s.paired_with == "progan"
    }
    assert len(X) == len(y) == len(sources) == len(rows)
    assert X.shape[1] == sum(
        features.store.summary(features.store.find(name, view="clean")).n_features
        for name in (LITE, LAYER)
    )
    assert y.tolist() == [rows[name].label for name in sorted(rows)]
    with pytest.raises(DataError, match="No sample has split 'train'"):
        features.arrays(LITE, split="train", generators="nobody")


def test_compare(probe: Probe, features: FeatureSet) -> None:
    second = features.probe(LAYER, train="progan")
    result = fc.compare(probe, second)
    expected = probe.result.mAP - second.result.mAP
    assert result.overall.difference == pytest.approx(expected, abs=1e-12)
    assert result.overall.other == [LAYER]


def test_ablate(features: FeatureSet) -> None:
    result = features.ablate(train="progan", n_resamples=50)
    assert [row.features for row in result.rows if len(row.features) == 2] == [[LITE, LAYER]]


class Tiny(torch.nn.Module):
    """A network of one's own: means of a few random filters."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.filters = torch.nn.Parameter(torch.randn(6, 3, 5, 5, generator=generator))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = torch.nn.functional.conv2d(images, self.filters).relu()
        return self.dropout(maps.mean(dim=(2, 3)))


INPUT = {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "resize": 40}


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """A module registered as ``mine`` for one test."""
    monkeypatch.setattr(BACKBONES, "_added", {})
    module = Tiny()
    fc.register_backbone("mine", module, preprocessing=INPUT)
    return module


def test_a_module_is_a_backbone_of_every_command(
    own: Tiny, root: Path, tmp_path: Path, featcache: Callable[..., Any]
) -> None:
    store, head = tmp_path / "store", tmp_path / "head.safetensors"
    place = ("--data", root, "--cache", store)
    made = featcache("extract", "--backbone", "mine", *place, "--json")
    assert made.code == 0, made.err
    assert made.json["backbones"][0]["preset"] == "native"
    features = fc.extract(root, "mine", cache=store)
    X, _, _ = features.arrays()
    sample = min(features.manifest, key=lambda row: row.sample_id)
    image = Image.open(sample.path)
    prepared = transforms.Compose(
        [transforms.Resize(40, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(32),
         transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.25,) * 3)]
    )(image)  # fmt: skip
    with torch.inference_mode():
        expected = own.eval()(prepared[None])[0]
    np.testing.assert_allclose(X[0], expected, rtol=1e-5, atol=1e-6)
    probed = featcache("probe", "--features", "mine", "--cache", store, "--save", head, "--json")
    assert probed.code == 0, probed.err
    scored = featcache("score", sample.path, "--head", head, "--device", "cpu", "--json")
    assert scored.code == 0, scored.err
    listed = {row["name"]: row for row in featcache("backbones", "ls", "--json").json["backbones"]}
    assert (listed["mine"]["weights"], listed["mine"]["n_features"]) == ("in memory", 6)
    assert featcache("backbones", "show", "mine").code == 0
    fc.register_backbone("mine", Tiny(seed=1), preprocessing=INPUT)
    rescored = featcache("score", sample.path, "--head", head, "--device", "cpu")
    assert (rescored.code, "other weights" in rescored.err) == (5, True), rescored.err


def test_a_registered_module_is_known_by_its_state(own: Tiny) -> None:
    def key() -> str:
        return str(weights_id(resolve("mine")))

    first = key()
    fc.register_backbone("mine", Tiny(), preprocessing=INPUT)
    assert key() == first
    fc.register_backbone("mine", Tiny(), preprocessing=INPUT, weights_id="v2")
    assert key() == f"{first}+v2"
    fc.register_backbone("mine", Tiny(seed=1), preprocessing=INPUT)
    assert key() not in (first, f"{first}+v2")
    assert own.training  # as it was given


def test_a_module_that_changes_after_it_was_registered_is_refused(own: Tiny) -> None:
    with torch.no_grad():
        own.filters += 1
    with pytest.raises(WeightsError, match="has changed since it was registered"):
        build_network([resolve("mine")])


def test_running_in_bf16_leaves_the_module_as_it_is(own: Tiny, root: Path, tmp_path: Path) -> None:
    before = own.filters.detach().clone()
    fc.extract(root, "mine", cache=tmp_path, precision="bf16", device="cpu")
    assert torch.equal(own.filters, before)


def test_a_model_of_timm_can_be_read_at_its_layers(own: Tiny) -> None:
    import timm

    model = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=32, depth=2, embed_dim=24
    )
    fc.register_backbone("own-vit", model, preprocessing={**INPUT, "resize": None})
    specs = [resolve(name) for name in ("own-vit", "own-vit@layer1:mean")]
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        final, layer = build_network(specs)(images)
        (expected,) = model.forward_intermediates(
            images, indices=[0], output_fmt="NLC", intermediates_only=True, norm=False
        )
        torch.testing.assert_close(final, model(images))
    torch.testing.assert_close(layer, expected.mean(dim=1))


@pytest.mark.parametrize(
    ("name", "module", "preprocessing", "message"),
    [
        ("clip", Tiny(), INPUT, "cannot be the name of a new backbone"),
        ("resnet50", Tiny(), INPUT, "cannot be the name of a new backbone"),
        ("a@b", Tiny(), INPUT, "cannot be the name of a new backbone"),
        ("mine", Tiny(), {"size": 32}, "not complete"),
        ("mine", Tiny(), {**INPUT, "std": (0, 1, 1)}, "makes no sense"),
        ("mine", torch.nn.Conv2d(3, 2, 1), INPUT, r"gives shape \(1, 2, 32, 32\) for one image"),
        ("mine", torch.nn.Conv2d(4, 2, 1), INPUT, "takes no images"),
    ],
)
def test_what_is_no_backbone_is_refused(
    own: Tiny, name: str, module: torch.nn.Module, preprocessing: Any, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        fc.register_backbone(name, module, preprocessing=preprocessing)
