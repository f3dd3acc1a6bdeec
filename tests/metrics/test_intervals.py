"""Intervals hold the truth near the ceiling, and agree with Wilson's and with the p-value."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from featcache.evaluate.estimates import Estimates
from featcache.metrics import difference_ci, effective_sources, score_ci

SIMULATION = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "coverage.py"))
"""The benchmark's own functions; ``benchmarks`` is no installed package."""


def test_an_accuracy_has_wilsons_interval() -> None:
    """Replicates of 450 of 500 correct, with many sources, give the reference of scipy."""
    rng = np.random.default_rng(0)
    replicates = binom.rvs(500, 0.9, size=200_000, random_state=rng) / 500
    reference = binomtest(450, 500).proportion_ci(method="wilson")
    assert score_ci("acc", 0.9, replicates, 1e6) == pytest.approx(tuple(reference), abs=2e-4)


@pytest.mark.parametrize(("metric", "value"), [("ap", 1.0), ("auroc", 0.0), ("acc", 1.0)])
def test_a_perfect_score_has_an_interval(metric: str, value: float) -> None:
    low, high = score_ci(metric, value, np.full(100, value), 50)
    assert low <= value <= high
    assert 3 / 50 < high - low < 5 / 50


def test_the_oracle_has_no_interval() -> None:
    assert np.isnan(score_ci("acc_oracle", 0.9, np.linspace(0.8, 1, 99), 50)).all()


def test_interval_and_p_agree() -> None:
    rng = np.random.default_rng(0)
    for shift in np.linspace(0, 4, 30):
        ci, p = difference_ci(shift, shift + rng.normal(size=500), 30)
        assert (p < 0.05) == (ci[0] > 0)


def test_effective_sources_are_kishs() -> None:
    source, label = np.array([0, 0, 0, 1, 2, 3]), np.array([0, 0, 0, 0, 1, 1])
    assert effective_sources(source, label) == pytest.approx(16 / 10)


@pytest.mark.parametrize("design", ["iid", "cluster", "paired"])
def test_intervals_hold_near_the_ceiling(design: str) -> None:
    """60 test sets: below 85 % has a chance under 1 % at 95 %; percentile intervals gave 73."""
    one, shift = SIMULATION["one"], SIMULATION["shift_for"]("ap", 0.999)
    rows = [one(design, 30, shift, seed, 1) for seed in range(60)]
    held = [row["ap"][0] <= 0.999 <= row["ap"][1] for row in rows]
    assert np.mean(held) >= 0.85
    assert set(rows[0]) == set(SIMULATION["METRICS"])


def test_generators_resampled_cover_the_mean_of_their_kind() -> None:
    """Generators drawn around a mean AP of 0.8; images add an error of their own."""
    rng = np.random.default_rng(4)
    n_covered, n_narrower, n_studies = 0, 0, 200
    for _ in range(n_studies):
        true = np.clip(rng.normal(0.8, 0.06, 10), 0, 1)
        errors = rng.normal(0, 0.01, (10, 201))  # the first: of the test set itself
        values = {
            f"g{i}": {"ap": float(t + e[0])}
            for i, (t, e) in enumerate(zip(true, errors, strict=True))
        }
        estimates = Estimates(
            values=values,
            replicates={f"g{i}": {"ap": values[f"g{i}"]["ap"] + errors[i, 1:]} for i in range(10)},
            sources={name: np.arange(100) for name in values},
            labels={name: np.arange(100) % 2 for name in values},
        )
        low, high = estimates.ci_over_generators("ap")
        n_covered += low <= 0.8 <= high
        inner = estimates.mean("ap").ci
        n_narrower += high - low < inner[1] - inner[0]
    assert 0.91 <= n_covered / n_studies <= 0.99
    assert n_narrower == 0
    assert np.isnan(estimates.ci_over_generators("ap", ["g0", "g1"])).all()
