"""What runs at a store: planned, done, in work, rejected; a killed run is known as such."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from featcache.cache import FeatureStore, Rows, maintenance
from featcache.cache.jobs import DIED, DONE, FAILED, RUNNING, read_jobs, read_status, record_job
from featcache.cache.testing import make_key, make_rows

KEY = make_key()
PLANNED = {KEY: {"one": 3, "two": 4, "three": 5}}


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(tmp_path)
    store.prepare(KEY)
    return store


def test_progress_follows_from_the_shards(store: FeatureStore) -> None:
    assert read_status(store).jobs == []
    with record_job(store, PLANNED, "1/1"):
        rows = make_rows(3)
        rejected = Rows(rows.ids[:2], rows.features[:2], {rows.ids[2]: "broken"})
        with store.lock(KEY, "one") as acquired:
            assert acquired
            store.write(KEY, "one", rejected, {})
        with store.lock(KEY, "two"):
            status = read_status(store)
        (progress,) = status.keys
        assert (progress.n_planned, progress.n_done) == (12, 3)
        assert (progress.n_in_work, progress.n_rejected) == (4, 1)
        ((job, n_planned, n_done),) = status.jobs
        assert (job.state, n_planned, n_done, job.owner.pid) == (RUNNING, 12, 3, os.getpid())
        (shard,) = status.in_work
        assert shard.alive
        assert shard.owner is not None
        assert shard.owner.pid == os.getpid()
        assert status.images_per_s > 0
        assert status.seconds_left == pytest.approx(9 / status.images_per_s)
    (job,) = read_jobs(store)
    assert job.state == DONE
    assert job.ended is not None
    status = read_status(store)
    assert status.seconds_left is None


def test_a_run_that_fails_leaves_its_reason(store: FeatureStore) -> None:
    with pytest.raises(ValueError, match="no disk"), record_job(store, PLANNED, "2/4"):
        raise ValueError("no disk")
    (job,) = read_jobs(store)
    assert (job.state, job.reason, job.part) == (FAILED, "no disk", "2/4")


def test_a_killed_run_is_seen_as_dead(store: FeatureStore) -> None:
    code = f"""
import sys, time
from pathlib import Path
from featcache.cache import FeatureStore
from featcache.cache.jobs import record_job
from featcache.cache.testing import make_key
store, key = FeatureStore(Path({str(store.root)!r})), make_key()
with record_job(store, {{key: {{"one": 3}}}}, "1/1"), store.lock(key, "one"):
    print("ready", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        status = read_status(store)
        assert [job.state for job, *_ in status.jobs] == [RUNNING]
        assert [shard.alive for shard in status.in_work] == [True]
        process.send_signal(signal.SIGKILL)
        process.wait()
    status = read_status(store)
    assert [(job.state, n, done) for job, n, done in status.jobs] == [(DIED, 3, 0)]
    (shard,) = status.in_work
    assert (shard.name, shard.alive) == ("one", False)
    assert shard.owner is not None
    assert shard.owner.pid == process.pid
    assert status.seconds_left is None
    removed = {item.path.suffix for item in maintenance.find_unused(store)}
    assert removed == {".json", ".claim"}
    maintenance.remove(maintenance.find_unused(store))
    assert read_jobs(store) == []
    assert read_status(store).in_work == []


def test_damaged_records_are_passed_over_and_old_ones_removed(store: FeatureStore) -> None:
    with record_job(store, PLANNED, "1/1"):
        pass
    (record,) = (store.root / "jobs").glob("*.json")
    (store.root / "jobs" / "bad.json").write_text('{"owner": 3}')
    assert len(read_jobs(store)) == 1
    old = time.time() - 8 * 86_400
    os.utime(record, (old, old))
    with record_job(store, {KEY: {}}, "1/1"):
        assert not record.exists()
    assert np.all([job.state == DONE for job in read_jobs(store)])
