"""One pass over the images for everything that is asked for, with small networks that need no
weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.backbones import BACKBONES, BackboneSpec, resolve
from featcache.cache import FeatureStore
from featcache.datasets import Manifest, ScanOptions, scan_into
from featcache.errors import SettingsError
from featcache.extract import ExtractOptions, extract, forecast, loading
from featcache.testing import make_tree


def tiny(name: str, folder: Path, n_features: int = 6) -> BackboneSpec:
    """Return a backbone whose weights are a small file."""
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / f"{name}.safetensors"
    seed = sum(name.encode())
    save_file(
        {"weight": torch.randn(n_features, 3, generator=torch.Generator().manual_seed(seed))}, path
    )

    class Net(torch.nn.Module):
        def __init__(self, weight: torch.Tensor) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(weight)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tanh(images.mean(dim=(2, 3)) @ self.weight.T)

    return replace(
        BACKBONES.get("efficientnet-lite0"),
        name=name,
        network=name,
        architecture=f"test:{name}",
        n_features=n_features,
        find_weights=lambda: path,
        build=lambda path: Net(load_file(path)["weight"]),
    )


@pytest.fixture
def specs(tmp_path: Path) -> list[BackboneSpec]:
    return [tiny("one", tmp_path), tiny("two", tmp_path, 4), tiny("three", tmp_path, 5)]


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Manifest]:
    root = make_tree(tmp_path / "toy", n=6)
    return scan_into(tmp_path / "scan", root, ScanOptions()).manifest


OPTIONS = ExtractOptions(device="cpu", shard_rows=10, batch_size=4, workers=2)


def shards(store: FeatureStore) -> dict[str, bytes]:
    return {
        str(path.relative_to(store.root)): path.read_bytes() for path in store.root.rglob("*.h5")
    }


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    counts: Counter[int] = Counter()
    decode = loading.decode

    def counted(data: bytes) -> Any:
        counts[hash(data)] += 1
        return decode(data)

    monkeypatch.setattr(loading, "decode", counted)
    return counts


def test_three_backbones_in_one_pass_decode_each_file_once(
    data: Manifest, specs: list[BackboneSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = count_decodes(monkeypatch)
    store = FeatureStore(tmp_path / "store")
    summaries = extract(data, specs, store, OPTIONS)
    assert set(counts.values()) == {1}
    assert len(counts) == 48
    assert [summary.backbone for summary in summaries] == ["one", "two", "three"]
    assert {summary.n_forwarded for summary in summaries} == {48}
    assert [store.summary(summary.key).n_features for summary in summaries] == [6, 4, 5]


def test_the_bytes_do_not_depend_on_what_runs_beside(
    data: Manifest, specs: list[BackboneSpec], tmp_path: Path
) -> None:
    together, apart = FeatureStore(tmp_path / "together"), FeatureStore(tmp_path / "apart")
    extract(data, specs, together, OPTIONS)
    for spec in reversed(specs):
        extract(data, [spec], apart, replace(OPTIONS, workers=1))
    assert shards(together) == shards(apart)
    assert len(shards(apart)) == 15


def test_a_pass_killed_between_two_keys_of_an_item_is_resumed_to_the_same_bytes(
    data: Manifest, specs: list[BackboneSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, torn = FeatureStore(tmp_path / "whole"), FeatureStore(tmp_path / "torn")
    extract(data, specs, full, OPTIONS)
    write, calls = FeatureStore.write, []

    def write_five(self: FeatureStore, *arguments: Any) -> Path:
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(arguments)
        return write(self, *arguments)

    monkeypatch.setattr(FeatureStore, "write", write_five)
    with pytest.raises(KeyboardInterrupt):
        extract(data, specs, torn, OPTIONS)
    monkeypatch.setattr(FeatureStore, "write", write)
    assert len(shards(torn)) == 5
    extract(data, specs, FeatureStore(torn.root), OPTIONS)
    assert shards(torn) == shards(full)


def test_parts_done_one_after_the_other_end_in_the_bytes_of_one_run(
    data: Manifest, specs: list[BackboneSpec], tmp_path: Path
) -> None:
    full, parts = tmp_path / "whole", tmp_path / "parts"
    extract(data, specs[:2], FeatureStore(full), OPTIONS)
    for i in (2, 3, 1):
        extract(data, specs[:2], FeatureStore(parts), replace(OPTIONS, part=(i, 3)))
    assert shards(FeatureStore(parts)) == shards(FeatureStore(full))


def test_a_row_that_overflows_is_mended_without_touching_the_others(tmp_path: Path) -> None:
    import torch

    from featcache.extract.forward import Forward
    from featcache.extract.plan import make_requests

    class Hot(torch.nn.Module):
        """Overflows fp16 for bright images only; says in its feature which precision it ran in."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            light = images.mean(dim=(1, 2, 3))
            narrow = torch.is_autocast_enabled("cpu")
            value = torch.where(light > 0, torch.inf, 2.0) if narrow else torch.full_like(light, 7)
            return value[:, None]

    spec = replace(tiny("hot", tmp_path, 1), build=lambda path: Hot())
    (request,) = make_requests([spec], replace(OPTIONS, precision="fp16"))
    forward = Forward([request], torch.device("cpu"))
    pixels = np.zeros((3, 8, 8, 3), np.uint8)
    pixels[1] = 255
    (features,), _ = forward(torch.from_numpy(pixels), request.preprocessing).result()
    np.testing.assert_array_equal(features, [[2], [7], [2]])


def test_float16_is_the_rounded_feature_in_half_the_bytes(
    specs: list[BackboneSpec], data: Manifest, tmp_path: Path
) -> None:
    wide, half = FeatureStore(tmp_path / "wide"), FeatureStore(tmp_path / "half")
    options = replace(OPTIONS, dtype="float16")
    (a,), (b,) = extract(data, specs[:1], wide, OPTIONS), extract(data, specs[:1], half, options)
    assert a.key.differences(b.key) == [("dtype", "float32", "float16")]
    ids = sorted(wide.samples(a.key))
    assert ids == sorted(half.samples(b.key))
    expected = wide.read(a.key, ids).astype(np.float16)
    np.testing.assert_array_equal(half.read(b.key, ids), expected.astype(np.float32))
    assert half.read(b.key, ids, np.float16).dtype == np.float16
    entries = [(e.header.features, len(e.ids)) for e in half.index(b.key).entries]
    assert all(e.dtype == "<f2" and e.n_bytes == 2 * n * 6 for e, n in entries)
    forecasts = [forecast(data, specs[:1], FeatureStore(tmp_path / "new"), o)
                 for o in (OPTIONS, options)]  # fmt: skip
    bytes_of = [row["n_bytes"] for (row,) in forecasts]
    n = forecasts[0][0]["n_samples"]
    assert bytes_of == [n * (6 * 4 + 32), n * (6 * 2 + 32)]


def test_float16_resumes_to_the_same_bytes(
    specs: list[BackboneSpec], data: Manifest, tmp_path: Path
) -> None:
    options = replace(OPTIONS, dtype="float16")
    store = FeatureStore(tmp_path / "a")
    extract(data, specs[:1], store, options)
    complete = shards(store)
    for path in list(store.root.rglob("*.h5"))[::2]:
        path.unlink()
    extract(data, specs[:1], FeatureStore(store.root), options)
    assert shards(store) == complete


def test_values_beyond_float16_are_rejected_rows_and_said(data: Manifest, tmp_path: Path) -> None:
    def loud(scale: float) -> BackboneSpec:
        def build(path: Path) -> Any:
            import torch

            class Loud(torch.nn.Module):
                def forward(self, images: torch.Tensor) -> torch.Tensor:
                    return images.mean(dim=(2, 3)).repeat(1, 2) * scale

            return Loud()

        return replace(tiny("one", tmp_path), build=build, architecture=f"test:loud{scale}")

    store = FeatureStore(tmp_path / "store")
    (quiet,) = extract(data, [loud(1.0)], store, OPTIONS)
    largest = np.abs(store.read(quiet.key, sorted(store.samples(quiet.key)))).max(axis=1)
    spec = loud(65_504 / float(np.median(largest)))  # too large for half of the images
    (wide,) = extract(data, [spec], store, OPTIONS)
    assert not wide.rejects
    (half,) = extract(data, [spec], store, replace(OPTIONS, dtype="float16"))
    ids = sorted(store.samples(wide.key))
    too_large = np.abs(store.read(wide.key, ids)).max(axis=1) >= 65_520  # rounds to infinity
    assert 0 < too_large.sum() < len(ids)
    expected = {name for name, bad in zip(ids, too_large, strict=True) if bad}
    assert set(store.rejects(half.key)) == expected
    assert all("65,504" in why and "--dtype float32" in why
               for why in store.rejects(half.key).values())  # fmt: skip
    assert {reject.sample_id for reject in half.rejects} == expected


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(SettingsError, match="float32, float16"):
        ExtractOptions(dtype="int8")


def test_the_forecast_counts_a_shared_pass_once(data: Manifest, tmp_path: Path) -> None:
    names = ("efficientnet-lite0", "efficientnet-lite0@layer5", "efficientnet-lite0@layer3")
    specs = [resolve(name, random_init=1) for name in names]
    store = FeatureStore(tmp_path / "store")
    rows = forecast(data, specs, store, replace(OPTIONS, views=("clean", "jpeg:50")))
    n = rows[0]["n_missing"]
    assert [row["n_missing"] for row in rows] == [n] * 6
    assert [row["n_passes"] for row in rows] == [n, n, 0, 0, 0, 0]  # one for each view
    assert not store.root.exists()
