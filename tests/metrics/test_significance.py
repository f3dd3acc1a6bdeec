"""Tests of scores on samples that depend on each other, and of runs over generators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, wilcoxon

from featcache.metrics import delong, rank_tests


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_sources_of_one_sample_give_delong(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([0, 1], rng.integers(3, 30, 2)))
    a, b = rng.normal(size=(2, len(y))) + y
    assert delong(y, a, b, np.arange(len(y)))[0] == pytest.approx(delong(y, a, b)[0], abs=1e-13)


@given(st.integers(0, 10_000), st.integers(2, 4))
@settings(deadline=None, max_examples=40)
def test_copies_of_a_sample_tell_nothing_new(seed: int, n_copies: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([0, 1], rng.integers(3, 30, 2)))
    a, b = rng.normal(size=(2, len(y))) + y
    sources = np.arange(len(y))
    copied = [np.repeat(values, n_copies) for values in (y, a, b, sources)]
    assert delong(*copied) == pytest.approx(delong(y, a, b, sources), abs=1e-12, nan_ok=True)
    assert delong(*copied)[0] > delong(*copied[:3])[0] > 0  # without sources: too sure


def test_the_clustered_variance_equals_its_definition() -> None:
    """Obuchowski 1997, written out over all pairs of samples."""
    rng = np.random.default_rng(1)
    sources = rng.integers(0, 12, 60)
    y = rng.integers(0, 2, 60)
    a, b = rng.normal(size=(2, 60)) + y + rng.normal(size=12)[sources]
    fake, real = y == 1, y == 0
    psi = sum(
        sign * ((s[fake][:, None] > s[real]) + 0.5 * (s[fake][:, None] == s[real]))
        for sign, s in ((1, a), (-1, b))
    )
    theta, (m, n) = psi.mean(), psi.shape
    x = np.array([(psi.mean(axis=1) - theta)[sources[fake] == s].sum() for s in range(12)])
    z = np.array([(psi.mean(axis=0) - theta)[sources[real] == s].sum() for s in range(12)])
    k1, k0 = len(set(sources[fake])), len(set(sources[real]))
    expected = (
        k1 / (k1 - 1) / m**2 * (x @ x)
        + k0 / (k0 - 1) / n**2 * (z @ z)
        + 2 * 12 / (11 * m * n) * (x @ z)
    )
    assert delong(y, a, b, sources)[0] == pytest.approx(expected, rel=1e-12)


def test_equal_heads_on_pairs_are_told_apart_in_five_percent() -> None:
    """A photograph and its fake are one source, and three crops of each are taken."""
    n_studies, n_significant = 400, 0
    rng = np.random.default_rng(2)
    for _ in range(n_studies):
        sources = np.repeat(np.arange(40), 6)
        y = np.tile([0, 0, 0, 1, 1, 1], 40)
        a, b = (1.2 * y + rng.normal(size=40)[sources] + rng.normal(size=240) for _ in range(2))
        n_significant += delong(y, a, b, sources)[1] < 0.05
    assert binomtest(n_significant, n_studies, 0.05).proportion_ci(0.999).low <= 0.05
    assert 0.02 <= n_significant / n_studies <= 0.09


def test_rank_tests_of_a_published_example() -> None:
    """Demšar 2006, table 6: four variants of C4.5 on 14 data sets."""
    values = np.array(
        [
            [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569],
            [0.954, 0.971, 0.968, 0.967], [0.628, 0.661, 0.654, 0.657],
            [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
            [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625],
            [0.775, 0.838, 0.866, 0.875], [1.000, 1.000, 1.000, 1.000],
            [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
            [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
        ]
    )  # fmt: skip
    tests = rank_tests(values)
    assert tests.mean_ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=6e-4)
    # Critical difference at 0.05: 2.569 sqrt(4 * 5 / (6 * 14)) = 1.25, as printed there.
    gap = {pair: abs(tests.mean_ranks[pair[0]] - tests.mean_ranks[pair[1]])
           for pair in tests.nemenyi_p}  # fmt: skip
    assert all((gap[pair] > 1.2535) == (p < 0.05) for pair, p in tests.nemenyi_p.items())
    assert tests.friedman_p < 0.05
    smallest = min(tests.wilcoxon_p, key=lambda pair: tests.wilcoxon_p[pair])
    raw = wilcoxon(values[:, smallest[0]] - values[:, smallest[1]]).pvalue
    assert tests.wilcoxon_p[smallest] == pytest.approx(min(6 * raw, 1))


def test_rank_tests_at_the_edges() -> None:
    same = rank_tests(np.ones((5, 3)))
    assert np.isnan(same.friedman_p)
    assert all(np.isnan(p) for p in same.wilcoxon_p.values())
    better = rank_tests(np.array([[0.9, 0.8]] * 6) + np.arange(6)[:, None] / 100)
    assert better.mean_ranks == [1.0, 2.0]
    assert better.wilcoxon_p[0, 1] == pytest.approx(2 / 2**6)  # the smallest of six generators
    errors = rank_tests(np.array([[0.1, 0.2]] * 6), higher_is_better=False)
    assert errors.mean_ranks == [1.0, 2.0]
