"""Runs of ``extract`` at one store, over processes and machines: what they plan, and how far they
are.

Each run leaves a record in the folder ``jobs``: who, since when, which shards. It holds a lock
beside the record for as long as it lives, so that a run that was killed is known as such. How far
it is follows from the shards that are there.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from featcache.cache import layout, locks
from featcache.cache.header import read_header
from featcache.cache.index import list_shards, read_index_file
from featcache.cache.keys import FeatureKey
from featcache.cache.locks import Owner
from featcache.cache.store import FeatureStore
from featcache.errors import StoreError
from featcache.files import read_file, require_below, write_atomic
from featcache.parsing import parse_json

FOLDER = "jobs"
KEEP_S = 7 * 86_400
"""Records of runs that ended are kept so long."""
MAX_RECORD_BYTES = 1 << 26

RUNNING, DONE, FAILED, DIED = "running", "done", "failed", "died"

Planned = Mapping[FeatureKey, Mapping[str, int]]
"""Shards that a run makes of each key: name to number of images."""


@dataclass(frozen=True)
class Job:
    """One run of ``extract``.

    Parameters
    ----------
    owner : Owner
    part : str
        Which part of how many, ``"2/8"``.
    state : {"running", "done", "failed", "died"}
        ``died``: its process is gone and left no word.
    ended : float or None
        Seconds since the epoch.
    reason : str
        Why it failed.
    shards : dict of str to dict
        By fingerprint of the key: name of the shard to number of images.
    """

    owner: Owner
    part: str
    state: str
    ended: float | None
    reason: str
    shards: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class KeyProgress:
    """How far the features of one key are, over all runs that have a record.

    Parameters
    ----------
    key : FeatureKey
    n_planned, n_done, n_in_work : int
        Images.
    n_rejected : int
        Of those that are done.
    """

    key: FeatureKey
    n_planned: int
    n_done: int
    n_in_work: int
    n_rejected: int


@dataclass(frozen=True)
class ShardInWork:
    """A shard that has a lock file.

    Parameters
    ----------
    key : FeatureKey
    name : str
    owner : Owner or None
        None where the file does not say it.
    alive : bool
        False: its process is gone, and the shard was not made.
    """

    key: FeatureKey
    name: str
    owner: Owner | None
    alive: bool


@dataclass(frozen=True)
class StoreStatus:
    """What goes on at a store.

    Parameters
    ----------
    keys : list of KeyProgress
    jobs : list of (Job, int, int)
        Each with its planned and its finished images, one for each key.
    in_work : list of ShardInWork
    images_per_s : float
        Over all running jobs since the first of them began; 0 where nothing was finished yet.
    seconds_left : float or None
        Until the running jobs are done; None where none runs or the rate is not known.
    """

    keys: list[KeyProgress]
    jobs: list[tuple[Job, int, int]]
    in_work: list[ShardInWork]
    images_per_s: float
    seconds_left: float | None


@contextmanager
def record_job(store: FeatureStore, planned: Planned, part: str) -> Iterator[None]:
    """Keep a record of a run while the block runs, and of how it ended.

    Parameters
    ----------
    store : FeatureStore
    planned : mapping of FeatureKey to mapping
        See :data:`Planned`.
    part : str
        Which part of how many.

    Yields
    ------
    None

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    folder = store.root / FOLDER
    require_below(store.root, folder)
    folder.mkdir(parents=True, exist_ok=True)
    _prune(folder)
    path = folder / f"{uuid.uuid4().hex}.json"
    record: dict[str, Any] = {
        "owner": asdict(Owner.this_process()),
        "part": part,
        "shards": {key.fingerprint: dict(shards) for key, shards in planned.items()},
    }
    lock = FileLock(path.with_suffix(layout.LOCK_SUFFIX), timeout=0, thread_local=False)
    with suppress(Timeout):
        lock.acquire()
    state, reason = DONE, ""
    try:
        write_atomic(path, json.dumps(record).encode("ascii"))
        yield
    except BaseException as error:
        state, reason = FAILED, str(error) or type(error).__name__
        raise
    finally:
        ended = {"ended": time.time(), "state": state, "reason": reason[:1000]}
        with suppress(StoreError):  # the first error is the one to tell
            write_atomic(path, json.dumps({**record, **ended}).encode("ascii"))
        with suppress(OSError):
            path.with_suffix(layout.LOCK_SUFFIX).unlink()
        lock.release()


def read_jobs(store: FeatureStore) -> list[Job]:
    """Return the runs that have a record, the first that began first.

    Parameters
    ----------
    store : FeatureStore

    Returns
    -------
    list of Job
        A record that is damaged is passed over: it is no part of the features.
    """
    jobs = []
    for path in (store.root / FOLDER).glob("*.json"):
        try:
            record = parse_json(read_file(path, MAX_RECORD_BYTES), max_bytes=MAX_RECORD_BYTES)
            owner = record["owner"]
            shards = {
                str(key): {str(name): int(n) for name, n in names.items()}
                for key, names in record["shards"].items()
            }
            state = str(record.get("state", ""))
            if state not in (DONE, FAILED):
                state = RUNNING if locks.held(path.with_suffix(layout.LOCK_SUFFIX)) else DIED
            ended = float(record["ended"]) if "ended" in record else None
            jobs.append(
                Job(
                    Owner(str(owner["host"]), str(owner["user"]), int(owner["pid"]),
                          float(owner["since"])),
                    str(record["part"]), state, ended, str(record.get("reason", "")), shards,
                )
            )  # fmt: skip
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return sorted(jobs, key=lambda job: (job.owner.since, job.part))


def read_status(
    store: FeatureStore, rejected: dict[tuple[str, str], int] | None = None
) -> StoreStatus:
    """Return how far all runs at a store are; nothing is written.

    Parameters
    ----------
    store : FeatureStore
    rejected : dict, optional
        What an earlier call found out about shards; it is brought up to date.

    Returns
    -------
    StoreStatus
    """
    rejected = {} if rejected is None else rejected
    jobs, now = read_jobs(store), time.time()
    keys = {key.fingerprint: key for key in store.list_keys()}
    finished = {name: {n: (size, mtime) for n, size, mtime in list_shards(store.folder(key))}
                for name, key in keys.items()}  # fmt: skip
    in_work = [item for key in keys.values() for item in _in_work(store, key)]
    held = {(item.key.fingerprint, item.name) for item in in_work if item.alive}
    union: dict[str, dict[str, int]] = {}
    for job in jobs:
        for fingerprint, shards in job.shards.items():
            union.setdefault(fingerprint, {}).update(shards)

    def is_done(fingerprint: str, shard: str) -> bool:
        return f"{shard}{layout.SHARD_SUFFIX}" in finished.get(fingerprint, {})

    progress = []
    for fingerprint, shards in union.items():
        if fingerprint not in keys:
            continue
        done = {name: n for name, n in shards.items() if is_done(fingerprint, name)}
        progress.append(
            KeyProgress(
                keys[fingerprint],
                sum(shards.values()),
                sum(done.values()),
                sum(n for name, n in shards.items()
                    if name not in done and (fingerprint, name) in held),
                _count_rejects(store, keys[fingerprint], list(done), rejected),
            )
        )  # fmt: skip
    rows = []
    for job in jobs:
        images = [(key, name, n) for key, names in job.shards.items() for name, n in names.items()]
        rows.append(
            (job, sum(n for *_, n in images), sum(n for k, name, n in images if is_done(k, name)))
        )
    running = [job for job, *_ in rows if job.state == RUNNING]
    since = min((job.owner.since for job in running), default=now)
    own = {(key, name): n for job in running for key, names in job.shards.items()
           for name, n in names.items()}  # fmt: skip
    made = sum(n for (key, name), n in own.items() if is_done(key, name)
               and finished[key][f"{name}{layout.SHARD_SUFFIX}"][1] / 1e9 >= since)  # fmt: skip
    left = sum(n for (key, name), n in own.items() if not is_done(key, name))
    rate = made / max(now - since, 1e-9)
    seconds = left / rate if running and rate else None
    progress.sort(key=lambda item: (item.key.name, item.key.fingerprint))
    return StoreStatus(progress, rows, in_work, rate, seconds)


def _in_work(store: FeatureStore, key: FeatureKey) -> Iterator[ShardInWork]:
    for path in sorted(store.folder(key).glob(f"*{layout.LOCK_SUFFIX}")):
        owner = locks.read_owner(path)
        name = path.name.removesuffix(layout.LOCK_SUFFIX)
        alive = locks.held(path)
        if alive or not store.has(key, name):
            yield ShardInWork(key, name, owner, alive)


def _count_rejects(
    store: FeatureStore, key: FeatureKey, names: list[str], known: dict[tuple[str, str], int]
) -> int:
    """Return how many images of shards were rejected; by the index where it has them."""
    missing = [name for name in names if (key.fingerprint, name) not in known]
    if missing:
        entries = read_index_file(store.folder(key) / layout.INDEX_FILE, key).entries
        indexed = {entry.name: len(entry.rejects) for entry in entries}
        for name in missing:
            file = f"{name}{layout.SHARD_SUFFIX}"
            if file in indexed:
                known[key.fingerprint, name] = indexed[file]
            else:
                with suppress(StoreError):  # 'cache verify' says what is wrong with it
                    shape = read_header(store.shard(key, name), key).extents[2].shape
                    known[key.fingerprint, name] = shape[0]
    return sum(known.get((key.fingerprint, name), 0) for name in names)


def _prune(folder: Path) -> None:
    """Remove the records of runs that ended long ago."""
    for path in folder.glob("*.json"):
        with suppress(OSError):
            old = time.time() - os.stat(path).st_mtime > KEEP_S
            if old and not locks.held(path.with_suffix(layout.LOCK_SUFFIX)):
                path.unlink()
                path.with_suffix(layout.LOCK_SUFFIX).unlink(missing_ok=True)
