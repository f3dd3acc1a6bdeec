"""No two processes make the same shard, and no claim outlives its owner."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from featcache.cache import FeatureStore, locks
from featcache.cache.testing import make_key, make_rows
from featcache.errors import StoreError
from featcache.extract.concurrency import wait_for_others, without_items
from featcache.extract.plan import ShardJob, WorkItem

HOLDER = """
import sys, time
from pathlib import Path
from featcache.cache import locks
path = Path(sys.argv[1])
with locks.acquire(path, path.with_suffix(".h5")) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A process that holds a claim of the store in ``tmp_path``."""
    store = FeatureStore(tmp_path)
    store.prepare(make_key())
    path = store.folder(make_key()) / "s.claim"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "True\n"
    yield path, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_one_holds_it_and_signs_with_host_process_and_time(tmp_path: Path) -> None:
    store, key = FeatureStore(tmp_path), make_key()
    with store.lock(key, "s") as own:
        assert own
        owner = locks.read_owner(store.folder(key) / "s.claim")
        assert owner
        assert (owner.pid, owner.since <= time.time()) == (os.getpid(), True)
        with store.lock(key, "s") as second:
            assert not second
        with store.lock(key, "other") as another:
            assert another
        store.write(key, "s", make_rows(2), {})
    with store.lock(key, "s") as again:
        assert not again  # it is made
    assert not list(tmp_path.rglob("*.claim"))


def test_a_killed_owner_leaves_no_lock(holder: tuple[Path, subprocess.Popen[str]]) -> None:
    path, process = holder
    store, key = FeatureStore(path.parents[2]), make_key()
    with store.lock(key, "s") as own:
        assert not own
    owner = locks.read_owner(path)
    assert owner
    assert owner.pid == process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert path.exists()  # the file stays, the lock does not
    with store.lock(key, "s") as own:
        assert own
    assert not path.exists()


def test_waiting_says_for_whom(
    holder: tuple[Path, subprocess.Popen[str]], caplog: pytest.LogCaptureFixture
) -> None:
    path, process = holder
    timer = threading.Timer(0.5, process.kill)
    timer.start()
    with caplog.at_level(logging.INFO, "featcache"):
        FeatureStore(path.parents[2]).wait(make_key(), "s")
    timer.join()
    (message,) = caplog.messages
    assert f"a shard of 'toy' (s): process {process.pid} of " in message


def test_a_claim_in_a_store_that_vanished_is_a_store_error(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s")
    with store.lock(make_key(), "s"):
        pass
    shutil.rmtree(tmp_path / "s")
    with pytest.raises(StoreError, match="has vanished"), store.lock(make_key(), "s"):
        pass


def test_a_garbled_signature_names_nobody(tmp_path: Path) -> None:
    for text in ("", "[" * 10_000, json.dumps({"host": 1}), '{"pid": NaN}'):
        (tmp_path / "c").write_text(text)
        assert locks.read_owner(tmp_path / "c") is None


def test_what_a_dead_process_left_is_given_back(
    holder: tuple[Path, subprocess.Popen[str]],
) -> None:
    path, process = holder
    store, key = FeatureStore(path.parents[2]), make_key()
    store.write(key, "made", make_rows(1), {})
    jobs = [
        WorkItem(ShardJob(name, (("id", "path"),), 0), ("k",)) for name in ("s", "made", "free")
    ]
    timer = threading.Timer(0.5, process.kill)
    timer.start()
    start = time.monotonic()
    left = wait_for_others([*jobs, without_items(jobs[2], {"k"})], {"k": key}, store)
    timer.join()
    assert [item.job.name for item in left] == ["s", "free"]
    assert time.monotonic() - start > 0.4
