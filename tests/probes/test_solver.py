"""The solver against scikit-learn's at tol 1e-10, on problems that are easy, hard and
degenerate.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from featcache.probes import LogisticProbe, fit_heads
from featcache.probes.solver import AddedSums, Arrays, HeadBatch, RowSums, minimise


@dataclass(frozen=True)
class Problem:
    name: str
    X: np.ndarray
    y: np.ndarray
    C: float
    weight: np.ndarray | None = None


def labels(rng: np.random.Generator, X: np.ndarray, sharp: float) -> np.ndarray:
    logit = X @ rng.normal(size=X.shape[1])
    logit *= sharp / max(logit.std(), 1e-12)
    y = (rng.random(len(X)) < 1 / (1 + np.exp(-logit))).astype(int)
    y[:2] = 0, 1
    return y


def make_problems() -> Iterator[Problem]:
    """Forty: eight kinds of data at five values of C."""
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(300, 20))
    wide = rng.normal(size=(40, 120))
    tall = rng.normal(size=(2000, 5))
    apart = rng.normal(size=(200, 10))
    collinear = np.hstack([plain[:, :8], plain[:, :8] * 2, plain[:, :4] + plain[:, 4:8]])
    dead = np.hstack([plain[:, :6], np.full((300, 2), 7.0), plain[:, 6:9]])
    raw = rng.normal(size=(400, 12)) * 10.0 ** rng.uniform(-3, 3, 12) + 10.0 ** rng.uniform(
        -1, 2, 12
    )
    correlated = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 40)) + 0.01 * rng.normal(
        size=(500, 40)
    )
    kinds = {
        "plain": (plain, labels(rng, plain, 2), None),
        "wide": (wide, labels(rng, wide, 1), None),
        "weighted": (tall, labels(rng, tall, 1), rng.exponential(size=2000)),
        "separable": (apart, (apart[:, 0] > 0).astype(int), None),
        "collinear": (collinear, labels(rng, plain, 2), None),
        "constant columns": (dead, labels(rng, plain, 3), None),
        "badly scaled": (raw, labels(rng, raw / raw.std(0), 2), None),
        "correlated": (
            correlated,
            labels(rng, correlated, 4),
            rng.integers(0, 3, 500).astype(float),
        ),
    }
    for (name, (X, y, weight)), C in itertools.product(kinds.items(), [1e-6, 1e-2, 1.0, 1e3, 1e6]):
        yield Problem(f"{name} C={C:g}", X, y, C, weight)


PROBLEMS = list(make_problems())


def objective(p: Problem, coef: np.ndarray, bias: float) -> float:
    margin = (p.X @ coef + bias) * (2 * p.y - 1)
    weight = np.ones(len(p.y)) if p.weight is None else p.weight
    return 0.5 * coef @ coef + p.C * weight @ np.logaddexp(0, -margin)


def reference(p: Problem) -> tuple[np.ndarray, float, np.ndarray]:
    """scikit-learn's best answer of two solvers."""
    result = []
    for solver in ("lbfgs", "newton-cholesky"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(C=p.C, tol=1e-10, solver=solver, max_iter=3_000)
            model.fit(p.X, p.y, sample_weight=p.weight)
        result.append((objective(p, model.coef_[0], model.intercept_[0]), model))
    best, model = min(result, key=lambda pair: pair[0])
    return model.coef_[0], best, model.intercept_


@pytest.mark.parametrize("p", PROBLEMS, ids=lambda p: p.name)
def test_as_good_as_scikit_learn(p: Problem) -> None:
    coef, best, _ = reference(p)
    probe = LogisticProbe(C=p.C, scaling="none").fit(p.X, p.y, p.weight)
    own = objective(p, probe.coef_[0], probe.intercept_[0])
    assert own <= best * (1 + 1e-7)
    assert probe.certificate_.objective == pytest.approx(own, rel=1e-9)
    assert probe.certificate_.converged
    if "plain" in p.name or "weighted" in p.name:
        np.testing.assert_allclose(probe.coef_[0], coef, rtol=1e-4, atol=1e-4 * np.abs(coef).max())


def joint_problem(
    dtype: type = np.float64,
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, HeadBatch]:
    """Three blocks, two label sets with weights that leave samples out, all subsets, three C."""
    rng = np.random.default_rng(1)
    blocks = [rng.normal(3, 2, size=(400, d)).astype(dtype) for d in (6, 4, 9)]
    X = np.hstack(blocks).astype(np.float64) - 3
    y = np.stack([labels(rng, X, 2), labels(rng, X, 1)])
    weights = (rng.random((2, 400)) < 0.8).astype(float)
    subsets = [s for s in itertools.product([False, True], repeat=3) if any(s)]
    cells = [(s, C, t) for s in subsets for C in (0.01, 1.0, 100.0) for t in (0, 1)]
    heads = HeadBatch(
        uses=np.array([s for s, _, _ in cells]),
        C=np.array([C for _, C, _ in cells]),
        task=np.array([t for _, _, t in cells]),
    )
    return blocks, y, weights, heads


@pytest.mark.parametrize("scaling", ["standardise", "none", "block-rms", "l2"])
def test_joint_heads_are_the_single_heads(scaling: str) -> None:
    """Each head of a joint solve is the fit on its own columns and samples alone, scaling
    included.
    """
    blocks, y, weights, heads = joint_problem()
    joint = fit_heads(Arrays(blocks), y, heads, weights=weights, scaling=scaling, tol=1e-13)
    for h in range(0, len(heads), 5):
        rows = weights[heads.task[h]] > 0
        own = [b[rows] for b, seen in zip(blocks, heads.uses[h], strict=True) if seen]
        probe = LogisticProbe(
            heads.C[h], scaling=scaling, widths=[b.shape[1] for b in own], tol=1e-13
        )
        probe.fit(np.hstack(own), y[heads.task[h]][rows])
        seen = np.repeat(heads.uses[h], [b.shape[1] for b in blocks])
        np.testing.assert_allclose(joint.weight[h][seen], probe.coef_[0], rtol=1e-4, atol=1e-6)
        assert joint.bias[h] == pytest.approx(probe.intercept_[0], rel=1e-4, abs=1e-5)
        assert not joint.weight[h][~seen].any()


def test_standardising_is_a_pipeline_folded() -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    p = next(p for p in PROBLEMS if p.name.startswith("badly scaled C=1"))
    pipe = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, tol=1e-10, max_iter=10_000))
    pipe.fit(p.X, p.y)
    probe = LogisticProbe(C=0.3, tol=1e-12).fit(p.X, p.y)
    np.testing.assert_allclose(
        probe.decision_function(p.X), pipe.decision_function(p.X), rtol=1e-4, atol=1e-5
    )


def test_float32_is_as_good_as_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, y, weights, heads = joint_problem(np.float32)
    monkeypatch.setattr("featcache.probes.fit.SMALL_CELLS", 0)
    narrow = fit_heads(Arrays(blocks), y, heads, weights=weights)
    wide = fit_heads(
        Arrays([b.astype(float) for b in blocks]), y, heads, weights=weights, tol=1e-12
    )
    for a, b in zip(narrow.certificates, wide.certificates, strict=True):
        assert a.objective == pytest.approx(b.objective, rel=1e-6)
        assert a.converged


@pytest.mark.parametrize("scaling", ["standardise", "none", "block-rms", "l2"])
def test_fewer_rows_than_columns_give_the_ordinary_answer(scaling: str) -> None:
    """Solved in the rows' space where there is no memory to keep to, on the columns where there
    is.
    """
    rng = np.random.default_rng(2)
    blocks = [rng.normal(1, 2, size=(40, d)) for d in (90, 7)]
    blocks[0][:, 3] = 5.0  # dead for all
    blocks[0][:, 4] = rng.random(40) < 0.5
    y = np.stack([labels(rng, np.hstack(blocks), 2)] * 2)
    weights = np.stack([np.ones(40), (blocks[0][:, 4] == 0).astype(float)])  # dead for the second
    subsets = [(True, False), (False, True), (True, True)]
    cells = [(s, C, t) for s in subsets for C in (0.001, 1.0) for t in (0, 1)]
    heads = HeadBatch(
        uses=np.array([s for s, _, _ in cells]),
        C=np.array([C for _, C, _ in cells]),
        task=np.array([t for _, _, t in cells]),
    )
    narrow = fit_heads(Arrays(blocks), y, heads, weights=weights, scaling=scaling)
    wide = fit_heads(Arrays(blocks), y, heads, weights=weights, scaling=scaling, memory=1 << 40)
    np.testing.assert_allclose(narrow.weight, wide.weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(narrow.bias, wide.bias, rtol=1e-4, atol=1e-5)
    for a, b in zip(narrow.certificates, wide.certificates, strict=True):
        assert a.converged
        assert b.converged
        assert a.objective == pytest.approx(b.objective, rel=1e-9)
        assert a.gradient_norm == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_column_that_is_constant_in_one_task_weighs_nothing_there(dtype: type) -> None:
    """A unit that fires for one held-out image only must not decide about it."""
    rng = np.random.default_rng(3)
    X = rng.random((300, 5)).astype(dtype)
    X[:, 2], X[7, 2] = 0.1, 1.0
    y = (X[:, 0] > 0.5).astype(int)[None].repeat(2, axis=0)
    weights = np.ones((2, 300))
    weights[1, 7] = 0
    heads = HeadBatch(uses=np.ones((2, 1), bool), C=np.ones(2), task=np.arange(2))
    fitted = fit_heads(Arrays([X]), y, heads, weights=weights)
    assert fitted.weight[0, 2] != 0
    assert fitted.weight[1, 2] == 0


class Streamed(Arrays):
    """Chunks of 90 rows, each a fresh copy; counts the passes."""

    def chunks(self, blocks):  # type: ignore[no-untyped-def]
        for start in range(0, self.n_rows, 90):
            rows = slice(start, min(start + 90, self.n_rows))
            yield rows, [b[rows].copy() for b in self.blocks]


def test_streaming_gives_the_same_answer() -> None:
    """With a memory that holds neither the features nor all heads at once."""
    blocks, y, weights, heads = joint_problem()
    full = fit_heads(Arrays(blocks), y, heads, weights=weights, tol=1e-13)
    torn = fit_heads(Streamed(blocks), y, heads, weights=weights, memory=100_000, tol=1e-13)
    np.testing.assert_allclose(torn.weight, full.weight, rtol=1e-5, atol=1e-7)
    for a, b in zip(torn.certificates, full.certificates, strict=True):
        assert a.objective == pytest.approx(b.objective, rel=1e-9)


def test_sums_add_up_over_parts() -> None:
    """A distributed engine that adds the sums of parts gets the answer of the whole."""
    blocks, y, weights, heads = joint_problem()
    blocks = [b - b.mean(0) for b in blocks]
    parts = [
        RowSums(Arrays([b[rows] for b in blocks]), y[:, rows], weights[:, rows])
        for rows in (slice(0, 130), slice(130, 400))
    ]
    full = minimise(RowSums(Arrays(blocks), y, weights), heads, tol=1e-13)
    added = minimise(AddedSums(list(parts)), heads, tol=1e-13)
    np.testing.assert_allclose(added.weight, full.weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(added.objective, full.objective, rtol=1e-10)


def test_the_certificate_is_honest() -> None:
    """Stopped early, the proven gap is never below the true one, and says that it did not
    converge.
    """
    p = next(p for p in PROBLEMS if p.name == "correlated C=1")
    best = LogisticProbe(C=1, scaling="none", tol=1e-12).fit(p.X, p.y, p.weight).certificate_
    for n in (1, 3, 5):
        with pytest.warns(UserWarning, match="relative gap"):
            probe = LogisticProbe(C=1, scaling="none", tol=1e-12, max_iter=n).fit(
                p.X, p.y, p.weight
            )
        result = probe.certificate_
        true_gap = (result.objective - best.objective) / result.objective
        assert not result.converged
        assert result.gap >= true_gap > 0


@parametrize_with_checks([LogisticProbe()])
def test_scikit_learn_compatible(estimator, check) -> None:  # type: ignore[no-untyped-def]
    check(estimator)


def test_balanced_classes_and_errors() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = (X[:, 0] + rng.normal(size=200) > 1).astype(int)
    own = LogisticProbe(scaling="none", class_weight="balanced").fit(X, y)
    theirs = LogisticRegression(class_weight="balanced", tol=1e-10).fit(X, y)
    np.testing.assert_allclose(own.coef_, theirs.coef_, rtol=1e-3)
    np.testing.assert_allclose(own.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    with pytest.raises(ValueError, match="No scaling is called 'standard'"):
        LogisticProbe(scaling="standard").fit(X, y)
    with pytest.raises(ValueError, match="do not add up"):
        LogisticProbe(widths=[1, 1]).fit(X, y)
    with pytest.raises(ValueError, match="C must be"):
        LogisticProbe(C=-1).fit(X, y)


def test_folded_scaling_is_the_scaled_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """At many rows no scaled copy is made; the objective is that of the copy, per task too."""
    rng = np.random.default_rng(4)
    X = (rng.normal(2, 3, size=(3000, 8)) * np.arange(1, 9)).astype(np.float32)
    y = labels(rng, X, 3)[None].repeat(2, axis=0)
    weights = np.ones((2, 3000))
    weights[1, :1200] = 0
    heads = HeadBatch(uses=np.ones((2, 1), bool), C=np.ones(2), task=np.arange(2))
    monkeypatch.setattr("featcache.probes.fit.SMALL_CELLS", 0)
    folded = fit_heads(Arrays([X]), y, heads, weights=weights)
    monkeypatch.setattr("featcache.probes.fit.MAX_MEAN", 0.0)
    copied = fit_heads(Arrays([X]), y, heads, weights=weights)
    for a, b in zip(folded.certificates, copied.certificates, strict=True):
        assert a.objective == pytest.approx(b.objective, rel=1e-6)
        assert a.converged
        assert b.converged
    np.testing.assert_allclose(folded.weight, copied.weight, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e-7])
@pytest.mark.parametrize("C", [1e-8, 1e-4, 1.0])
def test_the_gap_is_a_bound_for_rare_fakes_and_small_weights(C: float, scale: float) -> None:
    """The intercept starts far from its optimum here; scikit-learn's objective is the reference."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 5)), np.zeros(500, int)
    y[:2] = 1
    weight = np.full(500, scale)
    probe = LogisticProbe(C=C, scaling="none").fit(X, y, weight)
    theirs = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12).fit(X, y, weight)
    own, best = (
        0.5 * (m.coef_**2).sum()
        + C * (weight * np.logaddexp(0, -(2 * y - 1) * m.decision_function(X))).sum()
        for m in (probe, theirs)
    )
    assert probe.certificate_.converged
    assert (own - best) / own <= probe.certificate_.gap + 1e-12
    assert probe.certificate_.gap < 1e-9


def test_balanced_classes_count_sample_weights() -> None:
    rng = np.random.default_rng(1)
    X, weight = rng.normal(size=(200, 3)), rng.uniform(0.1, 5, 200)
    y = (X[:, 0] + rng.normal(size=200) > 1).astype(int)
    own = LogisticProbe(scaling="none", class_weight="balanced").fit(X, y, weight)
    shares = weight.sum() / (2 * np.bincount(y, weight))  # as scikit-learn 1.9 defines it
    theirs = LogisticRegression(tol=1e-10).fit(X, y, weight * shares[y])
    np.testing.assert_allclose(own.coef_, theirs.coef_, rtol=1e-3)
