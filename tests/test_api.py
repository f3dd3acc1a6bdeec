"""Python of ten lines: scan, extract, probe, arrays, compare."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, matthews_corrcoef
from sklearn.svm import LinearSVC

import featcache as fc
from featcache.api import Dataset, FeatureSet, Probe
from featcache.errors import DataError
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
