"""Rate and memory over the number of images, and rate over the number of workers.

Files are read, checked, decoded and preprocessed as always; the network is small, so that a run
over 50,000 images is a matter of minutes and what grows with their number is not hidden behind
the forward pass. Each size runs in a process of its own; its peak of memory is the process's.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.data import make_jpegs
from benchmarks.frame import Report, Result, parser

SIZES = (2_000, 10_000, 50_000)
NETWORK = "timm:mobilenetv3_small_050#random0"
CHILD = """
import json, sys, time
from pathlib import Path
from benchmarks.frame import peak_mib
from featcache.backbones import resolve
from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.extract import ExtractOptions, extract
manifest, store, workers = sys.argv[1:]
data = Manifest.read(Path(manifest))
options = ExtractOptions(device="cpu", workers=int(workers))
(summary,) = extract(data, [resolve({name!r})], FeatureStore(store), options)
run = summary.run
print(json.dumps({{"rate": run.images_per_s, "work": run.images_per_s_at_work, "mib": peak_mib(),
                  "n": summary.n_forwarded}}))
"""


def run(manifest: Path, store: Path, workers: int = 0) -> dict[str, float]:
    """Extract in a process of its own; return its rate with and without start, peak of memory
    and number of images.
    """
    code = CHILD.format(name=NETWORK)
    command = [sys.executable, "-c", code, str(manifest), str(store), str(workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Measure over N and over workers."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments.add_argument("--workers", type=int, nargs="+", default=(1, 2))
    flags = arguments.parse_args()
    report = Report("scaling", f"{NETWORK}, JPEG files of 256 x 256")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = make_jpegs(folder / "images", max(flags.sizes), (256, 256))
        for n in flags.sizes:
            type(whole)(whole.samples[:n]).write(folder / f"{n}.csv")
        runs: dict[int, list[dict[str, float]]] = {n: [] for n in flags.sizes}
        for i in range(flags.rounds):  # in turn, as rates drift; the largest is long and runs once
            for n in [n for n in flags.sizes if not i or n < max(flags.sizes)]:
                runs[n].append(run(folder / f"{n}.csv", folder / f"store-{n}-{i}"))
        assert all(one["n"] == n for n, some in runs.items() for one in some)
        found = {
            n: {name: statistics.median(one[name] for one in some) for name in some[0]}
            for n, some in runs.items()
        }
        first = found[min(found)]
        for n, values in found.items():
            report.results += [
                Result(f"rate, {n:,} images", values["rate"], "images/s",
                       values["rate"] / first["rate"], "first"),
                Result(f"rate without start, {n:,} images", values["work"], "images/s",
                       values["work"] / first["work"], "first"),
                Result(f"peak memory, {n:,} images", values["mib"], "MiB",
                       values["mib"] / first["mib"], "first"),
            ]  # fmt: skip
        smallest = folder / f"{min(flags.sizes)}.csv"
        rates = {w: run(smallest, folder / f"w{w}", w)["rate"] for w in flags.workers}
        for workers, rate in rates.items():
            report.results.append(
                Result(f"rate, {workers} workers", rate, "images/s",
                       rate / rates[min(rates)], f"{min(rates)} worker")
            )  # fmt: skip
    report.show(flags.out)


if __name__ == "__main__":
    main()
