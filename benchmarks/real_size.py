"""Probe and ablation of the paper's size, from start to table, beside scikit-learn.

    python -m benchmarks.real_size --rows 720000 --columns 1280 --test-rows 95000
    python -m benchmarks.real_size --case ablate --columns 768,768,768 --memory 2G

A synthetic store is built on the spot and removed at the end. Columns share latent causes of
falling strength, as in ``benchmarks.probing``; labels follow some of them. Every measurement runs
in a process of its own: wall time, CPU time and peak of memory are that process's.

*probe*: the command, from start to table. ``LogisticRegression`` (lbfgs) and ``SGDClassifier`` get
the same training rows, standardised, as float32; their fits alone are timed. lbfgs counts at the
loosest tolerance that reaches the probe's objective to 1e-6. Objectives are computed anew in
float64, for both on the same rows.

*ablate*: every subset of the features at seven values of C, in memory and with ``--memory``:
the ratio of times, and the largest difference of an objective and of an mAP.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureStore
from featcache.cache.shard import Rows
from featcache.cache.testing import make_key
from featcache.datasets import Manifest, Sample

N_GENERATORS, N_LATENT, SHARD_ROWS = 19, 400, 4096
STRENGTH = np.arange(1, N_LATENT + 1, dtype=np.float32) ** -0.4
GRID = "1e-4,1e-3,1e-2,1e-1,1,10,100"
PEERS = ("lbfgs", "sgd")
TOLS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
EQUAL = 1e-6
"""Share that an objective may be above the probe's and count as equal."""


@dataclass(frozen=True)
class Run:
    """What one process took, and what it printed."""

    wall: float
    cpu: float
    peak_mib: float
    out: Any

    def __str__(self) -> str:
        return f"{self.wall:8.1f} s wall {self.cpu:8.1f} s CPU {self.peak_mib:8.0f} MiB peak"


def make_store(
    root: Path, n_train: int, n_test: int, widths: list[int], n_trained: int = 1
) -> list[str]:
    """Write a manifest and the features of its samples; return the names of the features."""
    n, names = n_train + n_test, [f"toy{b}" for b in range(len(widths))]
    samples = []
    for i in range(n):
        n_generators = n_trained if i < n_train else N_GENERATORS
        label, name = i % 2, f"g{(i // 2) % n_generators:02d}"
        samples.append(Sample(
            dataset="bench", root="/bench", path=f"/bench/{i}.png", label=label,
            generator=name if label else "real", paired_with=name, family="GAN",
            split="train" if i < n_train else "test", source=f"{i:032x}", sample_id=f"{i:032x}",
        ))  # fmt: skip
    (root / "manifests").mkdir(parents=True)
    Manifest(tuple(samples)).write(root / "manifests" / "bench.csv")
    store, rng = FeatureStore(root), np.random.default_rng(0)
    mixes = [rng.standard_normal((N_LATENT, w), dtype=np.float32) for w in widths]
    noise_of = 0.15 * float(np.sqrt((STRENGTH**2).sum()))
    keys = [make_key(backbone=name) for name in names]
    for start in range(0, n, SHARD_ROWS):
        here = np.arange(start, min(start + SHARD_ROWS, n))
        latent = rng.standard_normal((len(here), N_LATENT), dtype=np.float32)
        latent[:, :8] += 0.7 * (2 * (here % 2) - 1)[:, None]
        latent *= STRENGTH
        ids = [f"{i:032x}" for i in here]
        for key, mix in zip(keys, mixes, strict=True):
            noise = rng.standard_normal((len(here), mix.shape[1]), dtype=np.float32)
            store.write(key, f"{start:032x}", Rows(ids, latent @ mix + noise_of * noise + 1), {})
    return names


def measure(command: list[str], folder: Path) -> Run:
    """Run Python with these arguments; its standard output is one JSON document."""
    with (folder / "stdout.json").open("w+b") as file:
        start = time.perf_counter()
        child = subprocess.Popen([sys.executable, *command], stdout=file)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{' '.join(command)} ended with {child.returncode}")
        file.seek(0)
        return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, json.load(file))


def print_forecast(command: list[str], folder: Path) -> None:
    """Print what the command says of itself before it runs."""
    forecast = measure([*command, "--dry-run"], folder)
    (plan,) = forecast.out["solves"]
    print(
        f"forecast {plan['seconds']:8.1f} s, {plan['memory'] / 2**20:.0f} MiB to fit"
        f"{', streamed' if plan['streamed'] else ''}; it took {forecast.wall:.1f} s"
    )


def read_standardised(root: Path, names: list[str], n: int) -> tuple[np.ndarray, ...]:
    """Return features of the first n samples at mean 0 and deviation 1, labels, and both moments.

    Pieces keep the peak of memory near the size of the features.
    """
    store = FeatureStore(root)
    x = store.read([store.find(name) for name in names], [f"{i:032x}" for i in range(n)])
    pieces = np.array_split(x, max(n // 8192, 1))
    mean = sum(piece.sum(axis=0, dtype=np.float64) for piece in pieces) / n
    variance = sum(((piece - mean) ** 2).sum(axis=0) for piece in pieces) / n
    deviation = np.sqrt(variance)
    for piece in pieces:
        piece -= mean.astype(np.float32)
        piece /= deviation.astype(np.float32)
    return x, np.arange(n) % 2, mean, deviation


def objective(x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: float, C: float) -> float:
    """Return scikit-learn's objective, ½‖w‖² + C Σ log(1 + exp(-(2y - 1) z)), in float64."""
    logit = np.concatenate(
        [piece.astype(np.float64) @ weight for piece in np.array_split(x, max(len(x) // 8192, 1))]
    )
    signed = (2 * y - 1) * (logit + bias)
    return float(0.5 * weight @ weight + C * np.logaddexp(0.0, -signed).sum())


def fit_peer(name: str, root: Path, names: list[str], n: int, C: float, head: Path) -> None:
    """Fit a head of scikit-learn on the training rows; print its seconds and both objectives."""
    from sklearn.linear_model import LogisticRegression, SGDClassifier

    from featcache.probes import load_head

    x, y, mean, deviation = read_standardised(root, names, n)
    ours = load_head(head)
    weight, bias = ours.weight * deviation, float(ours.bias + ours.weight @ mean)
    value = objective(x, y, weight, bias, C)
    warnings.simplefilter("ignore")  # a tolerance that is not reached shows in the objective
    fits = []
    for tol in TOLS:
        model: Any = LogisticRegression(C=C, tol=tol, max_iter=10_000)
        if name == "sgd":
            model = SGDClassifier(loss="log_loss", alpha=1 / (C * n), random_state=0)
        start = time.perf_counter()
        model.fit(x, y)
        seconds = time.perf_counter() - start
        coef, intercept = model.coef_[0].astype(np.float64), float(model.intercept_[0])
        excess = objective(x, y, coef, intercept, C) / value - 1
        fits.append({"tol": tol, "seconds": seconds, "excess": excess, "n_iter": _n_iter(model)})
        if name == "sgd" or excess <= EQUAL:
            break
    print(json.dumps({"ours": value, "fits": fits}))


def _n_iter(model: Any) -> int:
    return int(np.max(model.n_iter_))


def probe_case(root: Path, names: list[str], a: argparse.Namespace) -> None:
    """Measure the command and the peers, and print the ratios."""
    command = ["-m", "featcache.cli", "probe", "--features", ",".join(names), "--cache", str(root)]
    command += ["--C", str(a.C), "--json", *_memory(a.memory)]
    print_forecast(command, root)
    ours = measure(command, root)
    certificate = ours.out["certificate"]
    print(f"featcache probe       {ours}")
    print(
        f"  objective {certificate['objective']:.9g} after {certificate['n_iter']} iterations,"
        f" proven gap {certificate['gap']:.1e}; mAP {ours.out['mAP']:.4f}"
    )
    head = root / "results" / ours.out["digest"] / "head.safetensors"
    for peer in a.peers.split(",") if a.peers else ():
        flags = [f"--rows={a.rows}", f"--C={a.C}", f"--child={peer}", f"--store={root}"]
        theirs = measure(
            ["-m", "benchmarks.real_size", *flags, f"--names={','.join(names)}", f"--head={head}"],
            root,
        )
        for fit in theirs.out["fits"]:
            print(
                f"scikit-learn {peer:<8} {fit['seconds']:8.1f} s: the fit alone,"
                f" tol {fit['tol']:g}, {fit['n_iter']} iterations;"
                f" {fit['seconds'] / ours.wall:.2f} x the whole probe,"
                f" objective {fit['excess']:+.1e}"
            )
        print(
            f"  peak {theirs.peak_mib:.0f} MiB; our objective on its rows {theirs.out['ours']:.9g}"
        )


def ablate_case(root: Path, names: list[str], a: argparse.Namespace) -> None:
    """Measure the command in memory and with a limit, and compare the answers."""
    command = ["-m", "featcache.cli", "ablate", "--features", ",".join(names), "--C", GRID]
    runs = {}
    for memory in ("", a.memory or "2G"):
        # Results are kept apart: a result that was saved would be read instead.
        results = root / f"results{memory or 'all'}"
        flags = ["--cache", str(root), "--results", str(results), "--json", *_memory(memory)]
        print_forecast([*command, *flags], root)
        runs[memory] = measure([*command, *flags], root)
        print(f"featcache ablate {memory and f'--memory {memory}':<12} {runs[memory]}")
    whole, limited = runs.values()
    pairs = list(zip(_points(whole.out), _points(limited.out), strict=True))
    worst = max(abs(b["objective"] / a["objective"] - 1) for a, b in pairs)
    mAP = max(
        abs(values["mAP"] - other["by_C"][C]["mAP"])
        for row, other in zip(_sorted_rows(whole.out), _sorted_rows(limited.out), strict=True)
        for C, values in row["by_C"].items()
    )
    print(
        f"  with the limit {limited.wall / whole.wall:.2f} x the time,"
        f" {limited.cpu / whole.cpu:.2f} x the CPU; objectives differ by {worst:.1e}, mAP by"
        f" {mAP:.1e}; largest proven gap"
        f" {max(a['gap'] for pair in pairs for a in pair):.1e}"
    )


def _sorted_rows(result: Any) -> list[Any]:
    return sorted(result["rows"], key=lambda row: row["features"])


def _points(result: Any) -> list[Any]:
    """Return the certificate of every head: of each C where C was chosen, else of the row."""
    return [
        point["certificate"]
        for row in _sorted_rows(result)
        for point in ((row["selection"] or {}).get("path") or [row])
    ]


def _memory(memory: str) -> list[str]:
    return ["--memory", memory] if memory else []


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=["probe", "ablate"], default="probe")
    parser.add_argument("--rows", type=int, default=720_000)
    parser.add_argument("--test-rows", type=int, default=95_000)
    parser.add_argument("--columns", default="1280", help="of each feature, with commas")
    parser.add_argument("--train-generators", type=int, default=1,
                        help="1 as in the paper: folds by source; else one for each")  # fmt: skip
    parser.add_argument("--C", type=float, default=1.0)
    parser.add_argument("--memory", default="", help="of the command, e.g. 2G")
    parser.add_argument("--peers", default=",".join(PEERS), help="none if empty")
    parser.add_argument("--folder", type=Path, help="where the store is built")
    for name in ("child", "store", "names", "head"):  # of the processes that fit a peer
        parser.add_argument(f"--{name}", default="", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        fit_peer(a.child, Path(a.store), a.names.split(","), a.rows, a.C, Path(a.head))
        return
    widths = [int(text) for text in a.columns.split(",")]
    with tempfile.TemporaryDirectory(dir=a.folder) as folder:
        root = Path(folder)
        names = make_store(root, a.rows, a.test_rows, widths, a.train_generators)
        features = 4 * (a.rows + a.test_rows) * sum(widths) / 2**20
        print(f"{a.rows:,} + {a.test_rows:,} rows of {a.columns}: features {features:.0f} MiB")
        (probe_case if a.case == "probe" else ablate_case)(root, names, a)


if __name__ == "__main__":
    main()
