"""Numbers that misled once, each with the right value beside a reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from featcache.cache import FeatureStore, Rows
from featcache.cache.testing import make_key
from featcache.datasets import Manifest, Sample
from featcache.datasets.protocols import AS_RELEASED, get_protocol
from featcache.errors import DataError
from featcache.evaluate import ProbeOptions, calibrate_head, run_probe
from featcache.evaluate.contributions import debiased_cka
from featcache.evaluate.task import prepare_task
from featcache.files import digest_bytes
from featcache.metrics import SortedScores, point_metrics
from featcache.probes.novelty import NoveltyModel

RNG = np.random.default_rng(0)


def sid(name: str) -> str:
    return digest_bytes(name.encode())


def build(
    folder: Path,
    rows: list[tuple[str, int, str, str]],
    features: dict[str, dict[str, dict[str, Any]]],
) -> tuple[Manifest, FeatureStore]:
    """Make a store: rows of (name, label, generator, split), features by name, view and id."""
    samples = [
        Sample(
            dataset="d", root="/d", path=f"/d/{split}/{generator}/{label}/{name}.png", label=label,
            generator=generator if label else "real", paired_with=generator, family="GAN",
            split=split, sample_id=sid(name), source=sid(name),
        )
        for name, label, generator, split in rows
    ]  # fmt: skip
    store = FeatureStore(folder)
    for backbone, views in features.items():
        for view, table in views.items():
            key = make_key(backbone=backbone, view={"name": view, "steps": []})
            ids = sorted(table)
            values = np.stack([table[name] for name in ids]).astype(np.float32)
            store.write(key, digest_bytes(view.encode()), Rows(ids, values, {}), {})
    return Manifest(tuple(samples)), store


def test_the_order_is_that_of_the_logits_also_where_the_sigmoid_is_saturated() -> None:
    y = np.array([0, 0, 1, 1, 0, 1])
    logit = np.array([40.0, 50.0, 60.0, 70.0, -60.0, -50.0])
    ranked = SortedScores.of(y, expit(logit), logit=logit)
    metrics = point_metrics(ranked)
    assert metrics["ap"] == pytest.approx(average_precision_score(y, logit))
    assert metrics["auroc"] == pytest.approx(roc_auc_score(y, logit))
    assert metrics["acc"] == pytest.approx(np.mean((logit > 0) == y))


def test_a_probe_reports_the_ap_of_its_logit_column(tmp_path: Path) -> None:
    rows, table = [], {}
    for split, n in (("train", 40), ("test", 60)):
        for i in range(n):
            for label in (0, 1):
                name = f"{split}{label}{i}"
                scale = 1.0 if split == "train" else 40.0
                table[sid(name)] = scale * (RNG.normal(size=8) + 2.0 * label)
                rows.append((name, label, "progan", split))
    manifest, store = build(tmp_path, rows, {"a": {"clean": table}})
    probed = run_probe(manifest, store, ProbeOptions(features=["a"], C=1e4, validate=False))
    scores, result = probed.scores, probed.result.generators["progan"]
    assert len(np.unique(scores.score)) < len(np.unique(scores.logit))  # it is saturated
    assert result.ap == pytest.approx(average_precision_score(scores.label, scores.logit))
    assert result.auroc == pytest.approx(roc_auc_score(scores.label, scores.logit))


def test_univfd_never_validates_on_test_images_unless_it_is_asked_to() -> None:
    for name in ("univfd", "dfwf", "4class"):
        assert not get_protocol(name).validation
    assert get_protocol(AS_RELEASED).validation == "progan"
    assert "TEST images" in get_protocol(AS_RELEASED).summary


@pytest.mark.parametrize("other", ["test", "train"])
def test_validation_images_that_are_elsewhere_too_are_a_leak(other: str, tmp_path: Path) -> None:
    rows, table = [], {}
    for split in ("train", "test"):
        for i in range(20):
            for label in (0, 1):
                name = f"{split}{label}{i}"
                table[sid(name)] = RNG.normal(size=6) + label
                rows.append((name, label, "progan", split))
                if split == other:
                    rows.append((name, label, "progan", "val"))
    manifest, store = build(tmp_path, rows, {"a": {"clean": table}})
    result = run_probe(manifest, store, ProbeOptions(features=["a"])).result
    kind = "test" if other == "test" else "training"
    assert any(f"validation images are also {kind} images" in note for note in result.notes)
    assert "leak" in [entry.code for entry in result.diagnosis]
    with pytest.raises(DataError, match="C cannot be chosen on this val split"):
        run_probe(manifest, store, ProbeOptions(features=["a"], grid=[0.1, 1.0]))


def test_validation_reals_count_for_each_generator_that_they_are_paired_with(
    tmp_path: Path,
) -> None:
    """C is chosen by the mean over generators of scikit-learn's validation AUROC."""
    rng = np.random.default_rng(1)
    generators, signs = ("g1", "g2", "g3"), rng.choice([-1, 1], 20)
    rows, table = [], {}
    for split, n in (("train", 50), ("val", 80), ("test", 20)):
        for i in range(n):
            name = f"{split}r{i}"
            table[sid(name)] = rng.normal(size=30)
            rows += [(name, 0, generator, split) for generator in generators]
            for generator in generators:
                name = f"{split}{generator}{i}"
                x = rng.normal(size=30)
                x[:20] += (0.4 if generator != "g3" else 0.0) * signs
                x[29] += 1.0 if generator == "g3" else 0.0
                table[sid(name)] = x
                rows.append((name, 1, generator, split))
    manifest, store = build(tmp_path, rows, {"a": {"clean": table}})
    grid = [1e-4, 1e-2, 1.0]
    result = run_probe(manifest, store, ProbeOptions(features=["a"], grid=grid)).result
    assert result.selection is not None

    def select(split: str, generator: str | None = None) -> tuple[Any, Any]:
        chosen = {
            sid(name): label
            for name, label, own, part in rows
            if part == split and generator in (None, own)
        }
        return np.stack([table[i] for i in chosen]), np.array(list(chosen.values()))

    X, y = select("train")
    scaler = StandardScaler().fit(X)
    for point, C in zip(result.selection.path, grid, strict=True):
        model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12)
        model.fit(scaler.transform(X), y)
        expected = [
            roc_auc_score(v, model.decision_function(scaler.transform(V)))
            for V, v in (select("val", generator) for generator in generators)
        ]
        assert point.score == pytest.approx(np.mean(expected), abs=2e-3)


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"scaling": "none", "C": 100.0},
        {"features": ["a", "b"], "fusion": "mean-logit"},
        {"features": ["a", "b"], "fusion": "stacking"},
        {"train_views": ["jpeg:70"]},
        {"head": "ridge"},
    ],
    ids=lambda flags: ",".join(map(str, flags.values())) or "default",
)
def test_probabilities_are_calibrated_on_the_head_that_is_saved(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    rows: list[tuple[str, int, str, str]] = []
    tables: dict[str, dict[str, dict[str, Any]]] = {
        "a": {"clean": {}, "jpeg:70": {}}, "b": {"clean": {}, "jpeg:70": {}}
    }  # fmt: skip
    for split, n in (("train", 300), ("test", 1500)):
        for i in range(n):
            for label in (0, 1):
                name, sign = f"{split}{label}{i}", 2 * label - 1
                x, z = (rng.normal(size=40) for _ in range(2))
                x[0] += 1.1 * sign
                z[1] += 0.9 * sign
                tables["a"]["clean"][sid(name)] = 0.05 * x
                tables["a"]["jpeg:70"][sid(name)] = 0.05 * (x + 2.0 * rng.normal(size=40))
                tables["b"]["clean"][sid(name)] = z
                tables["b"]["jpeg:70"][sid(name)] = z
                rows.append((name, label, "progan", split))
    manifest, store = build(tmp_path, rows, tables)
    options = ProbeOptions(**{"features": ["a"], "n_resamples": 10, **flags})
    head = calibrate_head(
        run_probe(manifest, store, options).saveable_head(), manifest, store, options
    )
    assert head.calibration is not None
    view = options.train_views[0]
    assert head.feature_keys[0]["view"]["name"] == view
    ids = [sid(name) for name, _, _, split in rows if split == "test"]
    y = np.array([label for _, label, _, split in rows if split == "test"])
    blocks = [np.stack([tables[f][view][i] for i in ids]) for f in options.features]
    p = head.calibration(head.logits(np.concatenate(blocks, axis=1).astype(np.float32)))
    bins = np.minimum((p * 10).astype(int), 9)
    ece = sum(abs((p - y)[bins == b].sum()) for b in range(10)) / len(y)
    assert ece < 0.07


@pytest.mark.parametrize("n", [100, 400, 1500])
def test_fresh_images_of_the_same_distribution_are_seldom_outside(n: int) -> None:
    rng, width = np.random.default_rng(n), 512
    scale = 1 / np.sqrt(1 + np.arange(width))
    model = NoveltyModel.fit(rng.normal(size=(n, width)) * scale, np.arange(n).astype(object))
    fresh = rng.normal(size=(2000, width)) * scale
    share = float((model.tail_probability(model.distance(fresh)) < 0.01).mean())
    assert share < 0.06


def test_unrelated_features_have_no_similarity_however_few_the_rows() -> None:
    rng = np.random.default_rng(0)
    for n in (40, 200):
        x, y = rng.normal(size=(n, 300)), rng.normal(size=(n, 500))
        assert abs(debiased_cka(x, y)) < 0.1
        assert debiased_cka(x, x @ np.linalg.qr(rng.normal(size=(300, 300)))[0]) == pytest.approx(1)


def test_univfd_sgd_gets_the_validation_split(tmp_path: Path) -> None:
    rows, table = [], {}
    for split, n in (("train", 40), ("val", 15), ("test", 15)):
        for i in range(n):
            for label in (0, 1):
                table[sid(f"{split}{label}{i}")] = RNG.normal(size=6) + label
                rows.append((f"{split}{label}{i}", label, "progan", split))
    manifest, store = build(tmp_path, rows, {"a": {"clean": table}})
    options = ProbeOptions(features=["a"], head="univfd-sgd", n_resamples=10)
    task = prepare_task(manifest, store, options)
    assert task.folds is not None
    assert task.folds.split_by == "val"
    with_val = run_probe(manifest, store, options).result
    without = run_probe(manifest, store, replace(options, validate=False)).result
    assert len(task.val) == 30
    assert with_val.generators["progan"].auroc > 0.5
    assert with_val.generators["progan"].brier != without.generators["progan"].brier
