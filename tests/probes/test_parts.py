"""A probe whose training features lie in parts, elsewhere: the answer is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.engines import open_engine
from featcache.errors import SettingsError
from featcache.evaluate import ProbeOptions, run_probe, task

FIELDS = ("ap", "auroc", "acc", "brier")


def probe(toy: tuple[Manifest, Path], **changes: Any) -> Any:
    values: dict[str, Any] = {"features": ["a", "c"], "train": ["progan"], "n_resamples": 50}
    manifest, folder = toy
    return run_probe(manifest, FeatureStore(folder), ProbeOptions(**{**values, **changes}))


def assert_same(one: Any, second: Any) -> None:
    assert one.result.digest == second.result.digest
    assert one.result.C == second.result.C
    np.testing.assert_allclose(one.scores.score, second.scores.score, atol=1e-6)
    for name, result in one.result.generators.items():
        for field in FIELDS:
            expected = getattr(second.result.generators[name], field)
            assert getattr(result, field) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scaling", ["standardise", "l2"])
def test_three_parts_give_the_answer_of_one(
    toy: tuple[Manifest, Path], monkeypatch: pytest.MonkeyPatch, scaling: str
) -> None:
    engine, hosted = open_engine("local", workers=3), []
    host = engine.host
    monkeypatch.setattr(engine, "host", lambda makes: hosted.append(len(makes)) or host(makes))
    monkeypatch.setattr(task, "open_engine", lambda *a, **k: engine)
    parted = probe(toy, engine="ray", grid=[0.01, 1.0], scaling=scaling)
    assert hosted == [3]
    assert_same(parted, probe(toy, grid=[0.01, 1.0], scaling=scaling))


def test_heads_that_need_all_rows_at_once_say_so(toy: tuple[Manifest, Path]) -> None:
    with pytest.raises(SettingsError, match="knn is fitted in one process: --engine local"):
        probe(toy, engine="ray", head="knn")


@pytest.mark.slow
def test_ray_gives_the_answer_of_one_process(toy: tuple[Manifest, Path]) -> None:
    pytest.importorskip("ray")
    assert_same(probe(toy, engine="ray", processes=2), probe(toy))
