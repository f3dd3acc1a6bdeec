"""Estimates with intervals: strata of the bootstrap, means over generators, differences."""

from __future__ import annotations

import numpy as np
import pytest

from featcache.evaluate.estimates import MIN_STRATUM, EvaluationRows, source_strata
from featcache.evaluate.scoring import evaluate_scores
from featcache.metrics import METRICS, compute_metrics, score_ci
from featcache.results import Scores


def make_scores(rows: list[tuple[str, str, int]]) -> Scores:
    """Return scores of (photograph, generator, label)."""
    source, generator, label = (np.array(column) for column in zip(*rows, strict=True))
    score = np.random.default_rng(0).random(len(rows)) * 0.6 + 0.3 * label
    text = np.array([f"i{i}" for i in range(len(rows))])
    return Scores(
        generator=generator, split=text, path=text, sample_id=text, source=source,
        label=label.astype(np.int64), score=score, logit=score,
    )  # fmt: skip


def test_common_roles_form_strata() -> None:
    rows = [(f"a{i}", "g", 0) for i in range(MIN_STRATUM)]
    rows += [(f"b{i}", "h", 1) for i in range(MIN_STRATUM + 1)]
    scores = make_scores(rows)
    assert np.unique(source_strata(scores)).size == 2


def test_sources_of_rare_roles_are_pooled() -> None:
    """Every photograph serves other generators: each would be alone in its stratum."""
    generators = [f"g{i}" for i in range(6)]
    rows = [
        (f"p{i}", name, label)
        for i in range(12)
        for j, name in enumerate(generators)
        if (i >> (j % 4)) % 2 or j == i % 6
        for label in (0, 1)
    ]
    scores = make_scores(rows)
    assert np.unique(source_strata(scores)).size == 1
    groups = dict.fromkeys(generators, "GAN")
    evaluation = evaluate_scores(scores, groups, threshold=0.5, n_resamples=200, seed=0)
    low, high = evaluation.mean("ap").ci
    assert high - low > 0.01


def two_generators() -> tuple[Scores, EvaluationRows]:
    """Two generators that share their ten reals."""
    rows = [(f"real{i}", name, 0) for name in ("g", "h") for i in range(10)]
    rows += [(f"{name}{i}", name, 1) for name in ("g", "h") for i in range(8)]
    scores = make_scores(rows)
    return scores, EvaluationRows.from_scores(scores, ["g", "h"], n_resamples=50, seed=0)


def test_means_over_generators_are_taken_in_every_resample() -> None:
    scores, rows = two_generators()
    estimates = rows.estimate(rows.sort_scores(scores))
    for name in ("g", "h"):
        own = scores.generator == name
        expected = compute_metrics(scores.label[own], scores.score[own], 0.5)
        assert estimates.values[name] == pytest.approx(expected, nan_ok=True)
    replicates = [estimates.replicates[name]["ap"] for name in ("g", "h")]
    mean = estimates.mean("ap")
    assert mean.value == np.mean([estimates.values[name]["ap"] for name in ("g", "h")])
    n_sources = estimates.n_sources(["g", "h"])
    assert mean.ci == score_ci("ap", mean.value, np.mean(replicates, axis=0), n_sources)
    assert estimates.mean("ap", ["g"]) == estimates.estimate("ap", "g")
    assert np.isnan(estimates.mean("ap", []).value)


def test_rows_of_generators_are_those_with_their_name() -> None:
    order = np.random.default_rng(1).permutation(36)
    scores, _ = two_generators()
    mixed = Scores(**{name: getattr(scores, name)[order] for name in scores.__dataclass_fields__})
    test = EvaluationRows.from_scores(mixed, ["h"], n_resamples=2, seed=0)
    assert list(test.rows) == ["h"]
    assert test.rows["h"].tolist() == np.flatnonzero(mixed.generator == "h").tolist()


def test_a_mean_over_many_generators_of_few_fakes_has_an_interval() -> None:
    """Nearly every resample lacks the three fakes of one of two hundred generators."""
    names = [f"g{i}" for i in range(200)]
    rows = [(f"r{i}", name, 0) for name in names for i in range(6)]
    rows += [(f"{name}-{i}", name, 1) for name in names for i in range(3)]
    scores = make_scores(rows)
    test = EvaluationRows.from_scores(scores, names, n_resamples=100, seed=0)
    estimates = test.estimate(test.sort_scores(scores), ("ap",))
    values = np.array([estimates.replicates[name]["ap"] for name in names])
    assert np.isnan(values).any(axis=0).mean() > 0.5
    low, high = estimates.mean("ap").ci
    assert 0 < low < estimates.mean("ap").value < high < 1
    assert estimates.mean_replicates("ap").tolist() == np.nanmean(values, axis=0).tolist()
    # Where few resamples lack one, the mean is over all generators or undefined, as for one.
    few = names[:2]
    assert np.array_equal(
        estimates.mean_replicates("ap", few), values[:2].mean(axis=0), equal_nan=True
    )


def test_the_difference_of_a_head_to_itself_is_zero_in_every_resample() -> None:
    scores, rows = two_generators()
    estimates = rows.estimate(rows.sort_scores(scores), ("ap", "auroc"))
    difference = estimates - estimates
    for name in ("g", "h"):
        assert difference.values[name] == {"ap": 0.0, "auroc": 0.0}
        assert not difference.replicates[name]["ap"].any()


def test_an_evaluation_has_every_metric_of_the_table() -> None:
    scores, _ = two_generators()
    groups = {"g": "GAN", "h": "control"}
    evaluation = evaluate_scores(scores, groups, threshold=0.5, n_resamples=20, seed=0)
    assert list(evaluation.generators) == ["g"]
    assert list(evaluation.controls) == ["h"]
    assert set(evaluation.means()) == set(METRICS)
    for metric in METRICS:
        assert isinstance(evaluation.generators["g"].value(metric), float)
