"""What the bootstrap draws: photographs by their roles, and never strata that cannot vary."""

from __future__ import annotations

import numpy as np

from featcache.evaluate.estimates import MIN_STRATUM, source_strata
from featcache.evaluate.scoring import evaluate_scores
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


def test_common_roles_are_strata() -> None:
    rows = [(f"a{i}", "g", 0) for i in range(MIN_STRATUM)]
    rows += [(f"b{i}", "h", 1) for i in range(MIN_STRATUM + 1)]
    scores = make_scores(rows)
    assert np.unique(source_strata(scores)).size == 2


def test_photographs_of_rare_roles_are_drawn_together() -> None:
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
