"""A probe of the paper's size, from start to table, on a synthetic store built on the spot.

    python -m benchmarks.real_size --rows 720000 --columns 512,768 --test-rows 95000

The command runs in a process of its own: wall, CPU and peak of memory are that process's. Columns
share latent causes; labels follow some of them. Files are removed at the end.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from featcache.cache import FeatureStore
from featcache.cache.shard import Rows
from featcache.cache.testing import make_key
from featcache.datasets import Manifest, Sample

N_GENERATORS, N_LATENT, SHARD_ROWS = 19, 64, 4096


def make_store(root: Path, n_train: int, n_test: int, widths: list[int]) -> list[str]:
    """Write a manifest and the features of its samples; return the names of the features."""
    n, names = n_train + n_test, [f"toy{b}" for b in range(len(widths))]
    samples = []
    for i in range(n):
        label, name = i % 2, f"g{(i // 2) % N_GENERATORS:02d}"
        samples.append(Sample(
            dataset="bench", root="/bench", path=f"/bench/{i}.png", label=label,
            generator=name if label else "real", paired_with=name, family="GAN",
            split="train" if i < n_train else "test", source=f"{i:032x}", sample_id=f"{i:032x}",
        ))  # fmt: skip
    (root / "manifests").mkdir(parents=True)
    Manifest(tuple(samples)).write(root / "manifests" / "bench.csv")
    store, rng = FeatureStore(root), np.random.default_rng(0)
    mixes = [rng.standard_normal((N_LATENT, w), dtype=np.float32) / 8 for w in widths]
    keys = [make_key(backbone=name) for name in names]
    for start in range(0, n, SHARD_ROWS):
        here = np.arange(start, min(start + SHARD_ROWS, n))
        latent = rng.standard_normal((len(here), N_LATENT), dtype=np.float32)
        latent[:, :8] += 0.7 * (2 * (here % 2) - 1)[:, None]
        ids = [f"{i:032x}" for i in here]
        for key, mix in zip(keys, mixes, strict=True):
            noise = rng.standard_normal((len(here), mix.shape[1]), dtype=np.float32)
            store.write(key, f"{start:032x}", Rows(ids, latent @ mix + noise + 1), {})
    return names


def main() -> None:
    """Build, probe, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=720_000)
    parser.add_argument("--test-rows", type=int, default=95_000)
    parser.add_argument("--columns", default="512,768")
    parser.add_argument("--folder", type=Path, help="where the store is built")
    a = parser.parse_args()
    widths = [int(text) for text in a.columns.split(",")]
    with tempfile.TemporaryDirectory(dir=a.folder) as folder:
        root = Path(folder)
        names = make_store(root, a.rows, a.test_rows, widths)
        command = ["-m", "featcache.cli", "probe", "--features", ",".join(names), "--cache", folder]
        start = time.perf_counter()
        child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *command])
        _, status, used = os.wait4(child, 0)
        wall = time.perf_counter() - start
        features = 4 * (a.rows + a.test_rows) * sum(widths) / 2**20
        print(f"exit {status}: {wall:.1f} s wall, {used.ru_utime + used.ru_stime:.1f} s CPU,")
        print(f"peak {used.ru_maxrss / 1024:.0f} MiB, features {features:.0f} MiB")


if __name__ == "__main__":
    main()
