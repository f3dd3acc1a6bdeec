"""Manifests of the sizes that exist: millions of files, thousands of generators with shared reals.

    python -m benchmarks.manifest --rows 2700000 --generators 4803 --reals 278000 --files 200000

Every command runs in a process of its own; CPU time and peak of memory are that process's, because
wall time depends on who else uses the machine. Features have two columns. ``--parts`` chooses among
load, probe, shared and scan. Files are removed at the end.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.frame import Report, Result, parser
from featcache.cache import FeatureStore
from featcache.cache.shard import Rows
from featcache.cache.testing import make_key
from featcache.datasets import Manifest
from featcache.datasets.columns import Column, IdTable, TextList, Texts, encode_arrow
from featcache.datasets.library import manifest_path
from featcache.datasets.sample import FIELDS, INTEGERS, OWN

N_GENERATORS, SHARD_ROWS = 19, 4096

LOAD = """
import sys
from pathlib import Path
from featcache.datasets import load_manifests, select
table = load_manifests(Path(sys.argv[1]))
part = select(table.usable(), generators=["g0003", "g0007"], max_per_class=50_000)
print(f"{len(table):,} rows, {len(part):,} chosen")
"""


def make_manifest(generator: np.ndarray, label: np.ndarray, shared: bool) -> Manifest:
    """Return samples with distinct ids and paths, one in three for testing."""
    import pyarrow as pa

    n = len(label)
    raw = np.random.default_rng(0).integers(0, 256, (n, 16), np.uint8)
    raw = raw[np.lexsort(raw.T[::-1])]
    names = [f"g{i:04}" for i in range(int(generator.max()) + 1)]
    split = (np.arange(n) % 3 == 0).astype(np.int32)
    parts = [f"/data/bench/{split}/{name}/1_fake/" for split in ("train", "test") for name in names]
    paths = pa.array((f"{parts[s * len(names) + g]}{i:012}.png"
                      for i, (s, g) in enumerate(zip(split.tolist(), generator.tolist(),
                                                     strict=True))), pa.large_string())  # fmt: skip
    codes = generator.astype(np.int32)
    paired = np.where((label == 0) & shared, len(names), codes).astype(np.int32)
    columns: dict[str, Column] = {
        **{name: Texts.constant("", n) for name in FIELDS if name not in INTEGERS},
        **{name: np.zeros(n, np.int8) for name in (*INTEGERS, OWN)},
        "dataset": Texts.constant("bench", n),
        "root": Texts.constant("/data/bench", n),
        "path": encode_arrow(paths),
        "label": label.astype(np.int8),
        "generator": Texts(np.where(label, codes, len(names)).astype(np.int32),
                           TextList([*names, "real"])),
        "paired_with": Texts(paired, TextList([*names, "*"])),
        "family": Texts((paired == len(names)).astype(np.int32), TextList(["other", ""])),
        "split": Texts(split, TextList(["train", "test"])),
        "sample_id": Texts(np.arange(n, dtype=np.int32), IdTable(raw)),
        "format": Texts.constant("PNG", n),
        "mode": Texts.constant("RGB", n),
        "width": np.full(n, 256, np.int16),
        "height": np.full(n, 256, np.int16),
        "n_bytes": np.random.default_rng(1).integers(90_000, 110_000, n).astype(np.int32),
        "layout": Texts.constant("tree", n),
        OWN: np.ones(n, np.int8),
    }  # fmt: skip
    return Manifest.of(columns)


def make_store(folder: Path, manifest: Manifest) -> None:
    """Write a manifest and features of two columns."""
    manifest.write(manifest_path(folder, "bench"))
    store, rng, key = FeatureStore(folder), np.random.default_rng(0), make_key(backbone="toy")
    ids, label = manifest.strings("sample_id"), manifest.labels
    for start in range(0, len(ids), SHARD_ROWS):
        part = slice(start, start + SHARD_ROWS)
        features = rng.standard_normal((len(ids[part]), 2), dtype=np.float32)
        features[:, 0] += label[part]
        store.write(key, f"{start:032x}", Rows(ids[part], features, {}), {})


def make_tree(root: Path, n: int) -> None:
    """Write small PNG files, each another one."""
    for i in range(n):
        folder = (
            root / ("train", "test")[i % 2] / f"g{i // 4 % 8}" / ("0_real", "1_fake")[i // 2 % 2]
        )
        if i < 64:
            folder.mkdir(parents=True, exist_ok=True)
        colour = (i & 255, i >> 8 & 255, i >> 16 & 255)
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
        (folder / f"{i}.png").write_bytes(buffer.getvalue())


def run(report: Report, case: str, arguments: list[str], targets: tuple[float, float]) -> None:
    """Run Python with arguments; add its CPU seconds and its peak of memory."""
    start = time.perf_counter()
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *arguments])
    _, status, used = os.wait4(child, 0)
    wall, cpu = time.perf_counter() - start, used.ru_utime + used.ru_stime
    peak = used.ru_maxrss / 1024
    report.results += [Result(f"{case}: CPU", cpu, "s", target=targets[0]),
                       Result(f"{case}: peak", peak, "MiB", target=targets[1])]  # fmt: skip
    print(f"{case}: exit {status}, {cpu:.1f} s CPU, {wall:.1f} s wall, {peak:.0f} MiB", flush=True)
    if status:
        report.notes.append(f"{case} ended with {os.waitstatus_to_exitcode(status)}.")


def main() -> None:
    """Build, run, print."""
    flags = parser(__doc__.splitlines()[0])
    flags.add_argument("--rows", type=int, default=2_700_000)
    flags.add_argument("--generators", type=int, default=4803)
    flags.add_argument("--reals", type=int, default=278_000)
    flags.add_argument("--fakes", type=int, default=12, help="of each of the generators")
    flags.add_argument("--files", type=int, default=200_000)
    flags.add_argument("--parts", default="load,probe,shared,scan")
    flags.add_argument("--folder", type=Path, help="where files are built")
    a = flags.parse_args()
    parts = a.parts.split(",")
    report = Report("manifest", f"{a.rows:,} rows; {a.generators:,} x {a.reals:,}; {a.files:,}")
    with tempfile.TemporaryDirectory(dir=a.folder) as folder:
        big, shared, tree = (Path(folder) / name for name in ("big", "shared", "tree"))
        if {"load", "probe"} & set(parts):
            rows = np.arange(a.rows)
            manifest = make_manifest(rows // 2 % N_GENERATORS, rows % 2, shared=False)
            if "probe" in parts:
                make_store(big, manifest)
            else:
                manifest.write(manifest_path(big, "bench"))
            del manifest
        if "load" in parts:
            run(report, "load and filter", ["-c", LOAD, str(big)], (3, 1024))
        if "probe" in parts:
            command = ["probe", "--features", "toy", "--cache", str(big)]
            run(report, "probe", ["-m", "featcache.cli", *command], (60, 2048))
        if "shared" in parts:
            n = a.generators * a.fakes
            generator = np.concatenate([np.arange(n) % a.generators, np.zeros(a.reals, int)])
            label = np.concatenate([np.ones(n, int), np.zeros(a.reals, int)])
            make_store(shared, make_manifest(generator, label, shared=True))
            for case, words in {
                "ls": ["datasets", "ls"],
                "audit": ["datasets", "audit", "--files-only"],
                "probe of 500 a class": ["probe", "--features", "toy", "--max-per-class", "500"],
            }.items():
                command = [*words, "--cache", str(shared), "--json"]
                with (Path(folder) / "out").open("wb") as file:
                    kept = os.dup(1)
                    os.dup2(file.fileno(), 1)
                    try:
                        run(report, f"{case}, shared reals", ["-m", "featcache.cli", *command],
                            (60, 4096))  # fmt: skip
                    finally:
                        os.dup2(kept, 1)
                        os.close(kept)
        if "scan" in parts:
            make_tree(tree, a.files)
            for case, target in (("scan", 60), ("second scan", 10)):
                command = ["datasets", "scan", str(tree), "--cache", str(Path(folder) / "s"), "-q"]
                run(report, case, ["-m", "featcache.cli", *command], (target, 4096))
    report.show(a.out)


if __name__ == "__main__":
    main()
