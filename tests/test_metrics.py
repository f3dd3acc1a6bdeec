"""Metrics against scikit-learn, with ties and weights; the bootstrap against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from featcache.errors import DataError
from featcache.metrics import (
    METRICS,
    Resamples,
    Sorted,
    bootstrap,
    compute_metrics,
    interval,
    weighted_metrics,
)


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
    found = weighted_metrics(Sorted.of(y, score, 0.5), weight[None])
    assert found["ap"][0] == pytest.approx(
        average_precision_score(y, score, sample_weight=weight), abs=1e-12
    )
    assert found["auroc"][0] == pytest.approx(
        roc_auc_score(y, score, sample_weight=weight), abs=1e-12
    )
    called = score > 0.5
    assert found["acc"][0] == pytest.approx(np.average(called == y, weights=weight), abs=1e-12)
    for label, name in ((0, "r_acc"), (1, "f_acc")):
        mine = y == label
        expected = np.average(called[mine] == label, weights=weight[mine])
        assert found[name][0] == pytest.approx(expected, abs=1e-12)


@given(problems())
@settings(deadline=None)
def test_a_weight_is_a_repetition(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    y, score, weight = problem
    times = weight.astype(int)
    weighted = weighted_metrics(Sorted.of(y, score, 0.5), weight[None])
    repeated = compute_metrics(np.repeat(y, times), np.repeat(score, times), 0.5)
    for name in METRICS:
        assert weighted[name][0] == pytest.approx(repeated[name], abs=1e-12, nan_ok=True)


def test_refused_scores() -> None:
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
    found = bootstrap({"g": Sorted.of(y, score, 0.5)}, {"g": sources}, Resamples(np.zeros(2), 200))
    assert set(np.round(found["g"]["acc"], 6)) == {0.0, 0.5, 1.0}


def test_intervals_cover_the_truth() -> None:
    """Of 200 simulated studies with clustered samples about 95 % must cover the true AUROC."""
    from scipy.stats import norm

    truth, hits = float(norm.cdf(1 / np.sqrt(2))), 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = np.repeat([0, 1], 60)
        score = rng.normal(size=120) + y
        resamples = Resamples(y.astype(np.int64), 200, seed)
        values = bootstrap({"g": Sorted.of(y, score, 0.5)}, {"g": np.arange(120)}, resamples)
        low, high = interval(values["g"]["auroc"])
        hits += low <= truth <= high
    assert 0.90 <= hits / 200 <= 0.985  # 95 % and three standard errors of a simulation of 200
