"""The parts around the forward pass: shards against raw files, decoding in threads and
processes, start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.data import LITE, make_jpegs
from benchmarks.frame import Report, compare, in_turn, parser, seconds


def shards(rounds: int, folder: Path) -> Report:
    """Write and read a shard of 4,096 x 768, and the same bytes as a plain file that is flushed
    too.
    """
    from featcache.backbones import resolve
    from featcache.cache import FeatureStore, Rows
    from featcache.extract import ExtractOptions, make_requests

    (request,) = make_requests([resolve(LITE)], ExtractOptions(device="cpu"))
    features = np.random.default_rng(0).standard_normal((4096, 768)).astype(np.float32)
    ids = [f"{i:032x}" for i in range(4096)]
    raw = folder / "raw"
    stores = iter(range(10_000))

    def write() -> None:
        store = FeatureStore(folder / f"s{next(stores)}")
        store.write(request.key, "0" * 32, Rows(ids, features), {})

    def write_raw() -> None:
        with raw.open("wb") as file:
            file.write(features.tobytes())
            file.flush()
            os.fsync(file.fileno())

    kept = FeatureStore(folder / "kept")
    kept.write(request.key, "0" * 32, Rows(ids, features), {})
    cases = {
        "raw write": lambda: seconds(write_raw),
        "shard write": lambda: seconds(write),
        "raw read": lambda: seconds(lambda: np.fromfile(raw, np.float32)),
        "shard read": lambda: seconds(lambda: FeatureStore(kept.root).read(request.key, ids)),
    }
    found = in_turn(cases, max(rounds, 5))
    report = Report(
        "shards", "4,096 rows of 768 float32 (12.6 MB), cache warm, read with its digest checked"
    )
    for kind in ("write", "read"):
        pair = {name: values for name, values in found.items() if name.endswith(kind)}
        compare(report, pair, "s", f"raw {kind}", less_is_better=True)
    return report


def _decode(path: str) -> int:
    """Do what a lane does before the forward pass."""
    from featcache.backbones.preprocess import center_crop
    from featcache.images import decode

    return int(np.asarray(center_crop(decode(Path(path).read_bytes()), 224)).sum())


def decoding(rounds: int, folder: Path) -> Report:
    """Decode in one thread, in threads, in processes."""
    cores = len(os.sched_getaffinity(0))
    paths = [sample.path for sample in make_jpegs(folder / "jpegs", 256)]

    def through(pool: Executor, chunk: int) -> float:
        return len(paths) / seconds(lambda: list(pool.map(_decode, paths, chunksize=chunk)))

    with (
        ThreadPoolExecutor(cores) as threads,
        ProcessPoolExecutor(cores, mp_context=get_context("forkserver")) as processes,
    ):
        cases = {
            "one thread": lambda: len(paths) / seconds(lambda: list(map(_decode, paths))),
            f"{cores} threads": partial(through, threads, 1),
            f"{cores} processes": partial(through, processes, 8),
        }
        found = in_turn(cases, rounds)
    report = Report("decoding", "256 JPEG files of 500 x 375, centre crop")
    compare(report, found, "images/s", "one thread")
    return report


def start(rounds: int, folder: Path) -> Report:
    """Start the command line, and Python alone."""
    python, program = [sys.executable, "-c", "pass"], [sys.executable, "-m", "featcache.cli"]

    def run(*command: str) -> float:
        return seconds(lambda: subprocess.run(command, check=True, capture_output=True))

    cases = {
        "python": partial(run, *python),
        "featcache --version": partial(run, *program, "--version"),
        "featcache --help": partial(run, *program, "--help"),
        "featcache cache ls": partial(
            run, *program, "cache", "ls", "--cache", str(folder / "none")
        ),
    }
    report = Report(
        "start", "a process from its start to its end; --help should take less than 0.5 s"
    )
    compare(report, in_turn(cases, max(rounds, 5)), "s", "python", less_is_better=True)
    return report


def main() -> None:
    """Measure all parts, or those that are named."""
    parts = {"shards": shards, "decoding": decoding, "start": start}
    arguments = parser(__doc__ or "")
    arguments.add_argument(
        "names", nargs="*", choices=[*parts, []], help="parts; all of them if none"
    )
    flags = arguments.parse_args()
    for name in flags.names or parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[name](flags.rounds, Path(folder)).show(flags.out)


if __name__ == "__main__":
    main()
