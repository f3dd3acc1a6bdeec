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
