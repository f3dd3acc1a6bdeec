"""Looking after a store: check every byte, drop what is bad, find what nobody needs."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache import layout, locks
from featcache.cache.header import Header, damaged, read_header, wrong_index
from featcache.cache.index import read_index_file
from featcache.cache.jobs import FOLDER as JOBS
from featcache.cache.keys import FeatureKey, read_key
from featcache.cache.shard import decode_ids, read_payload
from featcache.cache.store import FeatureStore
from featcache.errors import ShardError, StoreError
from featcache.files import (
    TEMPORARY_PREFIX,
    digest_bytes,
    open_file,
    require_below,
    store_error,
    temporary_is_dead,
)
from featcache.progress import track

DAY_S = 86_400


@dataclass(frozen=True)
class DamagedFile:
    """Something in a store that is not as it should be.

    Parameters
    ----------
    path : Path
    why : str
    repairable : bool
        Whether dropping it fixes the store; else the disk or the version is at fault.
    """

    path: Path
    why: str
    repairable: bool


@dataclass
class VerifyReport:
    """What :func:`verify` found.

    Parameters
    ----------
    n_shards, n_bytes : int
        Checked.
    damaged : list of Fault
    dropped : list of Path
        Bad shards that were removed.
    """

    n_shards: int = 0
    n_bytes: int = 0
    damaged: list[DamagedFile] = field(default_factory=list)
    dropped: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class UnusedFile:
    """Something that a store does not need."""

    path: Path
    n_bytes: int
    why: str


def verify(
    store: FeatureStore, *, fraction: float = 1.0, seed: int = 0, repair: bool = False
) -> VerifyReport:
    """Check every byte of the shards, without the index.

    Parameters
    ----------
    store : FeatureStore
    fraction : float in (0, 1]
        Share of the shards that is checked, drawn at random.
    seed : int
        Of the draw.
    repair : bool
        Move damaged files into the folder ``quarantine``, so that extract makes exactly these
        again. Files that could not be read are reported and stay.

    Returns
    -------
    VerifyReport
    """
    report = VerifyReport()
    shards = list(_shards(store, report))
    if fraction < 1.0 and shards:
        n = max(1, round(fraction * len(shards)))
        shards = sorted(random.Random(seed).sample(shards, n), key=lambda item: item[1])
    good: dict[Path, tuple[str, str]] = {}
    for key, path in track(shards, "verify", len(shards), "shards"):
        try:
            header, ids = check_shard(path, key)
            report.n_bytes += header.size
            report.n_shards += 1
            good[path] = (header.digest, digest_bytes(ids.tobytes()))
        except StoreError as error:
            report.damaged.append(_diagnose(path, key, error))
    _check_indexes(store, good, report)
    if repair:
        _quarantine(store, report)
    return report


def _diagnose(path: Path, key: FeatureKey, error: StoreError) -> DamagedFile:
    """Return what is wrong with a shard; only one that was read whole and is wrong twice is bad.

    A disk in trouble, or a process without file handles, makes good shards look damaged for a
    moment. Removing them would lose features.
    """
    if not isinstance(error, ShardError):
        return DamagedFile(path, str(error), repairable=False)
    try:
        with open_file(path) as file:
            while file.read(1 << 20):
                pass
        check_shard(path, key)
    except ShardError as second:
        return DamagedFile(path, str(second), repairable=path.exists())
    except (OSError, StoreError) as second:
        why = f"{path} cannot be read: {getattr(second, 'strerror', None) or second}"
        return DamagedFile(path, f"{why}. It is kept; check the disk.", repairable=False)
    return DamagedFile(
        path,
        f"{path} could not be read at first, and is good when read again. It is kept; check the "
        "disk.",
        repairable=False,
    )


def _check_indexes(
    store: FeatureStore, good: Mapping[Path, tuple[str, str]], report: VerifyReport
) -> None:
    """Add the indexes that do not agree with shards of which digest and ids are known."""
    bad = {item.path for item in report.damaged}
    for folder in key_folders(store):
        path = folder / layout.INDEX_FILE
        if not path.exists() or folder / layout.KEY_FILE in bad:
            continue
        try:
            key = read_key(folder / layout.KEY_FILE)
            for entry in read_index_file(path, key).entries:
                shard = folder / entry.name
                said = (entry.header.digest, digest_bytes(entry.ids.tobytes()))
                if shard in good and good[shard] != said:
                    raise wrong_index(folder, shard)
        except StoreError as error:
            report.damaged.append(DamagedFile(path, str(error), repairable=True))


def check_shard(path: Path, key: FeatureKey) -> tuple[Header, NDArray[Any]]:
    """Check all that a shard promises.

    Parameters
    ----------
    path : Path
        File or folder.
    key : FeatureKey
        Feature key.

    Returns
    -------
    header : Header
    ids : ndarray of shape (n_samples,), S32
        Its sample ids.

    Raises
    ------
    ShardError
        If a byte is wrong, a feature is not finite, or the ids are not sorted and unique.
    """
    header = read_header(path, key)
    sink = _Finite()
    contents = read_payload(path, key, header, sink)
    ids = contents.ids
    if not sink.finite:
        raise damaged(path, "it holds NaN or Inf")
    if (ids[1:] <= ids[:-1]).any() or contents.rejects.keys() & decode_ids(ids):
        raise damaged(path, "its sample ids are not sorted and each there once")
    return header, ids


class _Finite:
    """A sink that looks for NaN and Inf."""

    def __init__(self) -> None:
        self.finite = True

    def buffer(self, start: int, n: int) -> None:
        return None

    def consume(self, start: int, block: NDArray[Any]) -> None:
        self.finite = self.finite and bool(np.isfinite(block).all())


def _shards(store: FeatureStore, report: VerifyReport) -> Iterator[tuple[FeatureKey, Path]]:
    for folder in key_folders(store):
        try:
            key = read_key(folder / layout.KEY_FILE)
        except StoreError as error:
            report.damaged.append(DamagedFile(folder / layout.KEY_FILE, str(error), False))
            continue
        for path in sorted(folder.glob(f"*{layout.SHARD_SUFFIX}")):
            yield key, path


def key_folders(store: FeatureStore) -> list[Path]:
    """Return the folder of every key, also of keys that cannot be read.

    Parameters
    ----------
    store : FeatureStore
        Feature store.

    Returns
    -------
    list[Path]
        The folder of every key, also of keys that cannot be read.

    Raises
    ------
    StoreError
        If the store cannot be read or written.
    """
    try:
        return sorted(
            path
            for path in (store.root / layout.KEYS_FOLDER).glob("*")
            if path.is_dir() and not path.is_symlink()
        )
    except OSError as error:
        raise store_error(error, store.root, verb="read") from error


QUARANTINE = "quarantine"
"""Folder of a store into which repair moves damaged files."""


def _quarantine(store: FeatureStore, report: VerifyReport) -> None:
    """Move damaged files out of the way; nothing is deleted."""
    for item in report.damaged:
        if item.repairable:
            target = store.root / QUARANTINE / item.path.parent.name / item.path.name
            try:
                require_below(store.root, target.parent)
                require_below(store.root, item.path.parent)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(item.path, target)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise store_error(error, item.path) from error
            report.dropped.append(item.path)


def find_unused(
    store: FeatureStore,
    *,
    referenced: Collection[str] | None = None,
    drop: Sequence[FeatureKey] = (),
) -> list[UnusedFile]:
    """Return what can go: nothing is removed.

    Parameters
    ----------
    store : FeatureStore
    referenced : collection of str, optional
        Sample ids that are still needed; a shard that holds none of them is waste.
    drop : sequence of FeatureKey
        Keys that are not wanted any more.

    Returns
    -------
    list of Waste
        Temporary files and claims of processes that are gone, keys without shards for a day, and
        what the arguments say.
    """
    require_below(store.root, store.root / layout.KEYS_FOLDER)
    unwanted = {key.fingerprint for key in drop}
    unused = [
        UnusedFile(path, _size(path), "temporary file of a process that is gone")
        for path in sorted(store.root.rglob(f"{TEMPORARY_PREFIX}*"))
        if temporary_is_dead(path)
    ]
    for lock in sorted((store.root / JOBS).glob(f"*{layout.LOCK_SUFFIX}")):
        record, n_bytes = lock.with_suffix(".json"), _size(lock)
        if not locks.held(lock):
            unused += [
                UnusedFile(path, size, "record of a job that is gone")
                for path, size in ((lock, n_bytes), (record, _size(record)))
                if path.exists()
            ]
    for folder in key_folders(store):
        if folder.name in unwanted:
            unused.append(UnusedFile(folder, _size(folder), "key that was named to be dropped"))
        else:
            unused += _in_folder(store, folder, referenced)
    return unused


def _in_folder(
    store: FeatureStore, folder: Path, referenced: Collection[str] | None
) -> Iterator[UnusedFile]:
    for path in sorted(folder.glob(f"*{layout.LOCK_SUFFIX}")):
        n_bytes = _size(path)  # some releases of filelock empty a file that they try
        if not locks.held(path):
            yield UnusedFile(path, n_bytes, "claim of a process that is gone")
    if not any(folder.glob(f"*{layout.SHARD_SUFFIX}")):
        if time.time() - folder.stat().st_mtime > DAY_S:
            yield UnusedFile(folder, _size(folder), "key without features")
        return
    if referenced is None:
        return
    key = read_key(folder / layout.KEY_FILE)
    for entry in store.index(key).entries:
        ids = {*decode_ids(entry.ids), *entry.rejects}
        if ids.isdisjoint(referenced):
            yield UnusedFile(
                folder / entry.name, entry.header.size, "no sample of it is in a manifest"
            )


def remove(unused: Sequence[UnusedFile]) -> int:
    """Remove what :func:`find_unused` found and return how many bytes that frees.

    Parameters
    ----------
    unused : Sequence[UnusedFile]
        Files to remove.

    Returns
    -------
    int

    Raises
    ------
    StoreError
        If the store cannot be read or written.
    """
    for item in unused:
        try:
            if item.path.is_dir() and not item.path.is_symlink():
                shutil.rmtree(item.path)
            else:
                item.path.unlink(missing_ok=True)
        except OSError as error:
            raise store_error(error, item.path) from error
    return sum(item.n_bytes for item in unused)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    return sum(file.lstat().st_size for file in files)


def disk_usage(store: FeatureStore) -> list[tuple[str, int, int]]:
    """Return (path below the store, files, bytes) of each key and each other folder or file.

    Parameters
    ----------
    store : FeatureStore
        Feature store.

    Returns
    -------
    list[tuple[str, int, int]]
        (path below the store, files, bytes) of each key and each other folder or file.
    """
    places = [*key_folders(store), *sorted(store.root.glob("*"))]
    rows = []
    for path in places:
        if path.name != layout.KEYS_FOLDER:
            n_files = 1 if path.is_file() else sum(item.is_file() for item in path.rglob("*"))
            rows.append((str(path.relative_to(store.root)), n_files, _size(path)))
    return rows
