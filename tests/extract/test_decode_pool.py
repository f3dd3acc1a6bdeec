"""Worker processes that decode: the pixels of threads, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.backbones import BACKBONES
from featcache.datasets import Manifest, ScanOptions, scan_into
from featcache.errors import ResourceError
from featcache.extract import ExtractOptions
from featcache.extract import decode_pool as module
from featcache.extract.decode_pool import DecodePool, can_fork
from featcache.extract.loading import load
from featcache.extract.plan import Request, make_requests
from featcache.extract.profiling import StageTimes
from featcache.files import digest_bytes
from featcache.testing import make_tree

pytestmark = pytest.mark.skipif(not can_fork(), reason="workers are forked on Linux only")
OPTIONS = ExtractOptions(device="cpu", views=("clean", "jpeg:60"))


@pytest.fixture
def requests() -> list[Request]:
    return make_requests([BACKBONES.get("efficientnet-lite0")], OPTIONS)


@pytest.fixture
def data(tmp_path: Path) -> Manifest:
    root = make_tree(tmp_path / "toy", n=1)
    return scan_into(tmp_path / "scan", root, ScanOptions()).manifest


@pytest.fixture
def pool(requests: list[Request]) -> Iterator[DecodePool]:
    with DecodePool(requests, 1) as pool:
        yield pool


def samples_of(data: Manifest) -> list[tuple[str, str]]:
    return [(sample.sample_id, sample.path) for sample in data][:4]


def test_samples_are_those_of_threads_whatever_they_are(
    data: Manifest, requests: list[Request], pool: DecodePool, tmp_path: Path
) -> None:
    good = samples_of(data)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no image")
    archive = tmp_path / "a.zip"
    content = Path(good[0][1]).read_bytes()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("in/side.png", content)
    samples = [
        *good,
        (digest_bytes(broken.read_bytes()), str(broken)),
        ("0" * 32, good[1][1]),
        ("0" * 32, str(tmp_path / "missing.png")),
        (good[0][0], f"{archive}::in/side.png"),
    ]
    assert len(samples) <= module.CHUNK
    times = StageTimes()
    loaded = pool(samples, requests, times)
    expected = [load(sample, requests, StageTimes()) for sample in samples]
    for result, reference in zip(loaded, expected, strict=True):
        assert replace(result, pixels={}) == replace(reference, pixels={})
        assert list(result.pixels) == list(reference.pixels)
        for stream, pixels in reference.pixels.items():
            np.testing.assert_array_equal(result.pixels[stream], pixels)
    assert [bool(r.refused) for r in loaded] == [False] * 4 + [True, False, False, False]
    assert [bool(r.unread) for r in loaded] == [False] * 5 + [True, True, False]
    assert len(loaded[-1].pixels) == 2
    assert times.seconds()["decode"] > 0


def test_pixels_outlive_the_next_task(
    data: Manifest, requests: list[Request], pool: DecodePool
) -> None:
    one, two = ([sample] for sample in samples_of(data)[:2])
    (first,) = pool(one, requests, StageTimes())
    before = {stream: pixels.copy() for stream, pixels in first.pixels.items()}
    pool(two, requests, StageTimes())
    for stream, pixels in before.items():
        np.testing.assert_array_equal(first.pixels[stream], pixels)


def test_a_killed_worker_is_an_error_that_names_the_remedy(
    data: Manifest, requests: list[Request], pool: DecodePool
) -> None:
    (worker,) = pool._workers
    assert worker._process.pid is not None
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(ResourceError, match=r"code -9.*--workers"):
        pool(samples_of(data), requests, StageTimes())


@pytest.mark.parametrize(
    ("error", "expected"), [(MemoryError("no"), MemoryError), (KeyError("x"), RuntimeError)]
)
def test_errors_of_a_worker_arrive_with_its_traceback(
    data: Manifest,
    requests: list[Request],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    expected: type[Exception],
) -> None:
    def fail(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(module, "load", fail)
    with DecodePool(requests, 1) as pool, pytest.raises(expected, match="in fail"):
        pool(samples_of(data), requests, StageTimes())


def test_workers_end_with_the_process_that_was_killed() -> None:
    code = (
        "import time\n"
        "from featcache.backbones import BACKBONES\n"
        "from featcache.extract import ExtractOptions\n"
        "from featcache.extract.decode_pool import DecodePool\n"
        "from featcache.extract.plan import make_requests\n"
        "requests = make_requests([BACKBONES.get('efficientnet-lite0')], ExtractOptions())\n"
        "pool = DecodePool(requests, 2)\n"
        "print(*(w._process.pid for w in pool._workers), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        workers = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() and running(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
