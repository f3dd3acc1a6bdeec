"""The store: a folder of shards, found by feature key and sample id."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from featcache.backbones.names import FOREIGN, canonical_name
from featcache.cache import layout, locks
from featcache.cache.index import Index, load_index
from featcache.cache.keys import FeatureKey, read_key
from featcache.cache.lookup import ambiguity_error, key_matches, missing_error
from featcache.cache.reader import Reader
from featcache.cache.shard import Rows, decode_ids, write_shard
from featcache.errors import StoreError
from featcache.files import read_text, require_below, store_error, write_atomic
from featcache.parsing import parse_json


@dataclass(frozen=True)
class KeySummary:
    """What the store holds under one key."""

    key: FeatureKey
    n_shards: int
    n_samples: int
    n_rejected: int
    n_features: int
    n_bytes: int


class FeatureStore:
    """A folder of features.

    Parameters
    ----------
    root : Path
        The folder. Nothing is made until something is written.

    Raises
    ------
    StoreError
        If the folder is a store of another format, or no folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._indexes: dict[str, Index] = {}
        self._prepared: set[str] = set()
        marker = self.root / layout.STORE_FILE
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root} is a file, not a folder. Choose another --cache.")
        try:
            text = read_text(marker) if marker.exists() else None
            version = parse_json(text)["format"] if text is not None else layout.FORMAT_VERSION
        except OSError as error:
            raise store_error(error, marker) from error
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"{marker} is damaged: {error}. Delete it; it is written anew."
            ) from error
        if version != layout.FORMAT_VERSION:
            raise StoreError(
                f"The store {self.root} has format {version}; this featcache reads "
                f"{layout.FORMAT_VERSION}. Use the version of featcache that wrote it."
            )

    def list_keys(self) -> list[FeatureKey]:
        """Return the keys in the store, sorted by name, then fingerprint.

        Returns
        -------
        list[FeatureKey]
            The keys in the store, sorted by name, then fingerprint.
        """
        files = (self.root / layout.KEYS_FOLDER).glob(f"*/{layout.KEY_FILE}")
        keys = [read_key(path) for path in files]
        return sorted(keys, key=lambda key: (key.name, key.fingerprint))

    def find(self, name: str, **wanted: str | None) -> FeatureKey:
        """Return the one key of a feature name.

        Parameters
        ----------
        name : str
            Feature name as the user types it, aliases included.
        **wanted : str or None
            Further leaves of the key that must have this value (``precision="fp32"``); None means
            any.

        Returns
        -------
        FeatureKey
            The one key of a feature name.

        Raises
        ------
        MissingFeaturesError
            If the store has no such features: says the command that makes them.
        SettingsError
            If it has several kinds: says in which fields they differ.
        """
        name = canonical_name(name)
        known = self.list_keys()
        foreign = name + FOREIGN  # found by the bare name where featcache has none of its own
        named = [key for key in known if key.name == name] or [
            key for key in known if key.name == foreign
        ]
        matches = [key for key in named if key_matches(key, wanted)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise ambiguity_error(name, matches)
        names_weights = wanted.get("weights") is not None
        raise missing_error(self.root, name, named, known, names_weights)

    def samples(self, key: FeatureKey) -> set[str]:
        """Return the ids of all samples that have features under a key.

        Parameters
        ----------
        key : FeatureKey
            Feature key.

        Returns
        -------
        set[str]
            The ids of all samples that have features under a key.
        """
        return decode_ids(self.index(key).ids)

    def rejects(self, key: FeatureKey) -> dict[str, str]:
        """Return sample id and reason of every image that gave no feature under a key.

        Parameters
        ----------
        key : FeatureKey
            Feature key.

        Returns
        -------
        dict[str, str]
            Sample id and reason of every image that gave no feature under a key.
        """
        return self.index(key).rejects

    def read(
        self,
        keys: FeatureKey | Sequence[FeatureKey],
        ids: Sequence[str],
        dtype: DTypeLike = np.float32,
    ) -> NDArray[Any]:
        """Return the features of samples, in the order asked for, several keys side by side.

        Each shard is read once, from front to back, and checked against its digest.

        Parameters
        ----------
        keys : FeatureKey or sequence of FeatureKey
        ids : sequence of str
            May repeat.
        dtype : dtype
            Of the result; float32 whatever is stored.

        Returns
        -------
        ndarray of shape (len(ids), sum of n_features), dtype

        Raises
        ------
        MissingFeaturesError
            If a sample has no features: says how many and the first.
        ShardError
            If a shard is damaged.
        """
        reader = self.reader(keys, ids)
        out = np.empty((len(ids), reader.n_features), dtype)
        reader.read(slice(0, len(ids)), out)
        return out

    def iter_blocks(
        self,
        keys: FeatureKey | Sequence[FeatureKey],
        ids: Sequence[str],
        rows: int = 8192,
        dtype: DTypeLike = np.float32,
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield the features of samples block by block: memory for one block, whatever their
        number.

        Parameters
        ----------
        keys
            As for :meth:`read`. Sorted ids read fastest: shards hold ranges of them.
        ids
            As for :meth:`read`. Sorted ids read fastest: shards hold ranges of them.
        dtype
            As for :meth:`read`. Sorted ids read fastest: shards hold ranges of them.
        rows : int
            Rows of a block at the most.

        Yields
        ------
        (slice, ndarray of shape (n, sum of n_features))
            Which of ``ids``, and their features in a new array. A shard is checked when it is first
            met.
        """
        reader = self.reader(keys, ids)
        for start in range(0, len(ids), rows):
            part = slice(start, min(start + rows, len(ids)))
            out = np.empty((part.stop - start, reader.n_features), dtype)
            reader.read(part, out)
            yield part, out

    def index(self, key: FeatureKey) -> Index:
        """Return what lies where under a key, in step with the shards that are there now.

        Parameters
        ----------
        key : FeatureKey
            Feature key.

        Returns
        -------
        Index
            What lies where under a key, in step with the shards that are there now.
        """
        known = self._indexes.get(key.fingerprint)
        index = load_index(self.folder(key), key, known)
        self._indexes[key.fingerprint] = index
        return index

    def lock(self, key: FeatureKey, name: str) -> AbstractContextManager[bool]:
        """Return a context that holds the claim of a shard, see
        :func:`featcache.cache.locks.acquire`.

        Yields False where the shard is there already or another process is making it.

        Parameters
        ----------
        key : FeatureKey
            Feature key.
        name : str
            Name to look up or to show.

        Returns
        -------
        AbstractContextManager[bool]
            A context that holds the claim of a shard, see
            :func:`featcache.cache.locks.acquire`.
        """
        self.prepare(key)
        return locks.acquire(self._acquire(key, name), self.shard(key, name))

    def has(self, key: FeatureKey, name: str) -> bool:
        """Say whether a shard has been made.

        Parameters
        ----------
        key : FeatureKey
            Feature key.
        name : str
            Name to look up or to show.

        Returns
        -------
        bool
        """
        return self.shard(key, name).exists()

    def wait(self, key: FeatureKey, name: str) -> None:
        """Return when nobody is making a shard any more; say who does meanwhile.

        Parameters
        ----------
        key : FeatureKey
            Feature key.
        name : str
            Name to look up or to show.
        """
        locks.wait(self._acquire(key, name), f"a shard of {key.name!r} ({name[:8]})")

    def write(self, key: FeatureKey, name: str, rows: Rows, writer: dict[str, str]) -> Path:
        """Add a shard, whole or not at all.

        Parameters
        ----------
        key : FeatureKey
        name : str
            The shard's name: the digest of its planned sample ids.
        rows : Rows
        writer : dict of str to str
            Versions of what made the features.

        Returns
        -------
        Path
            The file of the shard.

        Raises
        ------
        StoreError
            If the rows may not be stored, or the disk says no.
        """
        self.prepare(key)
        path = self.shard(key, name)
        write_shard(path, key, rows, writer)
        return path

    def prepare(self, key: FeatureKey) -> None:
        """Make the store's folders and key file, so that a store that says no says it at once.

        Parameters
        ----------
        key : FeatureKey
            Feature key.

        Raises
        ------
        StoreError
            If it cannot be written, or was there and is gone: nothing is made in its place, which
            may be the empty folder below a disk that fell off.
        """
        require_below(self.root, self.folder(key))
        path = self.folder(key) / layout.KEY_FILE
        if path.exists():
            self._prepared.add(key.fingerprint)
            return
        if key.fingerprint in self._prepared:
            raise StoreError(
                f"The store {self.root} has vanished while featcache was at work: {path} is gone. "
                "Bring the disk or folder back and run the same command again."
            )
        marker = self.root / layout.STORE_FILE
        if not marker.exists():
            write_atomic(marker, json.dumps({"format": layout.FORMAT_VERSION}).encode())
        write_atomic(path, key.json.encode("ascii"))
        self._prepared.add(key.fingerprint)

    def summary(self, key: FeatureKey) -> KeySummary:
        """Return counts and size of what lies under a key.

        Parameters
        ----------
        key : FeatureKey
            Feature key.

        Returns
        -------
        KeySummary
            Counts and size of what lies under a key.
        """
        index = self.index(key)
        return KeySummary(
            key=key,
            n_shards=len(index.entries),
            n_samples=index.n_samples,
            n_rejected=len(index.rejects),
            n_features=index.n_features,
            n_bytes=sum(entry.header.size for entry in index.entries),
        )

    def folder(self, key: FeatureKey) -> Path:
        """Return the folder of a key.

        Parameters
        ----------
        key : FeatureKey
            Feature key.

        Returns
        -------
        Path
            The folder of a key.
        """
        return self.root / layout.KEYS_FOLDER / key.fingerprint

    def shard(self, key: FeatureKey, name: str) -> Path:
        """Return the file of a shard, whether it has been made or not.

        Parameters
        ----------
        key : FeatureKey
            Feature key.
        name : str
            Name to look up or to show.

        Returns
        -------
        Path
            The file of a shard, whether it has been made or not.
        """
        return self.folder(key) / f"{name}{layout.SHARD_SUFFIX}"

    def _acquire(self, key: FeatureKey, name: str) -> Path:
        return self.folder(key) / f"{name}{layout.LOCK_SUFFIX}"

    def reader(self, keys: FeatureKey | Sequence[FeatureKey], ids: Sequence[str]) -> Reader:
        """Return what reads the features of these samples, block by block if need be.

        Parameters
        ----------
        keys : FeatureKey | Sequence[FeatureKey]
            Feature keys, one for each feature.
        ids : Sequence[str]
            Sample ids.

        Returns
        -------
        Reader
            What reads the features of these samples, block by block if need be.
        """
        several = [keys] if isinstance(keys, FeatureKey) else list(keys)
        return Reader([(key, self.folder(key), self.index(key)) for key in several], ids)
