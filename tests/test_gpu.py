"""What only a GPU can show: ``make gpu-test``. All that a CPU can show of it is in
extract/test_pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featcache.backbones import BACKBONES
from featcache.cache import FeatureStore
from featcache.datasets import Manifest, ScanOptions, scan_into
from featcache.extract import ExtractOptions, ExtractSummary, extract
from featcache.testing import make_tree

pytestmark = pytest.mark.gpu
CUDA = ExtractOptions(device="cuda", shard_rows=40, batch_size=16)


@pytest.fixture(autouse=True)
def _cuda() -> Iterator[None]:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.fixture
def data(tmp_path: Path) -> Manifest:
    root = make_tree(tmp_path / "toy", n=12, size=256)
    return scan_into(tmp_path / "scan", root, ScanOptions()).manifest


def run(data: Manifest, folder: Path, options: ExtractOptions) -> ExtractSummary:
    (summary,) = extract(data, [BACKBONES.get("efficientnet-lite0")], FeatureStore(folder), options)
    assert summary.n_forwarded == len({sample.sample_id for sample in data})
    return summary


def features(data: Manifest, folder: Path, options: ExtractOptions) -> np.ndarray:
    summary = run(data, folder, options)
    ids = sorted({sample.sample_id for sample in data})
    return FeatureStore(folder).read(summary.key, ids)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        ({}, 0.99999),
        (
            {"precision": "bf16"},
            0.998,
        ),  # a CNN rounds to 8 bits after every layer: 0.9984 on an H200
        ({"precision": "fp16"}, 0.999),
        ({"compiled": True}, 0.99999),
        ({"batch_size": 0}, 0.99999),
    ],
    ids=["fp32", "bf16", "fp16", "compiled", "automatic-batch"],
)
def test_features_are_those_of_the_cpu(
    data: Manifest, tmp_path: Path, changes: dict[str, object], least: float
) -> None:
    expected = features(data, tmp_path / "cpu", replace(CUDA, device="cpu"))
    result = features(data, tmp_path / "gpu", replace(CUDA, **changes))  # type: ignore[arg-type]
    assert cosines(result, expected).min() >= least


def test_two_runs_give_the_same_bytes(data: Manifest, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(data, tmp_path / name, CUDA)
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / n).rglob("*.h5")} for n in "ab")
    assert a == b
    assert len(a) >= 2


def test_a_memory_that_is_too_small_halves_the_batch(data: Manifest, tmp_path: Path) -> None:
    import torch

    full = features(data, tmp_path / "whole", CUDA)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(max(0.3e9 / total, 1e-4))
    summary = run(data, tmp_path / "small", replace(CUDA, batch_size=4096, shard_rows=4096))
    ids = sorted({sample.sample_id for sample in data})
    result = FeatureStore(tmp_path / "small").read(summary.key, ids)
    assert cosines(result, full).min() >= 0.99999


def test_the_summary_names_the_gpu_and_counts_its_time(data: Manifest, tmp_path: Path) -> None:
    import torch

    report = run(data, tmp_path / "s", CUDA).run
    assert torch.cuda.get_device_name(0) in report.device
    assert 0 < report.stages["forward"] < report.seconds
