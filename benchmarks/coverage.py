"""Do 95 % intervals hold the truth in 95 of 100 test sets, and do null comparisons find 5 in 100?

Run as ``python -m benchmarks.coverage [--trials N]``. Scores are normal; a source's samples are
correlated by .5. Designs: ``iid``; ``cluster``, where a source gives samples of one class; and
``paired``, where it gives reals and fakes alike.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

from featcache.metrics import (
    Resamples,
    SortedScores,
    bootstrap,
    difference_ci,
    effective_sources,
    point_metrics,
    score_ci,
)

DESIGNS = ("iid", "cluster", "paired")
METRICS = ("ap", "auroc", "acc")
CORRELATION = 0.5
RESAMPLES = 400


def true_value(metric: str, shift: float) -> float:
    """Return the metric of N(0, 1) reals and N(shift, 1) fakes, cut at the middle."""
    if metric == "auroc":
        return float(norm.cdf(shift / np.sqrt(2)))
    if metric == "acc":
        return float(norm.cdf(shift / 2))

    def precision_density(score: float) -> float:
        caught = norm.sf(score, shift)
        return float(norm.pdf(score, shift) * caught / (caught + norm.sf(score)))

    return float(quad(precision_density, -8, shift + 8, limit=400, points=[0, shift])[0])


@cache
def shift_for(metric: str, value: float) -> float:
    """Return the shift of the fakes at which the metric has a value."""
    return float(brentq(lambda shift: true_value(metric, shift) - value, 0, 8))


def simulate(
    rng: np.random.Generator, design: str, n: int, shift: float, heads: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.intp], list[NDArray[np.float64]]]:
    """Return labels, sources and the scores of equally good heads, n sources in each class."""
    sizes = np.ones(n, int) if design == "iid" else 1 + rng.poisson(2, n)
    if design == "paired":
        real = np.repeat(np.arange(n), sizes)
        source, y = np.r_[real, real], np.repeat([0, 1], len(real))
    else:
        other = np.ones(n, int) if design == "iid" else 1 + rng.poisson(2, n)
        source = np.repeat(np.arange(2 * n), np.r_[sizes, other])
        y = (source >= n).astype(np.int64)
    share = 0.0 if design == "iid" else CORRELATION
    common = np.sqrt(share) * rng.normal(size=2 * n)[source]
    scores = []
    for _ in range(heads):
        own = np.sqrt(1 - share) * rng.normal(size=len(y))
        scores.append(common + own + shift * (y - 0.5))
    return y, source, scores


def one(design: str, n: int, shift: float, seed: int, heads: int) -> dict[str, Any]:
    """Return intervals (one head) or differences (two heads) of one simulated test set."""
    rng = np.random.default_rng((DESIGNS.index(design), n, int(shift * 1000), seed))
    y, source, scores = simulate(rng, design, n, shift, heads)
    roles = np.zeros(source.max() + 1, np.int64)
    np.bitwise_or.at(roles, source, 1 << y)
    n_sources = effective_sources(source, y)
    resamples = Resamples(roles, RESAMPLES, seed)
    parts = []
    for score in scores:
        item = SortedScores.of(y, score, 0.0)
        values = point_metrics(item, METRICS)
        parts.append((values, bootstrap({"g": item}, {"g": source}, resamples, METRICS)["g"]))
    if heads == 1:
        return {m: score_ci(m, parts[0][0][m], parts[0][1][m], n_sources) for m in METRICS}
    return {
        m: difference_ci(
            parts[0][0][m] - parts[1][0][m], parts[0][1][m] - parts[1][1][m], n_sources
        )
        for m in METRICS
    }


def run(trials: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each design, size and quality."""
    for design in DESIGNS:
        for n in (30, 100):
            for metric in METRICS:
                for value in (0.75, 0.99, 0.999):
                    shift = shift_for(metric, value)
                    cover, null = (
                        joblib.Parallel(n_jobs=-1)(
                            joblib.delayed(one)(design, n, shift, seed, heads)
                            for seed in range(trials)
                        )
                        for heads in (1, 2)
                    )
                    held = [row[metric][0] <= value <= row[metric][1] for row in cover]
                    found = [row[metric][1] < 0.05 for row in null]
                    yield {
                        "design": design, "sources": n, "metric": metric, "value": value,
                        "coverage": 100 * float(np.mean(held)), "null": 100 * float(np.mean(found)),
                        "width": float(np.mean([r[metric][1] - r[metric][0] for r in cover])),
                    }  # fmt: skip


def main() -> None:
    """Run and print one JSON line for each row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=1000)
    for row in run(parser.parse_args().trials):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
