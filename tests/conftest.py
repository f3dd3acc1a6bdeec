"""What all tests share: no settings from outside, a small tree, and a command line in this
process.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.cache import FeatureStore, Rows
from featcache.cache.testing import make_key
from featcache.cli import run
from featcache.datasets import Manifest, Sample
from featcache.files import digest_bytes
from featcache.testing import make_tree


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the user's variables and settings file out, and the working directory empty."""
    import os

    for name in [name for name in os.environ if name.startswith("FEATCACHE_")]:
        if name != "FEATCACHE_ASSETS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    empty = tmp_path / "cwd"
    empty.mkdir()
    monkeypatch.chdir(empty)


@dataclass(frozen=True)
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def featcache(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def call(*arguments: object) -> Ran:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "toy")


@pytest.fixture(scope="session")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tree and a store with its real EfficientNet-Lite0 features, made once by the command
    line.
    """
    folder = tmp_path_factory.mktemp("extracted")
    root, store = make_tree(folder / "toy"), folder / "store"
    command = [
        "extract",
        "--backbone",
        "efficientnet-lite0",
        "--data",
        root,
        "--cache",
        store,
        "-q",
    ]
    assert run([str(part) for part in command]) == 0
    return root, store


def _sample(i: int, split: str, generator: str, label: int) -> Sample:
    return Sample(
        dataset="toy", root="/toy", path=f"/toy/{split}/{generator}/{label}/{i}.png", label=label,
        generator=generator if label else "real", paired_with=generator,
        family="diffusion" if generator == "adm" else "GAN", split=split,
        sample_id=digest_bytes(f"{split}{generator}{label}{i}".encode()),
        source=digest_bytes(f"{split}{generator}{label}{i}".encode()),
    )  # fmt: skip


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path]:
    """Three made-up features: a good one, its near copy, and noise; views clean and jpeg:50."""
    folder = tmp_path_factory.mktemp("toy") / "store"
    samples = [
        _sample(i, split, generator, label)
        for split in ("train", "test") for generator in ("progan", "biggan", "adm")
        for label in (0, 1) for i in range(40)
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    y = np.array([s.label for s in samples])
    good = rng.normal(size=(len(y), 12)) + 0.5 * y[:, None]
    blocks = {
        "a": good, "b": good + 0.05 * rng.normal(size=good.shape), "c": rng.normal(size=(len(y), 8))
    }  # fmt: skip
    store = FeatureStore(folder)
    ids = [s.sample_id for s in samples]
    order = np.argsort(ids)
    for name, block in blocks.items():
        for view, noise in (("clean", 0.0), ("jpeg:50", 1.5)):
            rows = (block + noise * rng.normal(size=block.shape)).astype(np.float32)
            key = make_key(backbone=name, view={"name": view, "steps": []})
            store.write(
                key, digest_bytes(view.encode()), Rows([ids[i] for i in order], rows[order], {}), {}
            )
    manifest = Manifest(tuple(samples))
    manifest.write(folder / "manifests" / "toy.csv")
    return manifest, folder
