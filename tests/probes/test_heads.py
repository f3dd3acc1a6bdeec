"""The other heads: against scikit-learn, by their rules, and on what they must not look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from featcache.errors import DataError, UnknownNameError
from featcache.probes.base import Linear, Training, fit_head, head_kinds
from featcache.probes.heads.ridge import ridge_path
from featcache.probes.heads.univfd_sgd import _Adam, _Stopper


def problem(n: int = 300, d: int = 12, seed: int = 0, shift: float = 1.0) -> Training:
    """Classes a few deviations apart in three columns of very different scale."""
    scale = np.random.default_rng(99).uniform(0.1, 10, d)
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(n, d)) + 0.5
    x[:, :3] += shift * y[:, None]
    return Training(features=(x * scale).astype(np.float32), labels=y)


@pytest.mark.parametrize("name", sorted(head_kinds()))
def test_every_kind_beats_chance_on_new_data_and_knows_which_side_is_fake(name: str) -> None:
    # Steps of 1e-4 need many samples to get anywhere.
    n = 20_000 if name == "univfd-sgd" else 600
    head = fit_head(name, problem(n, shift=2.0), C=1.0, k=3, seed=0)
    new = problem(400, seed=1, shift=2.0)
    logits = head.logits(new.features)
    assert logits.shape == (400,)
    assert logits.dtype == np.float64
    assert roc_auc_score(new.labels, logits) > 0.7


@pytest.mark.parametrize("name", sorted(head_kinds()))
def test_the_same_fit_twice(name: str) -> None:
    train = problem(120)
    first, second = (fit_head(name, train, seed=3).logits(train.features) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_an_unknown_kind_names_the_near_one() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'ridge'"):
        fit_head("rigde", problem())


@pytest.mark.parametrize("name", sorted(head_kinds()))
def test_a_class_that_is_needed_and_missing(name: str) -> None:
    train = problem(60)
    for label, message in ((1, "no reals"), (0, "no fakes")):
        keep = train.labels == label
        alone = Training(features=train.features[keep], labels=train.labels[keep])
        if name == "oneclass" and label == 1:
            assert np.isfinite(fit_head(name, alone).logits(train.features)).all()
        else:
            with pytest.raises(DataError, match=message):
                fit_head(name, alone)


@pytest.mark.parametrize("shape", [(300, 12), (20, 50)])
def test_ridge_equals_scikit_learn_at_every_penalty(shape: tuple[int, int]) -> None:
    train = problem(*shape)
    Cs = [1e-4, 1e-2, 1.0, 100.0]
    weights, biases = ridge_path(train, Cs)
    x = train.features.astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    for C, weight, bias in zip(Cs, weights, biases, strict=True):
        model = Ridge(alpha=1 / C).fit((x - mean) / scale, 2 * train.labels - 1)
        np.testing.assert_allclose(weight * scale, model.coef_, atol=1e-7)
        expected = model.predict((x - mean) / scale)
        np.testing.assert_allclose(x @ weight + bias, expected, atol=1e-6)


def test_one_neighbour_is_univfds_rule() -> None:
    train, new = problem(200), problem(100, seed=5)
    called = fit_head("knn", train, k=1).logits(new.features) > 0
    distances = [
        NearestNeighbors(n_neighbors=1, metric="cosine")
        .fit(train.features[train.labels == label])
        .kneighbors(new.features)[0][:, 0]
        for label in (0, 1)
    ]
    np.testing.assert_array_equal(called, distances[1] < distances[0])


@pytest.mark.parametrize("k", [3, 5, 9])
def test_k_neighbours_vote(k: int) -> None:
    train, new = problem(200), problem(100, seed=5)
    called = fit_head("knn", train, k=k).logits(new.features) > 0
    model = KNeighborsClassifier(k, metric="cosine").fit(train.features, train.labels)
    np.testing.assert_array_equal(called, model.predict(new.features) == 1)


def test_neighbours_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    train = problem(100)
    head = fit_head("knn", train, k=3)
    full = head.logits(train.features)
    monkeypatch.setattr("featcache.probes.heads.neighbours.BLOCK_CELLS", 700)
    np.testing.assert_allclose(head.logits(train.features), full, atol=1e-6)


@pytest.mark.parametrize("k", [0, 2, 999])
def test_wrong_k(k: int) -> None:
    with pytest.raises(DataError, match="must be odd"):
        fit_head("knn", problem(50), k=k)


def test_prototype_counts_joined_features_alike() -> None:
    train = problem(200)
    blown = train.features.copy()
    blown[:, 6:] *= 1000
    plain = fit_head(
        "prototype", Training(features=train.features, labels=train.labels, widths=[6, 6])
    )
    large = fit_head("prototype", Training(features=blown, labels=train.labels, widths=[6, 6]))
    np.testing.assert_allclose(plain.logits(train.features), large.logits(blown), atol=1e-6)


def test_oneclass_never_looks_at_reals() -> None:
    train = problem(200)
    another = train.features.copy()
    another[train.labels == 0] = 1e6
    new = problem(50, seed=9).features
    first = fit_head("oneclass", train).logits(new)
    second = fit_head("oneclass", Training(features=another, labels=train.labels)).logits(new)
    np.testing.assert_array_equal(first, second)
    fakes = train.labels == 1
    alone = Training(features=train.features[fakes], labels=train.labels[fakes])
    assert np.isfinite(fit_head("oneclass", alone).logits(new)).all()


def test_oneclass_distance_is_mahalanobis_and_its_limit_holds_on_new_fakes() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 6)).astype(np.float32)
    head: Any = fit_head("oneclass", Training(features=x, labels=np.arange(2000) % 2))
    new = rng.normal(size=(4000, 6)).astype(np.float32)
    assert (head.logits(new) > 0).mean() == pytest.approx(0.95, abs=0.02)
    inverse = head.axes @ np.diag(1 / head.variances) @ head.axes.T
    z = (new[0] - head.mean) / head.scale
    expected = mahalanobis(z, np.zeros(6), inverse) / np.sqrt(6)
    assert head._distance(new[:1])[0] == pytest.approx(expected, rel=1e-5)


def test_oneclass_with_fewer_fakes_than_features_equals_the_shrunk_covariance() -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    x = np.random.default_rng(1).normal(size=(80, 60)).astype(np.float32)
    head: Any = fit_head("oneclass", Training(features=x, labels=np.arange(80) % 2))
    assert head.axes.shape == (60, 40)
    fakes = (x[1::2] - head.mean) / head.scale
    precision = covariance.LedoitWolf(assume_centered=True).fit(fakes).precision_
    z = (x[0] - head.mean) / head.scale
    expected = mahalanobis(z, np.zeros(60), precision) / np.sqrt(60)
    assert head._distance(x[:1])[0] == pytest.approx(expected, rel=1e-6)


def test_adam_equals_torch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=5), rng.normal(size=(20, 5))
    ours = _Adam(start.copy())
    theirs = torch.nn.Parameter(torch.tensor(start))
    optimiser = torch.optim.AdamW([theirs], lr=1e-4, betas=(0.9, 0.999), weight_decay=0.0)
    for gradient in gradients:
        ours.update(gradient)
        theirs.grad = torch.tensor(gradient)
        optimiser.step()
    np.testing.assert_allclose(ours.theta, theirs.detach().numpy(), rtol=1e-12)


def test_stopping_counts_small_gains_as_none() -> None:
    stop = _Stopper(0.001)
    assert [stop(a) for a in (0.5, 0.5005, 0.502, 0.5025, 0.5, 0.5, 0.5)] == [False] * 7
    assert stop(0.5)


def test_sgd_uses_the_validation_samples_that_it_is_given() -> None:
    train = problem(300)
    given = Training(
        features=train.features, labels=train.labels,
        val_features=train.features[:50], val_labels=train.labels[:50],
    )  # fmt: skip
    assert isinstance(head := fit_head("univfd-sgd", given), Linear)
    assert head.weight.shape == (12,)
