"""What 'probe' leaves in the store can be read again, and the same question has the same name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.errors import DataError
from featcache.evaluate import load_result, load_scores
from featcache.probes import load_head
from featcache.results import EvalResult

NAME = "efficientnet-lite0"
Call = Callable[..., Any]


def probe(featcache: Call, store: Path, *more: object) -> Any:
    ran = featcache("probe", "--features", NAME, "--cache", store, "--json", *more)
    assert ran.code == 0, ran.err
    return ran.json


def test_a_saved_result_is_read_back(
    featcache: Call, extracted: tuple[Path, Path], tmp_path: Path
) -> None:
    store = extracted[1]
    printed = probe(featcache, store, "--save", tmp_path / "h.safetensors")
    folder = store / "results" / printed["digest"]
    result = load_result(folder)
    assert isinstance(result, EvalResult)
    assert json.loads((folder / "result.json").read_text())["result"] == printed
    assert result.mAP == printed["mAP"]
    scores = load_scores(folder)
    head = load_head(tmp_path / "h.safetensors")
    np.testing.assert_array_equal(head.weight, load_head(folder / "head.safetensors").weight)
    from featcache.cache import FeatureStore

    reader = FeatureStore(store)
    features = reader.read(reader.find(NAME), list(scores.sample_id))
    np.testing.assert_allclose(head.logits(features), scores.logit, atol=1e-9)
    assert head.feature_keys == result.keys
    assert head.widths == [1280]


def test_the_digest_depends_on_the_question(featcache: Call, extracted: tuple[Path, Path]) -> None:
    store = extracted[1]
    first = probe(featcache, store)
    assert probe(featcache, store)["digest"] == first["digest"]
    assert probe(featcache, store, "--C", "0.5")["digest"] != first["digest"]
    assert probe(featcache, store, "--train", "progan")["digest"] != first["digest"]


def test_damaged_results_raise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no result"):
        load_result(tmp_path)
    (tmp_path / "result.json").write_text('{"format": 1, "kind": "probe", "result": {}}')
    with pytest.raises(DataError, match="no result"):
        load_result(tmp_path)
    (tmp_path / "scores.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="cannot be read"):
        load_scores(tmp_path)
