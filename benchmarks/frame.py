"""What all benchmarks share: cases measured in turn, medians, a table, a JSON file.

Rates of different minutes on a shared machine cannot be compared. So the cases of one benchmark
take turns, every round gives one number for each, and what is printed is the median over rounds
of the ratio within a round.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Result:
    """One line of a table.

    Parameters
    ----------
    case : str
    value : float
        Median over the rounds.
    unit : str
    ratio : float or None
        Median of the ratios to the reference case within a round; more is better.
    against : str
        The reference case.
    target : float or None
        What the ratio should reach.
    """

    case: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""
    target: float | None = None


@dataclass
class Report:
    """All lines of a benchmark, with what they were measured on."""

    name: str
    about: str
    results: list[Result] = field(default_factory=list)
    rounds: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=lambda: machine())

    def show(self, folder: Path) -> None:
        """Print the table and write ``<folder>/<name>.json``."""
        print(f"\n{self.name}: {self.about}")
        width = max(len(result.case) for result in self.results)
        for r in self.results:
            ratio = f"{r.ratio:6.3f} x {r.against}" if r.ratio is not None else ""
            wanted = f"  (target {r.target:g})" if r.target is not None else ""
            print(f"  {r.case:<{width}}  {r.value:10.4g} {r.unit:<10} {ratio}{wanted}")
        for note in self.notes:
            print(f"  {note}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=2) + "\n")


def in_turn(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure the cases in turn, ``rounds`` times, after one round that does not count.

    Parameters
    ----------
    cases : mapping of str to callable
        Each does its work and returns its number: seconds, or items per second.
    """
    found: dict[str, list[float]] = {name: [] for name in cases}
    for i in range(rounds + 1):
        for name, case in cases.items():
            gc.collect()
            value = case()
            print(f"round {i} of {rounds}: {name} {value:.4g}", file=sys.stderr)
            if i:
                found[name].append(value)
    return found


def median_ratio(values: list[float], reference: list[float]) -> float:
    """Return the median over rounds of value / reference."""
    return statistics.median(a / b for a, b in zip(values, reference, strict=True))


def compare(
    report: Report,
    found: dict[str, list[float]],
    unit: str,
    against: str,
    *,
    less_is_better: bool = False,
    targets: Mapping[str, float] | None = None,
) -> None:
    """Add one line for each case, with its ratio to the reference case."""
    report.rounds |= found
    for case, values in found.items():
        ratio = median_ratio(values, found[against])
        if less_is_better:
            ratio = median_ratio(found[against], values)
        reference = case == against
        report.results.append(
            Result(case, statistics.median(values), unit, None if reference else ratio,
                   "" if reference else against, (targets or {}).get(case))
        )  # fmt: skip


def seconds(work: Callable[[], object]) -> float:
    """Return the wall-clock seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_mib() -> float:
    """Return the most memory that this process has had, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform == "linux" else peak / 1024**2


def machine() -> dict[str, Any]:
    """Return what the numbers depend on, without naming the machine."""
    from importlib.metadata import version

    packages = ("torch", "timm", "numpy", "pillow", "scikit-learn", "h5py")
    return {
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "processor": _processor(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def parser(about: str, rounds: int = 3) -> argparse.ArgumentParser:
    """Return the flags that all benchmarks have."""
    made = argparse.ArgumentParser(description=about)
    made.add_argument("--rounds", type=int, default=rounds, help="rounds that count")
    made.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder for JSON")
    return made
