"""Every option accepts what its flag accepts: one text, several, numbers, paths, aliases."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.cache import FeatureStore, Rows
from featcache.cache.testing import make_key
from featcache.errors import SettingsError
from featcache.evaluate import GRID, AblateOptions, ProbeOptions
from featcache.extract import ExtractOptions
from featcache.files import digest_bytes

PROBE: list[tuple[str, Any, Any]] = [
    ("features", "clip,synclr", ["clip", "synclr"]),
    ("features", "clip-vit-b16", ["clip-vit-b16"]),
    ("features", ["clip,synclr", "dinov2"], ["clip", "synclr", "dinov2"]),
    ("features", ("clip",), ["clip"]),
    ("train", "progan, biggan", ["progan", "biggan"]),
    ("C", "0.1", 0.1),
    ("C", 2, 2.0),
    ("grid", "grid", GRID),
    ("grid", "0.1,1", [0.1, 1.0]),
    ("train_views", "clean,jpeg:70", ["clean", "jpeg:70"]),
    ("test_views", "jpeg:70", ["jpeg:70"]),
    ("test_views", None, ["clean"]),
    ("prior", "0.1", 0.1),
    ("prior", [0.1, 0.01], 0.1),
    ("priors", "0.1,0.01", [0.1, 0.01]),
    ("weights", ["clip=blake2b:00"], {"clip-vit-b16": "blake2b:00"}),
    ("weights", "blake2b:00", {"clip-vit-b16": "blake2b:00"}),
    ("memory", "2G", 2 << 30),
    ("memory", 500, 500),
]
ABLATE: list[tuple[str, Any, Any]] = [
    ("heads", "logistic,knn", ["logistic", "knn"]),
    ("train_sets", "progan,biggan", [["progan", "biggan"]]),
    ("train_sets", ["progan", "biggan,adm"], [["progan"], ["biggan", "adm"]]),
    ("train_views", "clean,jpeg:70", [["clean", "jpeg:70"]]),
    ("subsets", "clip", [["clip"]]),
    ("subsets", [["clip", "synclr"], "clip"], [["clip", "synclr"], ["clip"]]),
    ("baseline", "clip", ["clip"]),
    ("kept", "results", Path("results")),
]
EXTRACT: list[tuple[str, Any, Any]] = [
    ("views", "clean,jpeg:70", ("clean", "jpeg:70")),
    ("views", ["clean"], ("clean",)),
    ("part", "2/8", (2, 8)),
]


@pytest.mark.parametrize(("name", "value", "expected"), PROBE)
def test_probe_option(name: str, value: Any, expected: Any) -> None:
    options = ProbeOptions(**{"features": "clip", name: value})
    assert getattr(options, name) == expected
    assert replace(options) == options  # reading twice changes nothing


@pytest.mark.parametrize(("name", "value", "expected"), ABLATE)
def test_ablate_option(name: str, value: Any, expected: Any) -> None:
    options = AblateOptions(**{"probe": ProbeOptions(features="clip,synclr"), name: value})
    assert getattr(options, name) == expected


@pytest.mark.parametrize(("name", "value", "expected"), EXTRACT)
def test_extract_option(name: str, value: Any, expected: Any) -> None:
    assert getattr(ExtractOptions(**{name: value}), name) == expected


def test_several_C_are_a_grid() -> None:
    assert ProbeOptions(features="clip", C="grid").grid == GRID  # type: ignore[arg-type]
    assert ProbeOptions(features="clip", C=[0.1, 1]).grid == [0.1, 1.0]  # type: ignore[arg-type]


def test_defaults_are_what_they_were() -> None:
    """Digests of saved results are made of these values."""
    values = asdict(ProbeOptions(features=["clip"]))
    expected = {"C": 1.0, "grid": [], "priors": [], "prior": 0.5, "train_views": ["clean"]}
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("C", "many", "not a number"),
        ("C", 0, "must be positive"),
        ("prior", "2", "between 0 and 1"),
        ("memory", "2 apples", "not a size"),
        ("memory", "-1", "must be positive"),
        ("head", 7, "neither the name of a head"),
    ],
)
def test_what_no_flag_accepts(name: str, value: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        ProbeOptions(**{"features": "clip", name: value})


def test_store_finds_aliases(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    key = make_key(backbone="clip-vit-b16")
    rows = Rows([digest_bytes(b"1")], np.zeros((1, 2), np.float32))
    store.write(key, "0" * 32, rows, {})
    assert store.find("clip") == store.find("clip@final") == key
