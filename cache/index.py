"""The index of one key: which sample lies in which row of which shard. Derived, never the truth.

It is read from ``index.safetensors`` where that file is whole and of this key, brought up to
date with the shards that are there (known by size and time of change), and written anew where it
was not. A shard enters the index only after all its bytes have been checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from featcache.cache import layout
from featcache.cache.header import Extent, Header, fit_together, read_header
from featcache.cache.keys import FeatureKey
from featcache.cache.shard import Discard, read_payload
from featcache.errors import StoreError
from featcache.files import digest_bytes, read_file, store_error, write_atomic
from featcache.parsing import parse_json

MAX_INDEX_BYTES = 1 << 32
ID_LENGTH = np.dtype(layout.ID_DTYPE).itemsize


@dataclass(frozen=True)
class Entry:
    """One shard in the index.

    Parameters
    ----------
    name : str
        Of the file.
    header : Header
    ids : ndarray of shape (N,), S32
    rejects : dict of str to str
    """

    name: str
    header: Header
    ids: NDArray[Any]
    rejects: dict[str, str]


@dataclass(frozen=True)
class Index:
    """What lies under a key at one moment.

    Parameters
    ----------
    entries : tuple of Entry
        Sorted by name.
    """

    entries: tuple[Entry, ...]

    @cached_property
    def _sorted(self) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Return (ids, shards, rows) sorted by id; of a sample in two shards the first by name."""
        ids = np.concatenate([np.empty(0, layout.ID_DTYPE), *(e.ids for e in self.entries)])
        counts = [len(entry.ids) for entry in self.entries]
        shards = np.repeat(np.arange(len(counts)), counts)
        rows = np.concatenate([np.empty(0, np.int64), *map(np.arange, counts)])
        ids, order = _sort_ids(ids)
        first = np.ones(len(ids), bool)
        first[1:] = ids[1:] != ids[:-1]
        if not first.all():
            ids, order = ids[first], order[first]
        return ids, shards[order], rows[order]

    @property
    def ids(self) -> NDArray[Any]:
        """All ids with features, sorted, each once; shape (n,), S32."""
        return self._sorted[0]

    @cached_property
    def n_samples(self) -> int:
        """Number of ids with features, each once; without sorting them where none repeats."""
        ids = [np.empty(0, layout.ID_DTYPE), *(entry.ids for entry in self.entries)]
        numbers = np.sort(_prefixes(np.concatenate(ids)))
        return len(numbers) if (numbers[1:] > numbers[:-1]).all() else len(self.ids)

    @property
    def rejects(self) -> dict[str, str]:
        """Every rejected sample with its reason."""
        return {name: why for entry in self.entries for name, why in entry.rejects.items()}

    @property
    def n_features(self) -> int:
        """Length of the feature vectors; 0 where there is none."""
        return max((entry.header.features.shape[1] for entry in self.entries), default=0)

    def locate(self, sample_ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the shard and the row of each id; shard -1 where there is none.

        Parameters
        ----------
        sample_ids : Sequence[str]
            Sample ids.

        Returns
        -------
        (ndarray of shape (n,), ndarray of shape (n,)), int64
        """
        ids, shards, rows = self._sorted
        names = _encode_ids(sample_ids)
        if not len(ids):
            return np.full(len(names), -1), np.zeros(len(names), np.int64)
        positions = np.minimum(np.searchsorted(ids, names), len(ids) - 1)
        present = ids[positions] == names
        return np.where(present, shards[positions], -1), rows[positions]


def _sort_ids(ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the ids in order and where each was; equal ids stay in their order.

    Sorting numbers is several times as fast as sorting texts; whether that was the order of the
    texts, and without a tie, is looked at.
    """
    order = np.argsort(_prefixes(ids))
    in_order = ids[order]
    if (in_order[1:] <= in_order[:-1]).any():
        order = np.argsort(ids, kind="stable")
        in_order = ids[order]
    return in_order, order


def _prefixes(ids: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the first 16 hexadecimal digits of each id as a number.

    Eight digits at a time: the digits' values in the bytes of a word are moved together.
    """
    words = np.ascontiguousarray(ids).view(">u8").reshape(-1, ID_LENGTH // 8)
    halves = []
    for word in (words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)):
        letters = (word >> np.uint64(6)) & np.uint64(0x0101010101010101)
        x = (word & np.uint64(0x0F0F0F0F0F0F0F0F)) + np.uint64(9) * letters
        x = (x | (x >> np.uint64(4))) & np.uint64(0x00FF00FF00FF00FF)
        x = (x | (x >> np.uint64(8))) & np.uint64(0x0000FFFF0000FFFF)
        halves.append((x | (x >> np.uint64(16))) & np.uint64(0x00000000FFFFFFFF))
    return np.asarray((halves[0] << np.uint64(32)) | halves[1])


def load_index(folder: Path, key: FeatureKey, known: Index | None = None) -> Index:
    """Return the index of a key's folder, in step with its shards.

    Parameters
    ----------
    folder : Path
    key : FeatureKey
    known : Index, optional
        What this process knew before; saves reading the file.

    Returns
    -------
    Index
        The index of a key's folder, in step with its shards.

    Raises
    ------
    ShardError
        If a shard is damaged.
    """
    files = list_shards(folder)
    if known is None:
        known = read_index_file(folder / layout.INDEX_FILE, key)
    have = {(e.name, e.header.size, e.header.mtime_ns): e for e in known.entries}
    entries = tuple(
        have.get(stamp) or read_entry(folder / stamp[0], key) for stamp in sorted(files)
    )
    if entries == known.entries or folder.is_symlink():
        return known if entries == known.entries else Index(entries)
    index = Index(entries)
    _write(folder / layout.INDEX_FILE, key, index)
    return index


def list_shards(folder: Path) -> list[tuple[str, int, int]]:
    """Return (name, size, time of change in ns) of every shard in a folder.

    Parameters
    ----------
    folder : Path
        Folder that is read or written.

    Returns
    -------
    list[tuple[str, int, int]]
        (name, size, time of change in ns) of every shard in a folder.

    Raises
    ------
    StoreError
        If the store cannot be read or written.
    """
    entries = []
    try:
        with os.scandir(folder) as items:
            for item in items:
                if item.name.endswith(layout.SHARD_SUFFIX):
                    status = item.stat()
                    entries.append((item.name, status.st_size, status.st_mtime_ns))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise store_error(error, folder, verb="read") from error
    return entries


def read_entry(path: Path, key: FeatureKey) -> Entry:
    """Return the entry of a shard whose every byte has been checked.

    Parameters
    ----------
    path : Path
        File or folder.
    key : FeatureKey
        Feature key.

    Returns
    -------
    Entry
        The entry of a shard whose every byte has been checked.
    """
    header = read_header(path, key)
    contents = read_payload(path, key, header, Discard())
    return Entry(path.name, header, contents.ids, contents.rejects)


def _encode_ids(names: Sequence[str]) -> NDArray[Any]:
    """Return ids as they are stored; what can be no id matches nothing."""
    if not all(text.isascii() and len(text) <= ID_LENGTH for text in names):
        names = [text if text.isascii() and len(text) <= ID_LENGTH else "?" for text in names]
    return np.array(names, dtype=layout.ID_DTYPE).reshape(-1)


def read_index_file(path: Path, key: FeatureKey) -> Index:
    """Read an index as it is stored, without looking at the shards.

    Parameters
    ----------
    path : Path
        The index file.
    key : FeatureKey
        Key that it must be of.

    Returns
    -------
    Index
        Empty where the file is missing, damaged or of another key.
    """
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            return Index(())
        data = read_file(path, MAX_INDEX_BYTES)
        with safe_open(path, "numpy") as file:
            about = parse_json(file.metadata()["index"], max_bytes=MAX_INDEX_BYTES)
        ids = load(data)["ids"]
        if about.pop("digest") != _digest(about, ids) or about["key"] != key.json:
            return Index(())
        return Index(tuple(_parse(about["entries"], ids.view(layout.ID_DTYPE).reshape(-1))))
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return Index(())


def _parse(entries: list[dict[str, Any]], ids: NDArray[Any]) -> Iterable[Entry]:
    start = 0
    for entry in entries:
        header = entry["header"]
        extents = tuple(
            Extent(e["offset"], tuple(e["shape"]), e["dtype"]) for e in header["extents"]
        )
        if not fit_together(extents):
            raise ValueError("it was not written by this program")
        if entry["name"] != os.path.basename(entry["name"]):
            raise ValueError("it names a file outside its folder")
        stop = start + extents[1].shape[0]
        yield Entry(
            entry["name"],
            Header(**{**header, "extents": extents}),
            ids[start:stop],
            dict(entry["rejects"]),
        )
        start = stop


def _write(path: Path, key: FeatureKey, index: Index) -> None:
    """Write the index where the store lets us: it is a convenience."""
    ids = np.concatenate([np.empty(0, layout.ID_DTYPE), *(e.ids for e in index.entries)])
    raw = ids.view(np.uint8).reshape(-1, 32)
    entries = [
        {"name": e.name, "rejects": e.rejects,
         "header": {**vars(e.header), "extents": [vars(extent) for extent in e.header.extents]}}
        for e in index.entries
    ]  # fmt: skip
    about = {"key": key.json, "entries": entries}
    text = json.dumps({**about, "digest": _digest(about, raw)})
    try:
        write_atomic(path, save({"ids": raw}, {"index": text}))
    except StoreError:
        return


def _digest(about: dict[str, Any], ids: NDArray[Any]) -> str:
    return digest_bytes(json.dumps(about, sort_keys=True).encode(), np.ascontiguousarray(ids).data)
