"""Coverage-guided fuzzing of everything that reads files from anybody: only featcache's errors may
come out.

    pip install atheris
    python benchmarks/fuzz_readers.py -max_total_time=60

The first byte picks the reader: shard, pack, key, manifest, head or image. A shard that is read
must be the one that was written. Arguments are libFuzzer's.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["featcache"]):
    from featcache.cache import FeatureStore
    from featcache.cache.keys import parse_key
    from featcache.cache.pack import import_pack
    from featcache.cache.shard import read_shard
    from featcache.cache.testing import make_key, make_rows
    from featcache.datasets import Manifest
    from featcache.errors import FeatcacheError
    from featcache.images import decode
    from featcache.probes.saved_head import load_head

FOLDER = Path(tempfile.mkdtemp())
STORE = FeatureStore(FOLDER / "store")
GOOD = STORE.write(make_key(), "good", make_rows(4), {"torch": "2"}).read_bytes()


def shard(data: bytes) -> None:
    """Overlay the bytes on a good shard, at a place that their beginning names."""
    at = int.from_bytes(data[:2], "little") % len(GOOD)
    raw = GOOD[:at] + data[2:] + GOOD[at + len(data[2:]) :]
    path = FOLDER / "shard.h5"
    path.write_bytes(raw)
    found = read_shard(path, make_key())
    if found.ids != make_rows(4).ids or (found.features != make_rows(4).features).any():
        raise AssertionError("a changed shard was read")


def key(data: bytes) -> None:
    """Parse a key; plain ValueError and TypeError are its way to say no."""
    try:
        parse_key(data)
    except (ValueError, TypeError):
        return


def by_path(read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """Return a reader of bytes from a reader of files."""

    def run(data: bytes) -> None:
        path = FOLDER / "file"
        path.write_bytes(data)
        read(path)

    return run


READERS: list[Callable[[bytes], object]] = [
    shard,
    by_path(lambda path: import_pack(STORE, path, lambda name, file: Manifest.read(file))),
    key,
    by_path(Manifest.read),
    by_path(load_head),
    decode,
]


def one_input(data: bytes) -> None:
    """Feed one input to one reader."""
    if data:
        try:
            READERS[data[0] % len(READERS)](data[1:])
        except FeatcacheError:
            return


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
