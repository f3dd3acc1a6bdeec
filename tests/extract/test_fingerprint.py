"""A network that changed behind its key is noticed before its features are mixed with the old
ones.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featcache.backbones import BackboneSpec, resolve
from featcache.cache import FeatureStore
from featcache.cache.fingerprint import (
    NetworkFingerprint,
    check_fingerprint,
    read_fingerprint,
    relative_change,
)
from featcache.datasets import ScanOptions, scan_into
from featcache.errors import FeatcacheWarning
from featcache.extract import ExtractOptions, extract
from featcache.extract.fingerprint import built_in_images
from featcache.files import digest_bytes
from featcache.testing import make_tree

FEATURES = np.arange(8, dtype=np.float32).reshape(2, 4)
DIGESTS = ["723f15cb", "ab3c7a36", "5893357d", "58377e06"]


def test_the_first_is_kept_and_the_same_is_silent(tmp_path: Path) -> None:
    now = NetworkFingerprint(FEATURES, {"torch": "1"})
    assert check_fingerprint(tmp_path, "toy", "fp32", now) == 0
    kept = read_fingerprint(tmp_path)
    assert kept is not None
    np.testing.assert_array_equal(kept.features, FEATURES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        change = check_fingerprint(
            tmp_path, "toy", "fp32", NetworkFingerprint(FEATURES * 1.0001, {})
        )
    assert 0 < change < 1e-3


def test_a_move_names_the_versions_that_changed(tmp_path: Path) -> None:
    check_fingerprint(
        tmp_path, "toy", "fp32", NetworkFingerprint(FEATURES, {"torch": "1", "pillow": "9"})
    )
    with pytest.warns(FeatcacheWarning, match=r"moved by .*torch 1 -> 2") as caught:
        check_fingerprint(
            tmp_path,
            "toy",
            "fp32",
            NetworkFingerprint(FEATURES * 1.01, {"torch": "2", "pillow": "9"}),
        )
    assert "pillow" not in str(caught[0].message)
    assert relative_change(FEATURES, FEATURES[:1]) == float("inf")


@pytest.mark.parametrize("text", ["", "[]", '{"shape": [9], "features": "AA==", "versions": {}}'])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "behaviour.json").write_text(text)
    assert read_fingerprint(tmp_path) is None


def test_the_built_in_images_never_change() -> None:
    assert [digest_bytes(image.tobytes())[:8] for image in built_in_images()] == DIGESTS


def test_extract_tells_before_it_mixes(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"the same")

    class Net(torch.nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale

        def forward(self, images: Any) -> Any:
            return images.mean(dim=(2, 3)) * self.scale

    def spec(scale: float) -> BackboneSpec:
        return replace(
            resolve("efficientnet-lite0"),
            name="net",
            network="net",
            n_features=3,
            find_weights=lambda: weights,
            build=lambda path: Net(scale),
        )

    store = FeatureStore(tmp_path / "store")
    options = ExtractOptions(device="cpu")
    for name, scale in (("one", 1.0), ("two", 1.0), ("three", 1.1)):
        root = make_tree(tmp_path / name, n=1, size=40 + len(name))
        manifest = scan_into(tmp_path / "scan", root, ScanOptions()).manifest
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            (summary,) = extract(manifest, [spec(scale)], store, options)
        listed = [w for w in caught if issubclass(w.category, FeatcacheWarning)]
        assert len(listed) == (name == "three")
    record = json.loads((store.folder(summary.key) / "behaviour.json").read_text())
    assert record["shape"] == [4, 3]
