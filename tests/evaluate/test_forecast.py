"""The forecast of a probe counts what the probe then has, and foretells streaming."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from featcache.testing import make_tree

LITE = "efficientnet-lite0"


@pytest.fixture
def tree(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, featcache: Callable[..., Any]) -> str:
    monkeypatch.chdir(tmp_path)
    make_tree(tmp_path / "toy", generators=("progan",), n=12, size=64)
    assert featcache("extract", "--backbone", LITE, "--data", "toy").code == 0
    return "toy"


def test_the_forecast_is_what_the_probe_has(tree: str, featcache: Callable[..., Any]) -> None:
    question = ["probe", LITE, "--data", tree, "--C", "0.1,1"]
    (plan,) = featcache(*question, "--dry-run", "--json").json["solves"]
    result = featcache(*question, "--json").json
    assert plan["n_columns"] == result["n_features"]
    assert plan["n_train"] == result["train"]["n_real"] + result["train"]["n_fake"]
    assert plan["n_test"] == 24
    assert plan["n_generators"] == len(result["generators"])
    assert plan["n_heads"] == 2 * 6  # two values of C, on all rows and on five folds
    assert plan["memory"] > 4 * plan["n_train"] * plan["n_columns"]
    assert plan["seconds"] > 0
    assert not plan["streamed"]


def test_a_limit_that_is_too_small_is_foretold(tree: str, featcache: Callable[..., Any]) -> None:
    question = ["probe", LITE, "--data", tree, "--dry-run", "--memory", "100k"]
    ran = featcache(*question)
    assert ran.code == 0, ran.err
    assert "are read again for every pass" in " ".join(ran.out.split())


def test_a_given_head_has_nothing_to_foretell(tree: str, featcache: Callable[..., Any]) -> None:
    assert featcache("probe", LITE, "--data", tree, "--save", "h.safetensors").code == 0
    ran = featcache("probe", "--head", "h.safetensors", "--data", tree, "--dry-run")
    assert ran.code == 2
    assert "nothing to foretell" in ran.err
