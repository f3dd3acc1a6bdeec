"""A metric and a head from outside: one registration, and every command has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import f1_score, matthews_corrcoef, roc_curve
from sklearn.svm import LinearSVC

from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.errors import SettingsError, UnknownNameError
from featcache.evaluate import AblateOptions, ProbeOptions, ablate, run_probe
from featcache.metrics import METRICS, Metric, SortedScores, point_metrics, register_metric
from featcache.probes import HEADS, HeadKind, Linear, Training, parse_head, sklearn_head


@pytest.fixture
def gap() -> Iterator[Metric]:
    """The distance between the two accuracies: lower is better."""
    metric = Metric(
        name="gap",
        label="Accuracy gap",
        function=lambda counts: np.abs(
            METRICS["r_acc"].function(counts) - METRICS["f_acc"].function(counts)
        ),
        help="difference of the accuracies on reals and fakes",
        higher_is_better=False,
    )
    register_metric(metric)
    yield metric
    del METRICS["gap"]


def test_a_metric_from_outside_is_in_table_json_order_and_report(
    gap: Metric, toy: tuple[Manifest, Path], featcache: Callable[..., Any]
) -> None:
    manifest, store = toy
    options = ProbeOptions(features=["a", "c"], train=["progan"], n_resamples=20)
    result = ablate(manifest, FeatureStore(store), AblateOptions(probe=options, sort=gap.name))
    values = [row.means[gap.name].value for row in result.rows]
    assert values == sorted(values)  # lower is better
    ran = featcache(
        "probe", "--features", "a", "--cache", store, "--results", "r", "--report", "r.html",
        "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    metrics = ran.json["generators"]["adm"]
    expected = abs(metrics["r_acc"] - metrics["f_acc"])
    assert metrics["more"][gap.name]["value"] == pytest.approx(expected)
    page = Path("r.html").read_text("utf-8")
    assert gap.label in page
    assert gap.help in page


def test_further_metrics_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    score = np.clip(0.5 + 0.2 * (y - 0.5) + 0.2 * rng.normal(size=300), 0, 1)
    metrics = point_metrics(SortedScores.of(y, score))
    assert metrics["mcc"] == pytest.approx(matthews_corrcoef(y, score > 0.5))
    assert metrics["f1"] == pytest.approx(f1_score(y, score > 0.5))
    fpr, tpr, _ = roc_curve(y, score, drop_intermediate=False)
    assert metrics["fpr_at_tpr95"] == pytest.approx(fpr[tpr >= 0.95].min())


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_values_are_in_the_stated_range(metric: Metric) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        # A thousand reals: with fewer the TPR at 0.1 % FPR is not defined.
        y = np.concatenate([rng.integers(0, 2, 20), [1], np.zeros(1000, int)])
        scores = SortedScores.of(y, rng.random(len(y)), 0.5, 0.4)
        value = point_metrics(scores, (metric.name,))
        assert metric.low <= value[metric.name] <= metric.high


def test_a_head_from_outside_with_its_parameter(
    toy: tuple[Manifest, Path], featcache: Callable[..., Any]
) -> None:
    def fit(training: Training, *, column: int) -> Linear:
        weight = np.zeros(training.features.shape[1])
        weight[column] = 1.0
        return Linear(weight=weight, bias=0.0, widths=training.widths)

    HEADS.add("one-column", HeadKind(fit=fit, summary="reads a column", parameters={"column": 0}))
    try:
        command = ["probe", "--features", "a", "--cache", toy[1], "--results", "r", "--json"]
        first, second = (
            featcache(*command, "--head", head) for head in ("one-column", "one-column:column=3")
        )
        assert (first.code, second.code) == (0, 0), first.err + second.err
        assert first.json["head"] == "one-column"
        assert second.json["head"] == "one-column:column=3"
        assert first.json["mAP"] != second.json["mAP"]
    finally:
        del HEADS._added["one-column"]


def test_parameters_of_heads_are_parsed_with_clear_errors() -> None:
    assert parse_head("knn:k=5") == ("knn", {"k": 5})
    assert parse_head("logistic") == ("logistic", {})
    with pytest.raises(UnknownNameError, match="knnn"):
        parse_head("knnn:k=5")
    with pytest.raises(SettingsError, match="no parameter 'n'; it has: k"):
        parse_head("knn:n=5")
    with pytest.raises(SettingsError, match="k=many is no int"):
        parse_head("knn:k=many")


def test_the_parameter_of_a_head_is_that_of_the_flag(
    toy: tuple[Manifest, Path], featcache: Callable[..., Any]
) -> None:
    command = ["probe", "--features", "a", "--cache", toy[1], "--results", "r", "--json"]
    flag = featcache(*command, "--head", "knn", "--k", "5").json
    text = featcache(*command, "--head", "knn:k=5").json
    assert json.dumps(flag["generators"]) == json.dumps(text["generators"])


@pytest.mark.parametrize(
    "estimator", [LinearSVC(C=0.01), RandomForestClassifier(20, random_state=0)]
)
def test_any_classifier_of_scikit_learn_is_a_head(
    estimator: Any, toy: tuple[Manifest, Path]
) -> None:
    manifest, store = toy
    HEADS.add("mine", sklearn_head(estimator))
    try:
        options = ProbeOptions(features=["a"], train=["progan"], head="mine", n_resamples=10)
        probed = run_probe(manifest, FeatureStore(store), options)
    finally:
        del HEADS._added["mine"]
    assert probed.result.generators["progan"].auroc > 0.7
    assert probed.head is None  # it cannot be saved as a linear head
