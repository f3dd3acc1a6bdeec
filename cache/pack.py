"""Feature packs: shards, keys and manifests in one file, so that features travel without images.

A pack is an uncompressed tar of regular files with plain names (ustar): ``pack.json`` first, which
lists every other member with its size and digest, then keys, shards and manifests. Nothing is
unpacked by a library: headers are read one by one, and a member that is not in the list, not of its
size, not of its digest, or not a plain file ends the import before anything has been added.

Importing a feature pack: everything in it is checked before anything is added to the store.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from featcache._version import __version__
from featcache.cache import layout
from featcache.cache.keys import FeatureKey, parse_key
from featcache.cache.maintenance import check_shard
from featcache.cache.store import FeatureStore
from featcache.errors import DataError, FeatcacheError, MissingFeaturesError
from featcache.files import (
    atomic_file,
    digest_bytes,
    open_file,
    read_file,
    store_error,
    temporary_prefix,
)
from featcache.parsing import parse_json

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
    """Write keys with all their shards, and manifests, into one file; the same input gives the same
    bytes.

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
    datasets = {}
    for name, data in sorted(manifests.items()):
        member = f"manifests/{name}.csv"
        if not NAMES.fullmatch(member):  # spaces, umlauts, long names: the list has the real one
            stem = f"dataset-{digest_bytes(name.encode('utf-8', 'surrogateescape'))}"
            member, datasets[stem] = f"manifests/{stem}.csv", name
        sources[member] = data
    members = [_describe(name, source) for name, source in sources.items()]
    about = {
        "format": PACK_FORMAT,
        "licence": licence,
        "written_by": f"featcache {__version__}",
        "members": [vars(member) for member in members],
        **({"datasets": datasets} if datasets else {}),
    }
    first = json.dumps(about, indent=1, sort_keys=True).encode("ascii")
    total = sum(member.n_bytes + 2 * BLOCK for member in members) + len(first)
    with (
        atomic_file(path, total) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, source in {PACK_FILE: first, **sources}.items():
            with _open(source) as content:
                info = tarfile.TarInfo(name)
                info.size = content.seek(0, os.SEEK_END)
                content.seek(0)
                tar.addfile(info, content)
    return path.stat().st_size


def _describe(name: str, source: Path | bytes) -> Member:
    state, size = xxhash.xxh3_128(), 0
    with _open(source) as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
            size += len(chunk)
    return Member(name, size, state.hexdigest())


def _open(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else open_file(source)


@dataclass
class Imported:
    """What an import added.

    Parameters
    ----------
    keys : list of FeatureKey
    n_shards, n_known, n_bytes : int
        Shards that were added; that were there already; bytes added.
    manifests : dict of str to bytes
        The pack's manifests by name, for the caller to check and keep.
    licence : str
    """

    keys: list[FeatureKey] = field(default_factory=list)
    n_shards: int = 0
    n_known: int = 0
    n_bytes: int = 0
    manifests: dict[str, bytes] = field(default_factory=dict)
    licence: str = ""


def import_pack(
    store: FeatureStore, path: Path, check_manifest: Callable[[str, Path], object]
) -> Imported:
    """Check a pack whole, then add what the store lacks.

    Parameters
    ----------
    store : FeatureStore
    path : Path
    check_manifest : callable
        Gets name and file of each manifest, and raises DataError where it is none.

    Returns
    -------
    Imported

    Raises
    ------
    DataError
        If the pack is damaged, hostile or of another format: the store is then as it was.
    StoreError
        If the disk says no.
    """
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=temporary_prefix(), dir=store.root))
    except OSError as error:
        raise store_error(error, store.root) from error
    try:
        with open_file(path) as file:
            about, members = _read_list(file)
            _stage(file, members, staged)
        result = Imported(licence=str(about.get("licence", "")))
        contents = _check(staged, members, result, check_manifest, _dataset_names(about))
        _add(store, contents, result)
    except DataError as error:
        raise _bad(path, str(error)) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _bad(path, str(error)) from error
    except OSError as error:
        if isinstance(error, FeatcacheError):
            raise
        raise store_error(error, path, verb="read") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return result


def _read_list(file: BinaryIO) -> tuple[dict[str, Any], list[Member]]:
    """Return what ``pack.json`` says, checked."""
    name, size = _header(file)
    if name != PACK_FILE:
        raise ValueError(f"it begins with {name!r}, not {PACK_FILE!r}")
    limit = 1 << 24
    if size > limit:
        raise ValueError(f"its list has {size:,} bytes; {limit:,} are the limit")
    about = parse_json(b"".join(_chunks(file, size)))
    if about["format"] != PACK_FORMAT:
        raise ValueError(f"its format is {about['format']!r}; this featcache reads {PACK_FORMAT!r}")
    members = [
        Member(str(m["name"]), int(m["n_bytes"]), str(m["digest"])) for m in about["members"]
    ]
    names = [member.name for member in members]
    for member in members:
        if not NAMES.fullmatch(member.name) or member.n_bytes < 0:
            raise ValueError(f"the name {member.name!r} is not allowed in a pack")
    if len(set(names)) < len(names):
        raise ValueError("it lists a name twice")
    if sum(member.n_bytes for member in members) > os.fstat(file.fileno()).st_size:
        raise ValueError("it lists more bytes than it has")
    return about, members


def _dataset_names(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the real names of data sets by the names of their members, each a plain file name."""
    names = {str(stem): str(name) for stem, name in dict(about.get("datasets") or {}).items()}
    for name in names.values():
        n_bytes = len(f"{name}.conflicts.csv".encode("utf-8", "surrogateescape"))
        if not name or "/" in name or "\\" in name or "\0" in name or n_bytes > 255:
            raise ValueError(f"the name {name!r} is not allowed for a data set")
    return names


def _stage(file: BinaryIO, members: Sequence[Member], staged: Path) -> None:
    """Copy the members into a folder of our own, under numbers, and compare sizes and digests."""
    for number, member in enumerate(members):
        name, size = _header(file)
        if (name, size) != (member.name, member.n_bytes):
            raise ValueError(f"it holds {name!r} of {size:,} bytes where {member.name!r} should be")
        state = xxhash.xxh3_128()
        target = staged / str(number)
        with target.open("wb") as out:
            for chunk in _chunks(file, size):
                state.update(chunk)
                try:
                    out.write(chunk)
                except OSError as error:
                    raise store_error(error, target, size) from error
        if state.hexdigest() != member.digest:
            raise ValueError(f"the content of {member.name!r} does not match its digest")
    if file.read(BLOCK).strip(b"\0"):
        raise ValueError("it holds more than it lists")


def _check(
    staged: Path,
    members: Sequence[Member],
    result: Imported,
    check_manifest: Callable[[str, Path], object],
    datasets: Mapping[str, str],
) -> list[tuple[FeatureKey, str, Path]]:
    """Check every key, shard and manifest; return (key, name, file) of each shard."""
    keys: dict[str, FeatureKey] = {}
    shards = []
    for number, member in enumerate(members):
        match, file = NAMES.fullmatch(member.name), staged / str(number)
        if match is None:
            raise ValueError(f"the name {member.name!r} is not allowed in a pack")
        if match["manifest"]:
            name = datasets.get(match["manifest"], match["manifest"])
            if name in result.manifests:
                raise ValueError(f"it has two manifests of the data set {name!r}")
            check_manifest(name, file)
            result.manifests[name] = read_file(file)
        elif match["shard"]:
            shards.append((match["key"], match["shard"], file))
        else:
            keys[match["key"]] = parse_key(read_file(file))
    for fingerprint, key in keys.items():
        if key.fingerprint != fingerprint:
            raise ValueError(f"the key {fingerprint} holds another key")
    for fingerprint, name, file in shards:
        if fingerprint not in keys:
            raise ValueError(f"it has no key for the shard {name}")
        try:
            check_shard(file, keys[fingerprint])
        except FeatcacheError as error:
            raise ValueError(
                str(error).replace(str(file), f"{name}{layout.SHARD_SUFFIX}")
            ) from error
    result.keys = list(keys.values())
    return [(keys[fingerprint], name, file) for fingerprint, name, file in shards]


def _add(
    store: FeatureStore, shards: Sequence[tuple[FeatureKey, str, Path]], result: Imported
) -> None:
    """Move checked shards into the store; what is there stays as it is."""
    for key, name, file in shards:
        with store.lock(key, name) as acquired:
            if not acquired:
                result.n_known += 1
                continue
            result.n_shards += 1
            result.n_bytes += file.stat().st_size
            with (
                atomic_file(store.shard(key, name), file.stat().st_size) as out,
                file.open("rb") as data,
            ):
                shutil.copyfileobj(data, out, CHUNK)


def _header(file: BinaryIO) -> tuple[str, int]:
    """Return name and size of the next member, which must be a plain file."""
    block = file.read(BLOCK)
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise ValueError(f"it is no pack, or cut off ({error})") from error
    if info.type != tarfile.REGTYPE or info.size < 0:
        raise ValueError(f"the member {info.name!r} is not a plain file")
    return info.name, info.size


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the bytes of a member and step over the padding behind it."""
    left = size
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise ValueError("it is cut off")
        left -= len(chunk)
        yield chunk
    file.seek(-size % BLOCK, os.SEEK_CUR)


def _bad(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} cannot be imported: {why}. The store is as it was; get the pack again."
    )
