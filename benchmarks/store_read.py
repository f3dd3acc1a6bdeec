"""How fast verified features are read, against reading the same bytes with read(): one run, one
ratio.

    python benchmarks/store_read.py

Both read the same files (warm page cache) into memory that is there already; ``read_bytes`` and
the whole ``FeatureStore.read`` with fresh memory stand beside it. Rounds alternate; the best of
each counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from featcache.cache import FeatureStore
from featcache.cache.index import list_shards
from featcache.cache.testing import make_key, make_rows

GOAL = 0.8


def main() -> int:
    """Print rates and the ratio as JSON; exit code 1 below the goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, key = FeatureStore(folder), make_key()
        for i in range(options.shards):
            rows = make_rows(options.rows, options.features, start=i * options.rows)
            store.write(key, f"s{i:04d}", rows, {})
        index = store.index(key)
        ids = [name.decode() for entry in index.entries for name in entry.ids.tolist()]
        paths = [store.folder(key) / name for name, _, _ in sorted(list_shards(store.folder(key)))]
        best = race(paths, store, ids, options.rounds)
    n_bytes = sum(entry.header.features.n_bytes for entry in index.entries)
    rates = {name: n_bytes / 1e9 / seconds for name, seconds in best.items()}
    ratio = rates["verified read"] / rates["read()"]
    whole = rates["FeatureStore.read, fresh memory"] / rates["read_bytes, fresh memory"]
    print(json.dumps({"GB_per_s": rates, "ratio": ratio, "ratio_fresh_memory": whole}, indent=2))
    return int(ratio < GOAL)


def race(paths: list[Path], store: FeatureStore, ids: list[str], rounds: int) -> dict[str, float]:
    """Return the least seconds of each way to read all shards."""
    key = make_key()
    sizes = [path.stat().st_size for path in paths]
    buffer = memoryview(np.ones(sum(sizes), np.uint8))  # touched, as the other memory is
    reader = store.reader(key, ids)
    out = np.ones((len(ids), reader.n_features), np.float32)

    def plain() -> None:
        start = 0
        for path, size in zip(paths, sizes, strict=True):
            with open(path, "rb", buffering=0) as file:
                start += file.readinto(buffer[start : start + size])

    def verified() -> None:
        reader.forget()
        reader.read(slice(0, len(ids)), out)

    ways: dict[str, Callable[[], object]] = {
        "read()": plain,
        "verified read": verified,
        "read_bytes, fresh memory": lambda: [path.read_bytes() for path in paths],
        "FeatureStore.read, fresh memory": lambda: store.read(key, ids),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    sys.exit(main())
