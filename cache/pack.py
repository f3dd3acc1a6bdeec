"""Feature packs: shards, keys and manifests in one file, so that features travel without images.

A pack is an uncompressed tar of regular files with plain names (ustar): ``pack.json`` first, which lists
every other member with its size and digest, then keys, shards and manifests. Nothing is unpacked by a
library: headers are read one by one, and a member that is not in the list, not of its size, not of its
digest, or not a plain file ends the import before anything has been added.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import xxhash

from featcache._version import __version__
from featcache.cache import layout
from featcache.cache.care import check_shard
from featcache.cache.keys import FeatureKey
from featcache.cache.store import FeatureStore
from featcache.errors import MissingFeaturesError
from featcache.files import atomic_file

PACK_FORMAT = "featcache-pack-1"
PACK_FILE = "pack.json"
BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20

_HEX = "[0-9a-f]{32}"
NAMES = re.compile(
    rf"keys/(?P<key>{_HEX})/(key\.json|(?P<shard>[0-9A-Za-z_-]{{1,64}})\.h5)"
    r"|manifests/(?P<manifest>[0-9A-Za-z_][0-9A-Za-z_.-]{0,60})\.csv"
)
"""Every name that a pack may hold; no other is looked at."""


@dataclass(frozen=True)
class Member:
    """A file in a pack."""

    name: str
    n_bytes: int
    digest: str


def export_pack(
    store: FeatureStore,
    keys: Sequence[FeatureKey],
    path: Path,
    *,
    manifests: Mapping[str, bytes],
    licence: str,
) -> int:
    """Write keys with all their shards, and manifests, into one file; the same input gives the same bytes.

    Parameters
    ----------
    store : FeatureStore
    keys : sequence of FeatureKey
    path : Path
    manifests : mapping of str to bytes
        By name, without ``.csv``.
    licence : str
        Under what terms the features may be used, and where the images come from.

    Returns
    -------
    int
        Bytes of the pack.

    Raises
    ------
    ShardError
        If a shard is damaged: a pack holds only what has been checked.
    """
    sources: dict[str, Path | bytes] = {}
    for key in keys:
        folder = f"{layout.KEYS_FOLDER}/{key.fingerprint}"
        sources[f"{folder}/{layout.KEY_FILE}"] = key.json.encode("ascii")
        shards = sorted(store.folder(key).glob(f"*{layout.SHARD_SUFFIX}"))
        if not shards:
            raise MissingFeaturesError(f"The store {store.root} has no features of {key.name!r}.")
        for shard in shards:
            check_shard(shard, key)
            sources[f"{folder}/{shard.name}"] = shard
    sources |= {f"manifests/{name}.csv": data for name, data in sorted(manifests.items())}
    members = [_describe(name, source) for name, source in sources.items()]
    about = {
        "format": PACK_FORMAT,
        "licence": licence,
        "written_by": f"featcache {__version__}",
        "members": [vars(member) for member in members],
    }
    first = json.dumps(about, indent=1, sort_keys=True).encode("ascii")
    total = sum(member.n_bytes + 2 * BLOCK for member in members) + len(first)
    with (
        atomic_file(path, total) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, source in {PACK_FILE: first, **sources}.items():
            with _open(source) as data:
                info = tarfile.TarInfo(name)
                info.size = data.seek(0, os.SEEK_END)
                data.seek(0)
                tar.addfile(info, data)
    return path.stat().st_size


def _describe(name: str, source: Path | bytes) -> Member:
    state, size = xxhash.xxh3_128(), 0
    with _open(source) as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
            size += len(chunk)
    return Member(name, size, state.hexdigest())


def _open(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
