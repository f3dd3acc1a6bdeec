"""The store: a folder of shards, found by feature key and sample id."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache import layout
from featcache.cache.keys import FeatureKey
from featcache.cache.shard import Rows, read_shard, write_shard
from featcache.errors import MissingFeaturesError, SettingsError, StoreError, unknown_name
from featcache.files import store_error, write_atomic


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
        self._rows: dict[Path, Rows] = {}
        self._check_format()

    def list_keys(self) -> list[FeatureKey]:
        """Return the keys in the store, sorted by name, then fingerprint."""
        files = (self.root / layout.KEYS_FOLDER).glob(f"*/{layout.KEY_FILE}")
        found = [_read_key(path) for path in files]
        return sorted(found, key=lambda key: (key.name, key.fingerprint))

    def find(self, name: str, **wanted: str | None) -> FeatureKey:
        """Return the one key of a feature name.

        Parameters
        ----------
        name : str
            Feature name as the user types it.
        **wanted : str or None
            Further leaves of the key that must have this value (``precision="fp32"``); None means any.

        Raises
        ------
        MissingFeaturesError
            If the store has no such features: says the command that makes them.
        SettingsError
            If it has several kinds: says in which fields they differ.
        """
        named = [key for key in self.list_keys() if key.name == name]
        found = [key for key in named if _fits(key, wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            raise _ambiguous(name, found)
        raise self._absent(name, named)

    def samples(self, key: FeatureKey) -> set[str]:
        """Return the ids of all samples that have features under a key."""
        return {sample_id for rows in self._all_rows(key) for sample_id in rows.ids}

    def rejects(self, key: FeatureKey) -> dict[str, str]:
        """Return sample id and reason of every image that gave no feature under a key."""
        return {name: why for rows in self._all_rows(key) for name, why in rows.rejects.items()}

    def read(self, key: FeatureKey, ids: Sequence[str]) -> NDArray[np.float32]:
        """Return the features of samples, in the order asked for.

        Parameters
        ----------
        key : FeatureKey
        ids : sequence of str
            May repeat.

        Returns
        -------
        ndarray of shape (len(ids), n_features), float32

        Raises
        ------
        MissingFeaturesError
            If a sample has no features: says how many and the first.
        """
        shards = self._all_rows(key)
        place = {name: (i, j) for i, rows in enumerate(shards) for j, name in enumerate(rows.ids)}
        missing = [name for name in ids if name not in place]
        if missing or not shards:
            raise MissingFeaturesError(_missing_words(key, missing, len(ids)))
        out = np.empty((len(ids), shards[0].features.shape[1]), dtype=np.float32)
        where = np.array([place[name] for name in ids], dtype=np.intp).reshape(-1, 2)
        for i, rows in enumerate(shards):
            mine = where[:, 0] == i
            out[mine] = rows.features[where[mine, 1]]
        return out

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
        path = self._folder(key) / f"{name}{layout.SHARD_SUFFIX}"
        write_shard(path, key, rows, writer)
        self._rows[path] = rows
        return path

    def prepare(self, key: FeatureKey) -> None:
        """Make the store's folders and key file, so that a store that says no says it at once."""
        marker = self.root / layout.STORE_FILE
        if not marker.exists():
            write_atomic(marker, json.dumps({"format": layout.FORMAT_VERSION}).encode())
        path = self._folder(key) / layout.KEY_FILE
        if not path.exists():
            write_atomic(path, key.json.encode("ascii"))

    def summary(self, key: FeatureKey) -> KeySummary:
        """Return counts and size of what lies under a key."""
        shards = self._all_rows(key)
        return KeySummary(
            key=key,
            n_shards=len(shards),
            n_samples=len(self.samples(key)),
            n_rejected=len(self.rejects(key)),
            n_features=shards[0].features.shape[1] if shards else 0,
            n_bytes=sum(path.stat().st_size for path in self._shards(key)),
        )

    def _folder(self, key: FeatureKey) -> Path:
        return self.root / layout.KEYS_FOLDER / key.fingerprint

    def _shards(self, key: FeatureKey) -> list[Path]:
        return sorted(self._folder(key).glob(f"*{layout.SHARD_SUFFIX}"))

    def _all_rows(self, key: FeatureKey) -> list[Rows]:
        """Return every shard of a key, each read and checked once in the life of this object."""
        paths = self._shards(key)
        for path in paths:
            if path not in self._rows:
                self._rows[path] = read_shard(path, key)
        return [self._rows[path] for path in paths]

    def _check_format(self) -> None:
        marker = self.root / layout.STORE_FILE
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root} is a file, not a folder. Choose another --cache.")
        try:
            text = marker.read_text(encoding="utf-8") if marker.exists() else None
            version = json.loads(text)["format"] if text is not None else layout.FORMAT_VERSION
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

    def _absent(self, name: str, named: list[FeatureKey]) -> Exception:
        if named:
            return MissingFeaturesError(
                f"The store {self.root} has {name!r}, but not with these settings. "
                f"It has: {'; '.join(sorted(map(describe, named)))}."
            )
        known = {key.name for key in self.list_keys()}
        if not known:
            return MissingFeaturesError(
                f"The store {self.root} has no features. "
                f"Run 'featcache extract --backbone {name} --data FOLDER' first."
            )
        hint = str(unknown_name("feature in the store", name, known))
        return MissingFeaturesError(f"{hint} To make them: featcache extract --backbone {name}")


def describe(key: FeatureKey) -> str:
    """Return a key in one line for a person."""
    return f"{key.name} {key.settings} ({key.fingerprint[:8]})"


def _read_key(path: Path) -> FeatureKey:
    try:
        key = FeatureKey(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is no feature key: {error}") from error
    if key.fingerprint != path.parent.name:
        raise StoreError(f"{path} holds another key than its folder says. Remove the folder.")
    return key


def _fits(key: FeatureKey, wanted: dict[str, str | None]) -> bool:
    fields: dict[str, Any] = {
        **key.fields,
        "preset": key.fields["preprocessing"].get("preset"),
        "view": key.fields["view"].get("name"),
    }
    return all(value is None or fields.get(name) == value for name, value in wanted.items())


def _ambiguous(name: str, found: list[FeatureKey]) -> SettingsError:
    differing = sorted({leaf for key in found[1:] for leaf, _, _ in found[0].differences(key)})
    return SettingsError(
        f"The store has {len(found)} kinds of {name!r}, which differ in {', '.join(differing)}: "
        f"{'; '.join(sorted(map(describe, found)))}. Say which with --preset or --precision."
    )


def _missing_words(key: FeatureKey, missing: list[str], n_all: int) -> str:
    first = f" (first: {missing[0]})" if missing else ""
    return (
        f"The feature {key.name!r} is missing for {len(missing):,} of {n_all:,} samples{first}. "
        f"Run 'featcache extract --backbone {key.name}' on the same data first."
    )
