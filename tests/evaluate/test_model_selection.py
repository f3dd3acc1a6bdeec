"""Choosing C: ties on validation data that every C separates, and the edge of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

from featcache.datasets import Manifest, Sample
from featcache.datasets.columns import Texts
from featcache.errors import DataError
from featcache.evaluate import data
from featcache.evaluate.data import unique_samples
from featcache.evaluate.model_selection import Folds, log_loss, plan_folds, select_C
from featcache.files import digest_bytes
from featcache.reports.tables.probe import selection_notes
from featcache.results import EvalResult, Selection, TrainResult

GRID = [1e-4, 1e-2, 1.0, 1e2]


def folds_and_logits(distance: float) -> tuple[Folds, np.ndarray, np.ndarray]:
    """Fit scikit-learn on three folds at each C; return folds, held-out logits and labels."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 2
    X = rng.normal(size=(90, 4)) + distance * y[:, None]
    logits = np.full((len(GRID), len(y)), np.nan)
    held_out = []
    for train, test in KFold(3).split(X):
        held_out.append(test)
        for row, C in zip(logits, GRID, strict=True):
            row[test] = LogisticRegression(C=C).fit(X[train], y[train]).decision_function(X[test])
    folds = Folds("source", np.ones((4, len(y))), held_out, y, np.full(len(y), "g"))
    return folds, logits, y


def choose(folds: Folds, logits: np.ndarray, grid: Sequence[float] = GRID) -> Selection:
    return select_C(folds, grid, logits, [None] * len(grid))


def test_of_equal_values_the_lowest_log_loss_is_chosen() -> None:
    folds, logits, y = folds_and_logits(distance=12)
    assert all(roc_auc_score(y[f], row[f]) == 1 for row in logits for f in folds.held_out)
    chosen = choose(folds, logits)
    losses = [
        np.mean([sklearn_log_loss(y[f], 1 / (1 + np.exp(-row[f]))) for f in folds.held_out])
        for row in logits
    ]
    assert chosen.C == GRID[int(np.argmin(losses))] == GRID[-1]
    assert [point.log_loss for point in chosen.path] == pytest.approx(losses, abs=1e-9)
    assert chosen.n_tied == 4


def test_the_metric_comes_first() -> None:
    folds, logits, y = folds_and_logits(distance=0.5)
    chosen = choose(folds, logits)
    means = [np.mean([roc_auc_score(y[f], row[f]) for f in folds.held_out]) for row in logits]
    best = [C for C, mean in zip(GRID, means, strict=True) if mean >= max(means) - 1e-12]
    assert chosen.C in best
    assert chosen.n_tied == len(best) < len(GRID)


def test_the_log_loss_of_large_logits_is_finite() -> None:
    assert log_loss(np.array([0, 1]), np.array([800.0, -800.0])) == 800
    assert log_loss(np.array([1, 0]), np.array([800.0, -800.0])) == 0


def test_notes_say_what_validation_could_not_tell() -> None:
    folds, logits, _ = folds_and_logits(distance=12)
    train = TrainResult(generators=["g"], datasets=["d"], n_real=1, n_fake=1, n_sources=2)
    result = EvalResult(
        features=["f"], n_features=4, train=train, C=1.0, threshold=0.5, mAP=1.0, mean_acc=1.0,
        mAP_ci=(0, 1), mean_acc_ci=(0, 1), groups={}, generators={},
        selection=choose(folds, logits),
    )  # fmt: skip
    tied, edge = selection_notes(result)
    assert tied.startswith("Validation cannot tell 4 of 4 values of C apart (AUROC 100.0)")
    assert edge.startswith("C = 100 lies on the edge of the grid")
    one = choose(folds, logits[:1], GRID[:1])
    assert selection_notes(replace(result, selection=one)) == []


def training_samples(n_generators: int) -> Manifest:
    """Return samples of generators, four of each class, every one a source of its own."""
    return Manifest(
        Sample("x", "/r", f"/r/{name}-{label}-{i}", label, name if label else "real", name, "GAN",
               "train", sample_id=digest_bytes(f"{name}-{label}-{i}".encode()), source=f"{name}{i}")
        for name in (f"g{k:02}" for k in range(n_generators))
        for label in (0, 1) for i in range(4)
    )  # fmt: skip


@pytest.mark.parametrize(("n_generators", "n_folds"), [(3, 3), (20, 20), (27, 20)])
def test_a_fold_holds_out_several_of_many_generators(n_generators: int, n_folds: int) -> None:
    train, paired = unique_samples(training_samples(n_generators))
    folds = plan_folds(train, Manifest(), paired, 1, 5)
    assert folds is not None
    assert (folds.split_by, len(folds.held_out)) == ("generator", n_folds)
    assert sorted(np.concatenate(folds.held_out).tolist()) == list(range(len(train)))
    for weights, out in zip(folds.train_weights[1:], folds.held_out, strict=True):
        fitted = set(folds.generators[weights > 0].tolist())
        assert fitted.isdisjoint(folds.generators[out].tolist())


def test_too_many_scores_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = training_samples(3)
    tested = samples.replace(split=Texts.constant("test", len(samples)))
    assert list(data.test_sets(tested, [])) == ["g00", "g01", "g02"]
    monkeypatch.setattr(data, "MAX_SCORES", 23)
    with pytest.raises(DataError, match=r"3 generators .* 24 scores.*--max-per-class 500"):
        data.test_sets(tested, [])
