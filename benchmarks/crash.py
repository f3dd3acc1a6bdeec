"""Kill extract with SIGKILL at random instants, and let several writers share a store; say what was
lost.

    python benchmarks/crash.py --kills 200
    python benchmarks/crash.py --kills 0 --writers 2,4,8

After every resumed run the shards must be those of an uninterrupted run, byte by byte. Images
forwarded are counted in a file by the processes themselves, so that killed ones count too. This
process loads torch once and forks, so that a kill costs a fraction of a second.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from featcache.backbones import BackboneSpec, resolve
from featcache.cache import FeatureStore, maintenance
from featcache.datasets import Manifest, ScanOptions, scan_into
from featcache.extract import ExtractOptions, extract, forward
from featcache.testing import make_tree

OPTIONS = ExtractOptions(device="cpu", shard_rows=32, batch_size=4, workers=1)


class Net(torch.nn.Module):
    """A linear map of mean colours: cheap, and different for different images."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of a batch."""
        return torch.tanh(images.mean(dim=(2, 3)) @ self.weight.T)


def tiny(folder: Path) -> BackboneSpec:
    """Return a backbone whose weights are a small file."""
    path = folder / "tiny.safetensors"
    save_file({"weight": torch.randn(16, 3, generator=torch.Generator().manual_seed(1))}, path)
    return replace(
        resolve("efficientnet-lite0"),
        name="tiny",
        architecture="test:tiny",
        network="tiny",
        n_features=16,
        find_weights=lambda: path,
        build=lambda path: Net(load_file(path)["weight"]),
    )


class Harness:
    """A data set, a backbone, and the bytes of an uninterrupted run.

    Parameters
    ----------
    folder : Path
    n_images : int
    """

    def __init__(self, folder: Path, n_images: int) -> None:
        self.folder = folder
        root = make_tree(folder / "toy", n=n_images // 8)
        self.manifest: Manifest = scan_into(folder / "scan", root, ScanOptions()).manifest
        self.spec = tiny(folder)
        self.n_images = len({sample.sample_id for sample in self.manifest})
        start = time.perf_counter()
        if self.wait(self.start("whole")):
            raise SystemExit("extract fails without a kill")
        self.seconds = time.perf_counter() - start
        self.good = self.shards("whole")

    def start(self, store: str) -> int:
        """Fork a process that extracts into a store, and return its number."""
        if pid := os.fork():
            return pid
        code = 1
        try:
            self._work(self.folder / store)
            code = 0
        except BaseException:  # noqa: BLE001 - this process ends here
            traceback.print_exc()
        finally:
            os._exit(code)

    def _work(self, store: Path) -> None:
        log = os.open(f"{store}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        begin = forward.Networks.start

        def counted(self: Any, samples: Any, *arguments: Any) -> Any:
            os.write(log, b"x" * sum(sample.path != "" for sample in samples))
            return begin(self, samples, *arguments)

        forward.Networks.start = counted  # type: ignore[method-assign]
        extract(self.manifest, [self.spec], FeatureStore(store), OPTIONS)

    def wait(self, pid: int) -> int:
        """Return how a process ended: 0, or minus the signal."""
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def shards(self, store: str) -> dict[str, bytes]:
        """Return the bytes of all shards by name."""
        root = self.folder / store
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*.h5"))}

    def forwarded(self, store: str) -> int:
        """Return how many images went through the network."""
        return (self.folder / f"{store}.log").stat().st_size

    def litter(self, store: str) -> list[str]:
        """Return claims and temporary files that are left when garbage has been collected."""
        opened = FeatureStore(self.folder / store)
        maintenance.remove(maintenance.find_unused(opened))
        root = opened.root
        return [str(p) for p in root.rglob("*") if ".tmp-" in p.name or p.suffix == ".claim"]


def kill_runs(harness: Harness, n_kills: int, rng: random.Random) -> dict[str, Any]:
    """Kill and resume until ``n_kills`` processes were killed; return what that cost."""
    kills = runs = extra = wrong = litter = beyond = 0
    while kills < n_kills:
        name, mine = f"torn{runs}", 0
        while True:
            pid = harness.start(name)
            if kills < n_kills:
                time.sleep(rng.uniform(0, harness.seconds))
                os.kill(pid, signal.SIGKILL)
            code = harness.wait(pid)
            if code > 0:
                raise SystemExit("extract failed of itself: nothing is proved")
            killed = code == -signal.SIGKILL
            kills, mine = kills + killed, mine + killed
            if not killed:
                break
        lost = harness.forwarded(name) - harness.n_images
        extra, beyond = extra + lost, beyond + (lost > mine * OPTIONS.shard_rows)
        wrong += harness.shards(name) != harness.good
        litter += len(harness.litter(name))
        runs += 1
    return {
        "kills": kills,
        "runs": runs,
        "runs_with_other_bytes": wrong,
        "n_images": harness.n_images,
        "shard_rows": OPTIONS.shard_rows,
        "forwarded_again_per_kill": extra / max(kills, 1),
        "runs_beyond_one_shard_per_kill": beyond,
        "litter": litter,
    }


def writer_runs(harness: Harness, n_writers: int) -> dict[str, Any]:
    """Let several processes fill one store; return whether anything was done twice."""
    name = f"writers{n_writers}"
    codes = [harness.wait(pid) for pid in [harness.start(name) for _ in range(n_writers)]]
    return {
        "writers": n_writers,
        "failed": sum(code != 0 for code in codes),
        "same_bytes": harness.shards(name) == harness.good,
        "forwarded_twice": harness.forwarded(name) - harness.n_images,
        "litter": len(harness.litter(name)),
    }


def main() -> int:
    """Run the harness and print its findings as JSON; exit code 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--writers", default="2,4,8")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # fork: no threads run yet
    logging.getLogger("featcache").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    Image.init()
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(Path(folder), options.images)
        kills = kill_runs(harness, options.kills, random.Random(options.seed))
        writers = [writer_runs(harness, int(n)) for n in options.writers.split(",") if n]
    print(json.dumps({"kills": kills, "writers": writers}, indent=2))
    broken = kills["runs_with_other_bytes"] or kills["litter"]
    broken = broken or kills["runs_beyond_one_shard_per_kill"]
    for run in writers:
        broken = broken or run["failed"] or not run["same_bytes"] or run["forwarded_twice"]
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
