"""Metrics against scikit-learn, with ties and weights; the bootstrap against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    roc_auc_score,
    roc_curve,
)

from featcache.errors import DataError, SettingsError
from featcache.evaluate import ap_at_priors
from featcache.metrics import (
    METRICS,
    ResampledCounts,
    Resamples,
    SortedScores,
    best_threshold,
    bootstrap,
    compute_metrics,
    percentile_ci,
    weighted_metrics,
)
from featcache.metrics.ranking import partial_auroc
from featcache.results import Scores


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels with both classes, scores with many ties, integer weights that leave both classes."""
    n = draw(st.integers(2, 40))
    y = np.array([0, 1, *draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))])
    score = np.array(draw(st.lists(st.integers(0, 8), min_size=n, max_size=n))) / 8
    extra = draw(st.lists(st.integers(0, 3), min_size=n - 2, max_size=n - 2))
    return y, score, np.array([1, 1, *extra], dtype=float)


@given(problems())
@settings(deadline=None)
def test_equal_to_scikit_learn(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    y, score, weight = problem
    result = weighted_metrics(SortedScores.of(y, score, 0.5), weight[None])
    assert result["ap"][0] == pytest.approx(
        average_precision_score(y, score, sample_weight=weight), abs=1e-12
    )
    assert result["auroc"][0] == pytest.approx(
        roc_auc_score(y, score, sample_weight=weight), abs=1e-12
    )
    called = score > 0.5
    assert result["acc"][0] == pytest.approx(np.average(called == y, weights=weight), abs=1e-12)
    for label, name in ((0, "r_acc"), (1, "f_acc")):
        own = y == label
        expected = np.average(called[own] == label, weights=weight[own])
        assert result[name][0] == pytest.approx(expected, abs=1e-12)
    balanced = balanced_accuracy_score(y, called, sample_weight=weight)
    assert result["bacc"][0] == pytest.approx(balanced, abs=1e-12)
    brier = brier_score_loss(y, score, sample_weight=weight)
    assert result["brier"][0] == pytest.approx(brier, abs=1e-12)


@given(problems())
@settings(deadline=None)
def test_points_of_the_roc_curve(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """What is read off the ROC curve, against scikit-learn's curve with every threshold on it."""
    y, score, weight = problem
    result = weighted_metrics(SortedScores.of(y, score, 0.5, 0.3), weight[None])
    fpr, tpr, _ = roc_curve(y, score, sample_weight=weight, drop_intermediate=False)
    assert result["acc_oracle"][0] == pytest.approx(0.5 + 0.5 * (tpr - fpr).max(), abs=1e-12)
    for percent in (1, 5):
        caught = tpr[fpr <= percent / 100].max()
        assert result[f"tpr_at_fpr{percent}"][0] == pytest.approx(caught, abs=1e-12)
    eer = result["eer"][0]  # on the polygon: some point of it has both errors at this rate
    assert eer == pytest.approx(direct_eer(fpr, tpr), abs=1e-12)
    balanced = balanced_accuracy_score(y, score > 0.3, sample_weight=weight)
    assert result["acc_val"][0] == pytest.approx(balanced, abs=1e-12)


def direct_eer(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """Walk along the polygon to the first point where FPR + TPR reaches 1."""
    for i in range(1, len(fpr)):
        before, after = fpr[i - 1] + tpr[i - 1] - 1, fpr[i] + tpr[i] - 1
        if after >= 0:
            share = -before / (after - before) if after > before else 0.0
            return float(fpr[i - 1] + share * (fpr[i] - fpr[i - 1]))
    raise AssertionError("the curve ends at (1, 1)")


@given(problems(), st.sampled_from([0.01, 0.1, 0.5, 0.9]))
@settings(deadline=None)
def test_a_prior_equals_a_class_weight(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray], prior: float
) -> None:
    y, score, weight = problem
    result = weighted_metrics(SortedScores.of(y, score), weight[None], ("ap_prior",), prior)
    sums = [weight[y == 0].sum(), weight[y == 1].sum()]
    classes = weight * np.where(y == 1, prior / sums[1], (1 - prior) / sums[0])
    expected = average_precision_score(y, score, sample_weight=classes)
    assert result["ap_prior"][0] == pytest.approx(expected, abs=1e-12)


@given(problems())
@settings(deadline=None)
def test_calibration_error_by_hand(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    y, score, weight = problem
    bins = np.minimum(np.floor(score * 10), 9)
    gaps = [
        abs((weight * (score - y))[bins == b].sum())  # n_b |mean probability - share of fakes|
        for b in range(10)
    ]
    result = weighted_metrics(SortedScores.of(y, score), weight[None], ("ece",))
    assert result["ece"][0] == pytest.approx(sum(gaps) / weight.sum(), abs=1e-12)


@given(problems())
@settings(deadline=None)
def test_the_oracle_threshold_reaches_its_accuracy(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    y, score, _ = problem
    ranked = SortedScores.of(y, score)
    reached = balanced_accuracy_score(y, score > best_threshold(ranked))
    assert reached == pytest.approx(compute_metrics(y, score, 0.5)["acc_oracle"], abs=1e-12)


def test_values_by_hand() -> None:
    """Ten samples with a tie across classes, by hand."""
    y = np.array([1, 1, 0, 1, 0, 1, 0, 1, 0, 0])
    score = np.array([0.95, 0.9, 0.85, 0.7, 0.7, 0.6, 0.45, 0.35, 0.2, 0.1])
    result = compute_metrics(y, score, 0.5, val_threshold=0.65)
    assert result["ap"] == pytest.approx((1 + 1 + 3 / 5 + 4 / 6 + 5 / 8) / 5)
    assert result["auroc"] == pytest.approx((5 + 5 + 3.5 + 3 + 2) / 25)
    assert result["acc"] == pytest.approx(0.7)
    assert (result["r_acc"], result["f_acc"]) == pytest.approx((0.6, 0.8))
    assert result["acc_val"] == pytest.approx(0.6)
    assert result["acc_oracle"] == pytest.approx(0.7)
    assert result["tpr_at_fpr1"] == result["tpr_at_fpr5"] == pytest.approx(0.4)
    assert result["eer"] == pytest.approx(0.4)


def test_the_table_says_which_direction_is_better() -> None:
    y = np.repeat([0, 1], 1000)
    good = compute_metrics(y, np.where(y == 1, 0.95, 0.05), 0.5, val_threshold=0.5)
    bad = compute_metrics(y, np.where(y == 1, 0.05, 0.95), 0.5, val_threshold=0.5)
    for name, metric in METRICS.items():
        assert (good[name] > bad[name]) == metric.higher_is_better, name


def test_undefined_metrics_are_nan() -> None:
    y = np.array([0, 1])
    distances = compute_metrics(y, np.array([-3.0, 4.0]), 0.5)  # no probabilities
    assert np.isnan([distances["brier"], distances["ece"], distances["acc_val"]]).all()
    assert distances["ap"] == distances["auroc"] == 1.0
    lacking = weighted_metrics(SortedScores.of(y, np.array([0.1, 0.9])), np.array([[2, 0], [1, 1]]))
    assert all(np.isnan(lacking[name][0]) for name in METRICS)
    assert lacking["ap"][1] == 1.0


def test_a_separated_set_of_ten_has_a_degenerate_interval() -> None:
    y = np.repeat([0, 1], 5)
    ranked = {"g": SortedScores.of(y, np.linspace(0, 1, 10))}
    result = bootstrap(ranked, {"g": np.arange(10)}, Resamples(y, 100))
    assert percentile_ci(result["g"]["ap"]) == (1.0, 1.0)
    assert percentile_ci(np.full(3, np.nan)) == pytest.approx((np.nan, np.nan), nan_ok=True)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 50)
    ranked = {"g": SortedScores.of(y, rng.random(100))}
    arguments = ranked, {"g": np.arange(100)}, Resamples(y, 100)
    alone = bootstrap(*arguments)
    monkeypatch.setattr("featcache.metrics.resampling.MANY_CELLS", 0)
    for name, values in bootstrap(*arguments)["g"].items():
        np.testing.assert_array_equal(values, alone["g"][name])


def test_priors_on_saved_scores() -> None:
    rng = np.random.default_rng(2)
    n = 60
    texts = np.array([f"s{i}" for i in range(2 * n)], dtype=object)
    y = np.tile([0, 1], n)
    score = rng.random(2 * n) * 0.5 + 0.4 * y
    scores = Scores(
        generator=np.repeat(np.array(["a", "b"], dtype=object), n), split=texts, path=texts,
        sample_id=texts, source=texts, label=y, score=score, logit=score,
    )  # fmt: skip
    result = ap_at_priors(scores, [0.1, 0.5, 0.9], n_resamples=50)
    half = average_precision_score(y[:n], score[:n])  # the set's own share
    assert result[0.5]["a"].value == pytest.approx(half, abs=1e-12)
    assert result[0.1]["mean"].value < result[0.5]["mean"].value < result[0.9]["mean"].value
    low, high = result[0.1]["mean"].ci
    assert low < result[0.1]["mean"].value < high
    with pytest.raises(SettingsError, match="prior"):
        ap_at_priors(scores, [0.0])


@given(problems())
@settings(deadline=None)
def test_a_weight_equals_a_repetition(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    y, score, weight = problem
    times = weight.astype(int)
    weighted = weighted_metrics(SortedScores.of(y, score, 0.5), weight[None])
    repeated = compute_metrics(np.repeat(y, times), np.repeat(score, times), 0.5)
    for name in METRICS:
        assert weighted[name][0] == pytest.approx(repeated[name], abs=1e-12, nan_ok=True)


def test_invalid_scores_raise() -> None:
    with pytest.raises(DataError, match="NaN"):
        compute_metrics(np.array([0, 1]), np.array([0.0, np.nan]), 0.5)
    with pytest.raises(DataError, match="one real and one fake"):
        compute_metrics(np.array([1, 1]), np.array([0.0, 1.0]), 0.5)


def test_resamples_keep_strata_and_do_not_depend_on_the_range() -> None:
    strata = np.array([0] * 5 + [1] * 7)
    resamples = Resamples(strata, 20, seed=3)
    counts = resamples.counts(0, 20)
    assert (counts[:, :5].sum(axis=1) == 5).all()
    assert (counts[:, 5:].sum(axis=1) == 7).all()
    np.testing.assert_array_equal(counts[7:13], resamples.counts(7, 13))
    assert len(np.unique(counts, axis=0)) > 15


def test_samples_of_one_source_are_drawn_together() -> None:
    """Two sources: every resample is all of one, all of the other, or both."""
    y, score = np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.8, 0.2])
    sources = np.array([0, 0, 1, 1])
    result = bootstrap(
        {"g": SortedScores.of(y, score, 0.5)}, {"g": sources}, Resamples(np.zeros(2), 200)
    )
    assert set(np.round(result["g"]["acc"], 6)) == {0.0, 0.5, 1.0}


def cover(n_studies: int, n: int, n_resamples: int) -> int:
    """Of simulated studies with normal scores, how many intervals hold the true AUROC."""
    truth, covered = float(norm.cdf(1 / np.sqrt(2))), 0
    y = np.repeat([0, 1], n)
    for seed in range(n_studies):
        score = np.random.default_rng(seed).normal(size=2 * n) + y
        ranked = {"g": SortedScores.of(y, score)}
        resamples = Resamples(y.astype(np.int64), n_resamples, seed)
        values = bootstrap(ranked, {"g": np.arange(2 * n)}, resamples, ("auroc",))
        low, high = percentile_ci(values["g"]["auroc"])
        covered += low <= truth <= high
    return covered


def test_intervals_cover_the_truth() -> None:
    """A small simulation: refused only if 95 % is implausible at 1 in 1000."""
    assert binomtest(cover(200, 100, 200), 200, 0.95).pvalue > 0.001


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["ap", "auroc", "acc", "brier"])
@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_cover_in_95_percent(metric: str, clustered: bool) -> None:
    """2,000 studies; the truth is the metric of a million samples. Clusters: two crops per
    photograph.
    """

    def draw(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((7, seed))
        y = np.repeat([0, 1], n)
        shared = np.repeat(rng.normal(size=n), 2) if clustered else rng.normal(size=2 * n)
        return y, norm.cdf(0.8 * shared + 0.6 * rng.normal(size=2 * n) + y - 0.5)

    truth = compute_metrics(*draw(10**6, 500_000), 0.5)[metric]
    covered, n = 0, 200
    sources = np.arange(2 * n) // 2 if clustered else np.arange(2 * n)
    for seed in range(2000):
        y, score = draw(seed, n)
        strata = y[::2] if clustered else y
        values = bootstrap(
            {"g": SortedScores.of(y, score)}, {"g": sources}, Resamples(strata), (metric,)
        )
        low, high = percentile_ci(values["g"][metric])
        covered += low <= truth <= high
    assert 0.93 <= covered / 2000 <= 0.97


@given(problems(), st.sampled_from([0.05, 0.3, 0.8]))
@settings(deadline=None)
def test_the_partial_area_equals_scikit_learns(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray], max_fpr: float
) -> None:
    y, score, weight = problem
    scores = SortedScores.of(y, score)
    counts = ResampledCounts(scores, weight[None, scores.fakes], weight[None, scores.reals])
    expected = roc_auc_score(y, score, sample_weight=weight, max_fpr=max_fpr)
    assert partial_auroc(counts, max_fpr)[0] == pytest.approx(expected, abs=1e-12)


def test_tpr_at_a_thousandth_needs_a_thousand_reals() -> None:
    rng = np.random.default_rng(0)
    for n_real, known in ((999, False), (1000, True), (3000, True)):
        y = np.repeat([0, 1], [n_real, 200])
        score = norm.cdf(rng.normal(size=len(y)) + 2 * y)
        value = compute_metrics(y, score, 0.5)["tpr_at_fpr0_1"]
        fpr, tpr, _ = roc_curve(y, score, drop_intermediate=False)
        expected = tpr[fpr <= 0.001 + 1e-12].max() if known else np.nan
        assert value == pytest.approx(expected, nan_ok=True)
