"""Flip single bits anywhere in shards: each is detected, or the features come back unchanged.

python benchmarks/bit_flips.py --flips 2000
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from featcache.cache import FeatureStore
from featcache.cache.testing import make_key, make_rows
from featcache.errors import StoreError


def main() -> int:
    """Print how many flips were detected, harmless and silent; exit code 1 where one was silent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts = {"detected": 0, "harmless": 0, "silent": 0}
    with tempfile.TemporaryDirectory() as folder:
        for number, indexed in enumerate(
            (True, False)
        ):  # known to the index, and met for the first time
            flip(Path(folder) / str(number), options.flips // 2, options.seed, indexed, counts)
    print(json.dumps(counts))
    return int(counts["silent"] > 0)


def flip(root: Path, n: int, seed: int, indexed: bool, counts: dict[str, int]) -> None:
    """Flip ``n`` bits, one at a time, and read through the store."""
    key, rng = make_key(), np.random.default_rng(seed)
    store = FeatureStore(root)
    path = store.write(key, "s", make_rows(16, d=8), {"torch": "2"})
    ids = sorted(store.samples(key))
    expected, status = store.read(key, ids), path.stat()
    good = path.read_bytes()
    for _ in range(n):
        bad = bytearray(good)
        bad[int(rng.integers(len(bad)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        if indexed:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        else:
            (path.parent / "index.safetensors").unlink(missing_ok=True)
        try:
            found = FeatureStore(root).read(key, ids)
        except StoreError:
            counts["detected"] += 1
        else:
            counts["harmless" if np.array_equal(found, expected) else "silent"] += 1


if __name__ == "__main__":
    sys.exit(main())
