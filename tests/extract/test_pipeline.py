"""The pipeline as a machine: same bytes on every path, memory that runs out, pixels shared, time
counted.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from featcache import threads
from featcache.backbones import BACKBONES, BackboneSpec
from featcache.cache import FeatureStore
from featcache.datasets import Manifest, ScanOptions, scan_into
from featcache.errors import ImageError, ResourceError, StoreError
from featcache.extract import ExtractOptions, estimate_seconds, extract, loading
from featcache.extract import device as dev
from featcache.extract.concurrency import map_ahead
from featcache.extract.forward import Forward
from featcache.extract.pipeline import Pipeline
from featcache.extract.plan import Request, make_requests
from featcache.testing import make_tree

OPTIONS = ExtractOptions(device="cpu", shard_rows=10, batch_size=4, workers=2)


def small_network() -> Any:
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 16, 16),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 5),
    )


@pytest.fixture
def spec(tmp_path: Path) -> BackboneSpec:
    weights = tmp_path / "weights"
    weights.write_bytes(b"seed 0")
    return replace(
        BACKBONES.get("efficientnet-lite0"),
        name="small",
        network="small",
        n_features=5,
        find_weights=lambda: weights,
        build=lambda path: small_network(),
    )


@pytest.fixture
def data(tmp_path: Path) -> Manifest:
    root = make_tree(tmp_path / "toy", n=6)
    return scan_into(tmp_path / "scan", root, ScanOptions()).manifest


def shards(store: FeatureStore) -> dict[str, bytes]:
    return {
        str(path.relative_to(store.root)): path.read_bytes() for path in store.root.rglob("*.h5")
    }


@pytest.fixture
def one_thread() -> Iterator[None]:
    with dev.single_threaded():
        yield


@pytest.mark.usefixtures("one_thread")
def test_the_path_of_gpus_gives_the_bytes_of_the_path_of_cpus(
    data: Manifest, spec: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = replace(OPTIONS, views=("clean", "jpeg:60"))
    n_workers, device = FeatureStore(tmp_path / "lanes"), FeatureStore(tmp_path / "device")
    extract(data, [spec], n_workers, views)
    monkeypatch.setattr(Pipeline, "on_cpu", False)
    (summary, _) = extract(data, [spec], device, replace(views, workers=3))
    assert shards(device) == shards(n_workers)
    assert len(shards(n_workers)) == 10
    assert summary.n_forwarded == 48
    assert summary.run.n_passes == 96


def test_ten_views_decode_each_file_once(
    data: Manifest, spec: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    decode = loading.decode
    monkeypatch.setattr(loading, "decode", lambda data: calls.append(1) or decode(data))
    views = ("clean", *(f"jpeg:{quality}" for quality in range(50, 95, 5)))
    summaries = extract(data, [spec], FeatureStore(tmp_path / "s"), replace(OPTIONS, views=views))
    assert len(summaries) == len(views) == 10
    assert {summary.n_forwarded for summary in summaries} == {48}
    assert len(calls) == summaries[0].run.n_images == 48


def test_out_of_memory_halves_the_batch_and_ends_in_the_bytes_of_the_smaller_one(
    data: Manifest, spec: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    expected = FeatureStore(tmp_path / "two")
    extract(data, [spec], expected, replace(OPTIONS, batch_size=2))
    call, sizes = Forward.__call__, []

    def small_memory(self: Forward, pixels: torch.Tensor, *more: Any) -> Any:
        sizes.append(len(pixels))
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return call(self, pixels, *more)

    monkeypatch.setattr(Forward, "__call__", small_memory)
    store = FeatureStore(tmp_path / "halved")
    (summary,) = extract(data, [spec], store, replace(OPTIONS, batch_size=8))
    assert max(sizes) == 8
    assert summary.run.batch_size == 2
    assert shards(store) == shards(expected)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("on_cpu", [True, False])
def test_nothing_is_computed_beyond_a_shard_that_cannot_be_written(
    data: Manifest,
    spec: BackboneSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_cpu: bool,
) -> None:
    call, sizes = Forward.__call__, []

    def counted(self: Forward, pixels: Any, *more: Any) -> Any:
        sizes.append(len(pixels))
        return call(self, pixels, *more)

    def full(*arguments: Any) -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(Pipeline, "on_cpu", on_cpu)
    monkeypatch.setattr(Forward, "__call__", counted)
    monkeypatch.setattr(Pipeline, "_check_once", lambda self: None)
    store = FeatureStore(tmp_path / "s")
    monkeypatch.setattr(store, "write", full)
    with pytest.raises(StoreError, match="full"):
        extract(data, [spec], store, replace(OPTIONS, workers=2))
    assert sum(sizes) == OPTIONS.shard_rows


def test_a_memory_too_small_for_one_image_is_said(
    data: Manifest, spec: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(self: Forward, *arguments: Any) -> Any:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")

    monkeypatch.setattr(Forward, "__call__", no_memory)
    with pytest.raises(ResourceError, match=r"too small for one image.*--precision bf16"):
        extract(data, [spec], FeatureStore(tmp_path / "s"), OPTIONS)


def test_another_error_is_not_taken_for_lack_of_memory(
    data: Manifest, spec: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Forward, *arguments: Any) -> Any:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(Forward, "__call__", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        extract(data, [spec], FeatureStore(tmp_path / "s"), OPTIONS)


def test_a_forward_pass_is_sized_without_a_device() -> None:
    """On the meta device nothing is computed; the bytes are those of the shapes."""
    import torch

    with torch.device("meta"):
        network = small_network()
    with torch.inference_mode():
        image = torch.zeros((1, 3, 64, 64), device="meta")
        per_image = dev.bytes_of_forward(lambda: network(image))
        four = torch.cat([image] * 4)
        per_four = dev.bytes_of_forward(lambda: network(four))
    assert 4 * 3 * 64 * 64 <= per_image <= 16 * 3 * 64 * 64
    assert per_image < per_four <= 4 * per_image


def test_the_batch_fits_the_memory() -> None:
    gib = 2**30
    assert dev.fit_batch(256, gib // 64, 1, 80 * gib) == 256
    assert dev.fit_batch(256, gib // 64, 1, 4 * gib) == 128
    assert dev.fit_batch(16, gib // 64, 64, 4 * gib) == 2
    assert dev.fit_batch(16, gib, 64, gib) == 1


def test_the_free_memory_respects_the_container(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert threads._left_in_container(tmp_path) == 600
    (tmp_path / "memory.stat").write_text("anon 50\ninactive_file 300\n")
    assert threads._left_in_container(tmp_path) == 900
    (tmp_path / "memory.max").write_text("max\n")
    assert threads._left_in_container(tmp_path) > 2**60


def test_weights_rounded_once_give_the_bits_of_autocast(spec: BackboneSpec) -> None:
    import torch

    (request,) = make_requests([spec], replace(OPTIONS, precision="bf16"))
    forward = Forward([request], torch.device("cpu"))
    assert next(forward.model.parameters()).dtype == torch.bfloat16
    pixels = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    (features,), _ = forward(pixels, request.preprocessing).result()
    plain = small_network().eval().to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = plain(forward._normalise(pixels, request.preprocessing))
    assert (torch.from_numpy(features) == expected.float()).all()


def test_the_bytes_do_not_depend_on_the_number_of_lanes(data: Manifest, tmp_path: Path) -> None:
    lite = BACKBONES.get("efficientnet-lite0")
    stores = [FeatureStore(tmp_path / str(workers)) for workers in (1, 3)]
    subset = Manifest(data.samples[:12])
    for store, workers in zip(stores, (1, 3), strict=True):
        extract(subset, [lite], store, replace(OPTIONS, workers=workers))
    assert shards(stores[0]) == shards(stores[1])


def test_an_image_that_a_view_refuses_is_rejected_for_that_view_alone(
    data: Manifest, spec: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = min(sample.sample_id for sample in data)
    _, jpeg = (request.view for request in make_requests(
        [spec], replace(OPTIONS, views=("clean", "jpeg:60"))))  # fmt: skip
    apply = type(jpeg).__call__

    def refuse(self: Any, image: Any, sample_id: str) -> Any:
        if self == jpeg and sample_id == first:
            raise ImageError("too wide for this codec")
        return apply(self, image, sample_id)

    monkeypatch.setattr(type(jpeg), "__call__", refuse)
    store = FeatureStore(tmp_path / "s")
    plain, viewed = extract(data, [spec], store, replace(OPTIONS, views=("clean", "jpeg:60")))
    assert store.rejects(viewed.key) == {first: "too wide for this codec"}
    assert store.rejects(plain.key) == {}
    assert (plain.n_forwarded, viewed.n_forwarded) == (48, 47)


def test_a_file_that_cannot_be_read_is_tried_again_by_the_next_run(
    data: Manifest, spec: BackboneSpec, tmp_path: Path
) -> None:
    path = Path(data.samples[5].path)
    path.rename(path.with_suffix(".away"))
    store = FeatureStore(tmp_path / "s")
    (summary,) = extract(data, [spec], store, OPTIONS)
    assert [reject.reason for reject in summary.rejects] == [
        "cannot be read: No such file or directory"
    ]
    path.with_suffix(".away").rename(path)
    (summary,) = extract(data, [spec], store, OPTIONS)
    assert (summary.n_forwarded, summary.rejects) == (1, [])


def test_work_ahead_is_bounded_and_in_order() -> None:
    taken: list[int] = []
    started = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for i in range(20):
            taken.append(i)
            yield i

    def work(i: int) -> int:
        time.sleep(0.001 * (i % 3))
        started.release()
        return i

    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(pool, work, items(), ahead=3)
        assert next(results) == 0
        assert len(taken) <= 4
        assert list(results) == list(range(1, 20))


def test_a_consumer_that_stops_cancels_what_has_not_begun() -> None:
    done: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        results = map_ahead(pool, lambda i: done.append(i) or time.sleep(0.01), range(100), 50)
        next(results)
        results.close()  # type: ignore[attr-defined]
    assert len(done) < 5


def test_time_is_counted_by_stage_and_the_slow_one_is_named(
    data: Manifest, spec: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = loading.decode
    monkeypatch.setattr(loading, "decode", lambda data: time.sleep(0.01) or decode(data))
    (summary,) = extract(data, [spec], FeatureStore(tmp_path / "s"), OPTIONS)
    run = summary.run
    assert run.stages["decode"] >= 0.48
    assert run.binds == "decode"
    assert "decode binds" in run.sentence()
    assert run.seconds >= 0.24
    assert 0 < run.start_s < run.seconds
    assert run.images_per_s < run.images_per_s_at_work < 2 / 0.01
    n_workers = sum(seconds for stage, seconds in run.stages.items() if stage != "write")
    assert n_workers == pytest.approx(2 * run.seconds, rel=0.2)


def test_a_gpu_that_is_not_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(dev, "has_nvidia_device", lambda: True)
    assert "cannot use it" in dev.idle_gpu_warning(torch.device("cpu"))
    monkeypatch.setattr(dev, "has_nvidia_device", lambda: False)
    assert dev.idle_gpu_warning(torch.device("cpu")) == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "--device cuda" in dev.idle_gpu_warning(torch.device("cpu"))
    monkeypatch.setattr(torch.version, "cuda", None)
    assert dev.idle_gpu_warning(torch.device("cpu")) == ""


def test_an_nvidia_device_is_seen_without_its_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    (tmp_path / "nvidiactl").touch()
    assert not dev.has_nvidia_device(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert dev.has_nvidia_device(tmp_path)


def test_a_compiled_network_always_sees_full_batches(
    spec: BackboneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    seen: list[int] = []

    class Compiled:
        """As torch's own: asking for its length, and so for its truth, is an error."""

        def __init__(self, model: Any) -> None:
            self.model = model

        def __len__(self) -> int:
            raise TypeError("the model does not support len()")

        def __call__(self, images: Any) -> Any:
            seen.append(len(images))
            return self.model(images)

    def compile_(model: Any, **options: Any) -> Any:
        return Compiled(model)

    monkeypatch.setattr(torch, "compile", compile_)
    (request,) = make_requests([spec], OPTIONS)
    forward = Forward([request], torch.device("cpu"), compiled=True)
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    (complete_run,), _ = forward(pixels, request.preprocessing).result()
    (part,), _ = forward(pixels[:3], request.preprocessing).result()
    assert seen == [4, 4]
    assert (part == complete_run[:3]).all()


def test_specs_of_one_stream_share_pixels(spec: BackboneSpec) -> None:
    def streams(**changes: Any) -> set[str]:
        requests: list[Request] = make_requests([spec, replace(spec, name="other", **changes)],
                                                OPTIONS)  # fmt: skip
        return {request.stream for request in requests}

    assert len(streams(native=replace(spec.native, mean=(0.1, 0.2, 0.3)))) == 1
    assert len(streams(native=replace(spec.native, size=160), crop=160)) == 2


def test_the_forecast_of_time_keeps_nothing_and_is_near(
    data: Manifest, spec: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = loading.decode
    monkeypatch.setattr(loading, "decode", lambda data: time.sleep(0.02) or decode(data))
    store = FeatureStore(tmp_path / "s")
    forecast = estimate_seconds(data, [spec], store, OPTIONS)
    assert not store.root.exists()
    (summary,) = extract(data, [spec], store, OPTIONS)
    assert 0.2 * summary.seconds < forecast < 5 * summary.seconds
    assert estimate_seconds(data, [spec], store, OPTIONS) == 0.0


CHURN = """
import resource, sys
from featcache.extract import device
if sys.argv[1] == "keep":
    assert device.keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for i in range(20):
    bytes([i]) * (64 * 2**20)
print(-before + resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_memory_that_a_batch_frees_is_kept_for_the_next() -> None:
    damages = {}
    for how in ("keep", "give back"):
        command = [sys.executable, "-P", "-c", CHURN, how]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        damages[how] = int(done.stdout)
    assert damages["keep"] < damages["give back"] / 3
