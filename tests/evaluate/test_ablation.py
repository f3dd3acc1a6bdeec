"""Ablation: its cells are the single probes', nothing is chosen on test data, and it needs no
torch.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.errors import DataError
from featcache.evaluate import (
    AblateOptions,
    ProbeOptions,
    ablate,
    efficiency,
    feature_rows,
    run_probe,
    transfer,
)
from featcache.probes import SavedHead, load_head
from featcache.reports.figures.curves import efficiency_figure
from featcache.reports.headline import ablation_headline
from featcache.reports.tables.ablation import subset_table, varied_fields

Call = Callable[..., Any]
NAMES = ("a", "b", "c")
GENERATORS = ("progan", "biggan", "adm")


def options(**changes: Any) -> ProbeOptions:
    values: dict[str, Any] = {
        "features": list(NAMES),
        "train": ["progan", "biggan"],
        "n_resamples": 200,
    }
    return ProbeOptions(**{**values, **changes})


@pytest.mark.parametrize("grid", [[], [1e-3, 1e-1, 10.0]])
def test_every_row_equals_the_single_probe(toy: tuple[Manifest, Path], grid: list[float]) -> None:
    manifest, folder = toy
    result = ablate(manifest, FeatureStore(folder), AblateOptions(probe=options(grid=grid)))
    assert len(result.rows) == 7
    for row in result.rows:
        single = run_probe(
            manifest, FeatureStore(folder), options(features=row.features, grid=grid)
        ).result
        assert row.C == single.C
        assert row.mAP == pytest.approx(single.mAP, abs=1e-6)
        assert row.val_threshold == pytest.approx(single.val_threshold, abs=1e-6)
        for name, outcome in single.generators.items():
            assert row.generators[name]["auroc"] == pytest.approx(outcome.auroc, abs=1e-6)
        assert row.mAP_ci == pytest.approx(single.mAP_ci, abs=1e-6)


def test_order_contributions_and_redundancy(toy: tuple[Manifest, Path]) -> None:
    manifest, folder = toy
    result = ablate(manifest, FeatureStore(folder), AblateOptions(probe=options()))
    values = [row.mAP for row in result.rows]
    assert values == sorted(values, reverse=True)
    full = next(row for row in result.rows if len(row.features) == 3)
    by_name = {entry.feature: entry for entry in result.contributions}
    assert sum(entry.shapley for entry in by_name.values()) == pytest.approx(
        full.mAP - 0.5, abs=1e-9
    )
    assert by_name["a"].shapley > by_name["c"].shapley
    assert result.similarity["a"]["b"] > 0.9 > result.similarity["a"]["c"]
    assert any("a and b are nearly the same" in note for note in result.notes)
    assert result.best_single in (["a"], ["b"])
    noise = next(row for row in result.rows if row.features == ["c"])
    assert noise.vs_best_single is not None
    assert noise.vs_best_single.p_holm < 0.01
    assert (
        next(row for row in result.rows if row.features == result.best_single).vs_best_single
        is None
    )


def test_selection_does_not_depend_on_test_labels(toy: tuple[Manifest, Path]) -> None:
    """Turning the test labels round changes no C, threshold or head."""
    manifest, folder = toy
    turned = Manifest(
        tuple(replace(s, label=1 - s.label) if s.split == "test" else s for s in manifest)
    )
    grid = [1e-4, 1e-2, 1.0]
    a = run_probe(manifest, FeatureStore(folder), options(grid=grid))
    b = run_probe(turned, FeatureStore(folder), options(grid=grid))
    assert a.result.selection == b.result.selection
    assert a.result.selection is not None
    assert a.result.selection.split_by == "generator"
    assert a.head is not None
    assert b.head is not None
    np.testing.assert_array_equal(a.head.weight, b.head.weight)
    assert a.result.mAP > 0.6 > b.result.mAP


def test_folds_hold_out_photographs(toy: tuple[Manifest, Path]) -> None:
    manifest, folder = toy
    outcome = run_probe(manifest, FeatureStore(folder), options(train=["progan"], grid=[0.1, 1.0]))
    assert outcome.result.selection is not None
    assert (outcome.result.selection.split_by, outcome.result.selection.n_folds) == ("source", 5)


@pytest.mark.parametrize("fusion", ["mean-logit", "stacking"])
def test_late_fusion(toy: tuple[Manifest, Path], fusion: str) -> None:
    manifest, folder = toy
    joint = run_probe(manifest, FeatureStore(folder), options(fusion=fusion))
    assert joint.head is not None
    if fusion == "mean-logit":
        entry = [
            run_probe(manifest, FeatureStore(folder), options(features=[name])).scores.logit
            for name in NAMES
        ]
        np.testing.assert_allclose(joint.scores.logit, np.mean(entry, axis=0), atol=1e-5)
    assert joint.result.mAP > 0.7


def test_training_and_test_views(toy: tuple[Manifest, Path]) -> None:
    manifest, folder = toy
    views = run_probe(
        manifest, FeatureStore(folder), options(test_views=["clean", "jpeg:50"])
    ).result
    assert set(views.views) == {"jpeg:50"}
    assert views.views["jpeg:50"].mAP < views.mAP
    trained = run_probe(
        manifest, FeatureStore(folder),
        options(train_views=["clean", "jpeg:50"], test_views=["clean", "jpeg:50"]),
    ).result  # fmt: skip
    assert trained.train.views == ["clean", "jpeg:50"]
    assert trained.train.n_fake == 80
    assert trained.mAP != views.mAP


@pytest.mark.parametrize("head", ["knn", "prototype", "ridge", "lda"])
def test_other_heads(toy: tuple[Manifest, Path], head: str) -> None:
    manifest, folder = toy
    outcome = run_probe(manifest, FeatureStore(folder), options(features=["a"], head=head, k=5))
    assert outcome.result.mAP > 0.7
    assert (outcome.head is None) == (head == "knn")


def test_a_given_head_is_evaluated(toy: tuple[Manifest, Path], tmp_path: Path) -> None:
    manifest, folder = toy
    fitted = run_probe(manifest, FeatureStore(folder), options())
    head = load_head(fitted.saveable_head().save(tmp_path / "h.safetensors"))
    evaluation = run_probe(manifest, FeatureStore(folder), options(), head)
    np.testing.assert_allclose(evaluation.scores.logit, fitted.scores.logit, atol=1e-9)
    assert evaluation.result.mAP == pytest.approx(fitted.result.mAP, abs=1e-12)
    assert evaluation.result.digest != fitted.result.digest


def test_streaming_under_memory(toy: tuple[Manifest, Path]) -> None:
    manifest, folder = toy
    full = run_probe(manifest, FeatureStore(folder), options())
    torn = run_probe(manifest, FeatureStore(folder), options(memory=6_000))
    np.testing.assert_allclose(torn.scores.logit, full.scores.logit, atol=1e-3)
    assert torn.result.digest == full.result.digest


def test_command(featcache: Call, toy: tuple[Manifest, Path], tmp_path: Path) -> None:
    _, folder = toy
    command = ("ablate", "--features", "a,b,c", "--cache", folder, "--C", "0.01,1", "--json")
    first = featcache(*command, "--csv", tmp_path / "t.csv")
    assert first.code == 0, first.err
    assert len(first.json["rows"]) == 7
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 8
    again = featcache(*command)
    assert again.json == first.json  # read, not fitted: the seconds are those of the first
    assert "a + b" in featcache(*command[:-1]).out
    probe = featcache("probe", "--features", "a,c", "--cache", folder, "--C", "0.01,1", "--json",
                      "--test-view", "clean,jpeg:50")  # fmt: skip
    assert probe.code == 0, probe.err
    row = next(r for r in first.json["rows"] if r["features"] == ["a", "c"])
    assert probe.json["mAP"] == pytest.approx(row["mAP"], abs=1e-6)
    assert featcache("ablate", "--features", "a,b", "--subset", "x", "--cache", folder).code == 2
    assert featcache("ablate", "--features", "a", "--C", "high", "--cache", folder).code == 2


def test_transfer_and_efficiency(toy: tuple[Manifest, Path]) -> None:
    """Heads of other training sets are the probes that are trained on them."""
    manifest, folder = toy
    request = options(features=["a", "c"], train=[])
    outcome = transfer(manifest, FeatureStore(folder), request)
    assert set(outcome.each) == set(outcome.without) == set(GENERATORS)
    single = options(features=["a", "c"], train=["progan"])
    alone = run_probe(manifest, FeatureStore(folder), single).result
    others = run_probe(
        manifest, FeatureStore(folder), options(features=["a", "c"], train=["adm", "biggan"])
    )
    for name in GENERATORS:
        assert outcome.each["progan"][name].ap == pytest.approx(alone.generators[name].ap, abs=1e-6)
        expected = others.result.generators[name].ap
        assert outcome.without["progan"][name].ap == pytest.approx(expected, abs=1e-6)
    curve = efficiency(manifest, FeatureStore(folder), request, sizes=(5, 40), n_seeds=4)
    assert [(p.n, len(p.mAP)) for p in curve.points] == [(5, 4), (40, 4), (120, 1)]
    assert curve.points[0].mean < curve.points[-1].mean
    drawn = efficiency_figure(curve.points, "x")
    assert all(f">{n}</text>" in drawn for n in (5, 40, 120))
    assert "mathdefault" not in drawn
    full = run_probe(manifest, FeatureStore(folder), request).result
    assert curve.points[-1].mean == pytest.approx(full.mAP, abs=1e-6)


def shared(manifest: Manifest, source: str = "") -> Manifest:
    """The manifest with the training reals of progan serving all; ``source`` names training
    photographs.
    """
    reals = [
        s for s in manifest if s.split == "train" and s.label == 0 and s.paired_with == "progan"
    ]
    rest = [s for s in manifest if s.split == "test" or s.label == 1]
    rows = rest + [replace(s, paired_with=g, generator="real") for s in reals for g in GENERATORS]
    named = [
        replace(s, source=source.format(int(s.sample_id, 16) % 7))
        if source and s.split == "train" else s
        for s in rows
    ]  # fmt: skip
    return Manifest(tuple(named))


def test_reals_paired_with_several_generators_are_in_the_training_set_of_each(
    toy: tuple[Manifest, Path],
) -> None:
    manifest, store = shared(toy[0]), FeatureStore(toy[1])
    outcome = transfer(manifest, store, options(features=["a"], train=[]))
    assert set(outcome.each) == set(outcome.without) == set(GENERATORS)
    alone = run_probe(manifest, store, options(features=["a"], train=["adm"])).result
    assert alone.train.n_real == 40
    others = run_probe(manifest, store, options(features=["a"])).result
    for name in GENERATORS:
        assert outcome.each["adm"][name].ap == pytest.approx(alone.generators[name].ap, abs=1e-6)
        assert outcome.without["adm"][name].ap == pytest.approx(
            others.generators[name].ap, abs=1e-6
        )


def test_c_is_chosen_with_shared_reals_and_never_without_validation(
    toy: tuple[Manifest, Path],
) -> None:
    store, grid = FeatureStore(toy[1]), [1e-4, 1e-2, 1.0]
    dealt = run_probe(shared(toy[0]), store, options(grid=grid)).result.selection
    assert dealt is not None
    assert (dealt.split_by, dealt.n_folds) == ("generator", 2)
    assert all(np.isfinite(point.score) for point in dealt.path)
    same = run_probe(shared(toy[0], "photo{}"), store, options(grid=grid)).result.selection
    assert same is not None  # every generator stands on the same photographs
    assert (same.split_by, same.n_folds) == ("source", 5)
    with pytest.raises(DataError, match=r"C cannot be chosen.*--C 1"):
        run_probe(shared(toy[0], "one"), store, options(grid=grid))
    assert run_probe(shared(toy[0], "one"), store, options()).result.selection is None


def test_univfd_sgd_warns_of_too_few_training_rows(toy: tuple[Manifest, Path]) -> None:
    manifest, store = toy[0], FeatureStore(toy[1])
    for head, listed in (("univfd-sgd", True), ("ridge", False)):
        notes = run_probe(manifest, store, options(head=head)).result.notes
        assert any("hardly leaves its random start" in note for note in notes) == listed


def test_no_torch(toy: tuple[Manifest, Path]) -> None:
    arguments = ["ablate", "--features", "a,b", "--cache", str(toy[1]), "--json", "-q"]
    code = (
        f"import sys\nfrom featcache.cli import run\nassert run({arguments!r}) == 0\n"
        "assert not {'torch', 'timm', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True)


def test_univfd_weights_survive_import_and_export(featcache: Call, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    weight, bias = torch.randn(1, 768), torch.randn(1)
    torch.save({"weight": weight, "bias": bias}, tmp_path / "fc_weights.pth")
    head_file, back = tmp_path / "h.safetensors", tmp_path / "back.pth"
    assert featcache("head", "import", tmp_path / "fc_weights.pth", "--out", head_file).code == 0
    head = load_head(head_file)
    x = np.random.default_rng(0).normal(size=(5, 768)).astype(np.float32)
    expected = torch.from_numpy(x).double() @ weight.double().T + bias.double()
    np.testing.assert_allclose(head.logits(x), expected[:, 0].numpy(), atol=1e-9)
    assert featcache("head", "export", head_file, "--out", back).code == 0
    state = torch.load(back, weights_only=True)
    assert torch.equal(state["weight"], weight)
    assert torch.equal(state["bias"], bias)
    (tmp_path / "evil.pth").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    ran = featcache("head", "import", tmp_path / "evil.pth", "--out", head_file)
    assert ran.code == 3
    assert "no linear head" in ran.err
    assert SavedHead(weight=weight[0].double().numpy(), bias=0.0).n_features == 768


@pytest.mark.parametrize(
    "form", ["plain", "training output", "sequential", "scalar bias", "two outputs", "npz"]
)
def test_published_heads_are_bound_to_a_feature_and_evaluated(
    form: str, toy: tuple[Manifest, Path], featcache: Call, tmp_path: Path
) -> None:
    """The AP is that of a direct product of the features with the published weights."""
    torch = pytest.importorskip("torch")
    manifest, store = toy
    weight, bias = torch.randn(1, 12), torch.randn(1)
    path = tmp_path / ("head.npz" if form == "npz" else "head.pth")
    state: Any = {
        "plain": {"weight": weight, "bias": bias},
        "training output": {
            "model": {"fc.weight": weight, "fc.bias": bias}, "optimizer": {}, "total_steps": 3
        },
        "sequential": {"0.weight": weight, "0.bias": bias},
        "scalar bias": {"weight": weight, "bias": bias[0]},
        "two outputs": {
            "fc.weight": torch.cat([torch.zeros_like(weight), weight]),
            "fc.bias": torch.cat([torch.zeros_like(bias), bias]),
        },
        "npz": {"coef_": weight.numpy(), "intercept_": bias.numpy()},
    }[form]  # fmt: skip
    if form == "npz":
        np.savez(path, **state)
    else:
        torch.save(state, path)
    head = tmp_path / "h.safetensors"
    command = ["head", "import", path, "--out", head, "--features", "a", "--cache", store]
    ran = featcache(*command)
    assert ran.code == 0, ran.err
    ran = featcache("probe", "--head", head, "--cache", store, "--results", "r", "--json")
    assert ran.code == 0, ran.err
    x = FeatureStore(store)
    for name, metrics in ran.json["generators"].items():
        rows = [s for s in manifest if s.split == "test" and s.paired_with == name]
        key = x.find("a", view="clean")
        features = x.read(key, [s.sample_id for s in rows])
        logits = features.astype(np.float64) @ weight[0].double().numpy() + float(bias[0])
        expected = average_precision_score([s.label for s in rows], logits)
        assert metrics["ap"] == pytest.approx(expected, abs=1e-5)


def test_a_file_without_one_linear_layer_lists_what_it_has(featcache: Call, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a.weight": torch.zeros(5, 4), "a.bias": torch.zeros(5)}, tmp_path / "x.pth")
    ran = featcache("head", "import", tmp_path / "x.pth", "--out", tmp_path / "h.safetensors")
    assert ran.code == 3
    assert "a.weight (5, 4)" in ran.err


def test_several_heads_training_sets_and_views(toy: tuple[Manifest, Path]) -> None:
    """Every row is the single probe of its features, training set, views and head."""
    manifest, folder = toy
    store = FeatureStore(folder)
    request = AblateOptions(
        probe=options(features=["a", "c"], test_views=["clean", "jpeg:50"], n_resamples=50),
        heads=["logistic", "prototype"],
        train_sets=[["progan"], ["biggan", "adm"]],
        train_views=[["clean"], ["clean", "jpeg:50"]],
    )
    result = ablate(manifest, store, request)
    assert len(result.rows) == 3 * 2 * 2 * 2 * 2
    listed = {(r.head, *r.features, *r.train, *r.train_views, r.view) for r in result.rows}
    assert len(listed) == len(result.rows)
    for row in result.rows[::11]:
        single = options(
            features=row.features, train=row.train, head=row.head, n_resamples=50,
            train_views=row.train_views, test_views=["clean", "jpeg:50"],
        )  # fmt: skip
        outcome = run_probe(manifest, store, single).result
        same = outcome if row.view == "clean" else outcome.views[row.view]
        assert row.mAP == pytest.approx(same.mAP, abs=1e-6)
        assert row.mAP_ci == pytest.approx(same.mAP_ci, abs=1e-6)
    assert result.baseline == ["a"]
    for view in ("clean", "jpeg:50"):  # the baseline of each view is the first variant's
        bases = [r for r in result.rows if r.view == view and r.vs_baseline is None]
        assert [(r.features, r.head, r.train) for r in bases] == [(["a"], "logistic", ["progan"])]
    singles = [r for r in result.rows if r.vs_best_single is None]
    assert len(singles) == 16  # of each variant and view
    assert {r.features[0] for r in singles} == {"a"}
    assert any("those of the first variant: head logistic" in note for note in result.notes)
    assert len(result.contributions) == 2
    assert sorted(varied_fields(result)) == ["head", "train", "train_views", "view"]
    table = subset_table(result)
    assert [c.label for c in table.columns][1:5] == [
        "Trained on", "Views in training", "Head", "Tested on"
    ]  # fmt: skip
    assert "; head " in ablation_headline(result)


def test_commas_join_and_repeating_adds_rows(featcache: Call, toy: tuple[Manifest, Path]) -> None:
    base = ("ablate", "--features", "a", "--cache", toy[1], "--json")
    joined = featcache(*base, "--train", "progan,biggan").json
    assert [row["train"] for row in joined["rows"]] == [["biggan", "progan"]]
    apart = featcache(
        *base, "--train", "progan", "--train", "biggan", "--head", "logistic,ridge",
        "--test-view", "clean,jpeg:50",
    )  # fmt: skip
    assert apart.code == 0, apart.err
    listed = {(row["train"][0], row["head"], row["view"]) for row in apart.json["rows"]}
    assert len(listed) == len(apart.json["rows"]) == 8
    shown = featcache(*base[:-1], "--train", "progan", "--train", "biggan").out
    assert "a biggan 1" in " ".join(shown.split())
    assert featcache(*base, "--head", "logistic,rigde").code == 2


def test_what_does_not_fit_the_free_memory_is_streamed(
    toy: tuple[Manifest, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The command line, in tests before, keeps its messages from the root logger.
    monkeypatch.setattr(logging.getLogger("featcache"), "propagate", True)
    manifest, folder = toy
    question = AblateOptions(probe=options(grid=[1e-2, 1.0]))
    in_memory = ablate(manifest, FeatureStore(folder), question)
    assert "memory" not in caplog.text
    monkeypatch.setattr(feature_rows, "available_memory", lambda: 20_000)
    read = []
    chunks = feature_rows.StoreRows.chunks

    def counted(self: Any, blocks: Any) -> Any:
        read.append(self.n_rows)
        return chunks(self, blocks)

    monkeypatch.setattr(feature_rows.StoreRows, "chunks", counted)
    streamed = ablate(manifest, FeatureStore(folder), question)
    assert "Fitting 42 heads on 160 rows needs" in caplog.text
    assert "--memory SIZE" in caplog.text
    assert read.count(160) > 10  # a pass for each product with the training rows
    assert streamed.digest == in_memory.digest
    for a, b in zip(in_memory.rows, streamed.rows, strict=True):
        assert a.features == b.features
        assert a.mAP == pytest.approx(b.mAP, abs=1e-6)
        assert a.certificate is not None
        assert b.certificate is not None
        assert a.certificate.objective == pytest.approx(b.certificate.objective, rel=1e-6)
