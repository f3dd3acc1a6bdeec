"""Paired comparison of two runs: DeLong against its definition, Holm by hand, pairing, groups,
nulls.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from featcache.errors import DataError, UnknownNameError
from featcache.evaluate import compare
from featcache.metrics import compute_metrics, delong, holm, two_sided_p
from featcache.results import Scores


def make_scores(
    names: list[str], label: np.ndarray, score: np.ndarray, source: list[str] | None = None
) -> Scores:
    """Scores of rows that are samples of their own, unless sources say otherwise."""
    texts = {
        "generator": names,
        "split": ["test"] * len(names),
        "path": [f"{i}.png" for i in range(len(names))],
        "sample_id": [f"{i:06d}" for i in range(len(names))],
        "source": source or [f"s{i}" for i in range(len(names))],
    }
    arrays = {name: np.array(values, dtype=object) for name, values in texts.items()}
    return Scores(**arrays, label=label.astype(np.int64), score=score, logit=score)


def simulate(
    rng: np.random.Generator, n: int, shifts: tuple[float, float], share: float = 0.6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two correlated scores of n reals and n fakes, in [0, 1], whose fakes are shifted."""
    label = np.repeat([0, 1], n)
    common = rng.normal(size=2 * n)
    a, b = (
        norm.cdf(np.sqrt(share) * common + np.sqrt(1 - share) * rng.normal(size=2 * n) + d * label)
        for d in shifts
    )
    return label, a, b


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 12))
@settings(deadline=None, max_examples=60)
def test_delong_equals_its_definition(seed: int, n_fake: int, n_real: int) -> None:
    """The direct O(mn) form: psi over all pairs, covariance of its row and column means."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([1, 0], [n_fake, n_real]))
    scores = [rng.integers(0, 9, len(y)) / 8 for _ in range(2)]
    pairs = [s[y == 1][:, None] - s[y == 0][None] for s in scores]
    psi = [(d > 0) + 0.5 * (d == 0) for d in pairs]
    by_fake = np.cov([m.mean(axis=1) for m in psi])
    by_real = np.cov([m.mean(axis=0) for m in psi])
    cov = by_fake / n_fake + by_real / n_real
    expected = cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]
    variance, p = delong(y, *scores)
    assert variance == pytest.approx(expected, abs=1e-12)
    if expected > 1e-12:
        z = (psi[0].mean() - psi[1].mean()) / np.sqrt(expected)
        assert p == pytest.approx(2 * norm.sf(abs(z)), abs=1e-9)


def test_delong_is_nan_without_variance() -> None:
    y = np.array([0, 0, 1, 1])
    assert np.isnan(delong(y, np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.0, 0.1, 0.2, 0.3]))[1])
    assert np.isnan(delong(np.array([0, 1]), np.array([0.1, 0.2]), np.array([0.2, 0.1]))[1])


def test_holm_by_hand() -> None:
    # sorted 0.01 x 4 = 0.04, 0.013 x 3 = 0.039 -> 0.04, 0.03 x 2 = 0.06, 0.2 x 1
    assert holm([0.2, 0.01, 0.03, 0.013]) == pytest.approx([0.2, 0.04, 0.06, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    one, two = holm([float("nan"), 0.5])
    assert np.isnan(one)
    assert two == 0.5


def test_bootstrap_p_agrees_with_the_interval_and_has_a_normal_tail() -> None:
    rng = np.random.default_rng(0)
    replicates = 2.0 + rng.normal(size=999)
    assert two_sided_p(2.0, replicates) == pytest.approx(2 * (1 + (replicates <= 0).sum()) / 1000)
    assert two_sided_p(0.0, np.zeros(99)) == 1.0
    assert two_sided_p(8.0, 8 + rng.normal(size=999)) < 1e-10
    assert np.isnan(two_sided_p(1.0, np.full(5, np.nan)))
    assert two_sided_p(1.0, np.ones(99)) == pytest.approx(0.02)


@pytest.fixture(scope="module")
def runs() -> tuple[Scores, Scores]:
    rng = np.random.default_rng(1)
    parts = [simulate(rng, 150, shifts) for shifts in ((2.0, 1.0), (1.0, 1.0), (1.5, 0.5))]
    names = [name for name in ("progan", "biggan", "glide") for _ in range(300)]
    label, a, b = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return make_scores(names, label, a), make_scores(names, label, b)


GROUPS = {"progan": "GAN", "biggan": "GAN", "glide": "diffusion"}


def test_differences_are_those_of_the_metrics(runs: tuple[Scores, Scores]) -> None:
    a, b = runs
    result = compare(a, b, GROUPS, trained=["progan"], baseline=["b"], n_resamples=200)
    difference = {}
    for name in GROUPS:
        rows = a.generator == name
        ours, theirs = (compute_metrics(r.label[rows], r.score[rows], 0.5)["ap"] for r in runs)
        difference[name] = ours - theirs
        assert result.generators[name].difference == pytest.approx(ours - theirs, abs=1e-15)
    gan = [difference["progan"], difference["biggan"]]
    assert result.groups["GAN"].difference == pytest.approx(np.mean(gan))
    assert result.groups_unseen["GAN"].difference == pytest.approx(difference["biggan"])
    assert set(result.groups_unseen) == {"GAN"}
    assert result.overall.difference == pytest.approx(np.mean(list(difference.values())))
    assert result.unseen is not None
    rest = [difference["biggan"], difference["glide"]]
    assert result.unseen.difference == pytest.approx(np.mean(rest))
    assert result.overall.other == ["b"]
    low, high = result.overall.ci
    assert 0 < low < result.overall.difference < high
    assert result.overall.p < 0.01
    shown = [
        *result.generators.values(),
        *result.groups.values(),
        *result.groups_unseen.values(),
        result.overall,
        result.unseen,
        *result.controls.values(),
    ]
    assert [one.p_holm for one in shown] == holm([one.p for one in shown])


def test_swapping_the_runs_turns_the_sign(runs: tuple[Scores, Scores]) -> None:
    one = compare(*runs, GROUPS, n_resamples=100)
    two = compare(*runs[::-1], GROUPS, n_resamples=100)
    assert one.overall.difference == -two.overall.difference
    assert one.overall.ci == pytest.approx((-two.overall.ci[1], -two.overall.ci[0]))
    assert one.overall.p == two.overall.p


def test_a_run_does_not_differ_from_itself(runs: tuple[Scores, Scores]) -> None:
    result = compare(runs[0], runs[0], GROUPS, n_resamples=50)
    assert result.overall.ci[0] < 0 < result.overall.ci[1]  # no variance seen is not none
    assert result.overall.p == 1.0


def test_rows_are_matched_by_sample(runs: tuple[Scores, Scores]) -> None:
    a, b = runs
    order = np.random.default_rng(0).permutation(len(b.label))
    shuffled = Scores(**{f.name: getattr(b, f.name)[order] for f in fields(b)})
    assert compare(a, shuffled, GROUPS, n_resamples=50) == compare(a, b, GROUPS, n_resamples=50)
    fewer = Scores(**{f.name: getattr(b, f.name)[order[:-7]] for f in fields(b)})
    result = compare(a, fewer, GROUPS, n_resamples=50)
    assert result.n_samples == len(order) - 7
    assert any("7 rows" in note for note in result.notes)


def test_delong_by_sources_where_samples_share_one(runs: tuple[Scores, Scores]) -> None:
    a, b = runs
    result = compare(a, b, GROUPS, "auroc", n_resamples=100)
    rows = a.generator == "glide"
    assert result.generators["glide"].test == "delong"
    assert result.generators["glide"].p == delong(a.label[rows], a.score[rows], b.score[rows])[1]
    assert result.overall.test == "bootstrap"
    crops = np.array([f"s{i // 2}" for i in range(len(a.label))], dtype=object)
    pair = [replace(run, source=crops) for run in runs]
    clustered = compare(*pair, GROUPS, "auroc", n_resamples=100)
    assert clustered.generators["glide"].test == "delong-clustered"
    expected = delong(a.label[rows], a.score[rows], b.score[rows], crops[rows].astype(str))[1]
    assert clustered.generators["glide"].p == pytest.approx(expected)


def test_incomparable_runs_raise(runs: tuple[Scores, Scores]) -> None:
    a, b = runs
    with pytest.raises(UnknownNameError, match="auroc"):
        compare(a, b, GROUPS, "auc")
    strangers = replace(b, sample_id=np.array([f"x{i}" for i in range(len(b.label))], object))
    with pytest.raises(DataError, match="no test sample in common"):
        compare(a, strangers, GROUPS)
    clustered = replace(b, source=np.array([f"s{i // 2}" for i in range(len(b.label))], object))
    with pytest.raises(DataError, match="independent"):
        compare(a, clustered, GROUPS)


def null_rate(metric: str, n_studies: int, n: int, n_resamples: int) -> int:
    """Of studies without a true difference, how many are significant at 5 %."""
    result = 0
    for seed in range(n_studies):
        label, a, b = simulate(np.random.default_rng(seed), n, (1.0, 1.0))
        names = ["g"] * len(label)
        pair = make_scores(names, label, a), make_scores(names, label, b)
        result += (
            compare(*pair, {"g": "GAN"}, metric, n_resamples=n_resamples).generators["g"].p < 0.05
        )
    return result


@pytest.mark.parametrize("metric", ["ap", "auroc"])
def test_null_comparisons_are_rarely_significant(metric: str) -> None:
    """A small simulation: refused only if 5 % is implausible at 1 in 1000."""
    result = null_rate(metric, 200, 60, 200)
    assert binomtest(result, 200, 0.05).pvalue > 0.001


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["ap", "auroc", "bacc", "brier"])
def test_null_comparisons_are_significant_in_five_percent(metric: str) -> None:
    assert 0.03 <= null_rate(metric, 2000, 150, 1000) / 2000 <= 0.07


def test_a_detectable_difference_is_detected_in_four_of_five() -> None:
    rng = np.random.default_rng(5)
    label, a, b = simulate(rng, 200, (1.0, 1.0))
    names = ["g"] * len(label)
    size = compare(make_scores(names, label, a), make_scores(names, label, b), {"g": "GAN"},
                   "auroc", n_resamples=50).overall.detectable  # fmt: skip
    # The AUROC of a shift d is Phi(d / sqrt 2); the second run gets the shift that is `size` less.
    lower = np.sqrt(2) * norm.ppf(norm.cdf(1.0 / np.sqrt(2)) - size)
    n_significant = 0
    for _ in range(200):
        label, a, b = simulate(rng, 200, (1.0, lower))
        n_significant += delong(label, a, b)[1] < 0.05
    assert 0.68 <= n_significant / 200 <= 0.9
