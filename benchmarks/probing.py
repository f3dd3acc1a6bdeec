"""featcache's joint solver against scikit-learn's lbfgs, in one run, on the same standardised
features.

    python benchmarks/probing.py --out probing.json            # the whole table; scikit-learn takes
    minutes python benchmarks/probing.py --samples 5000 --width 192    # a small one python
    benchmarks/probing.py --only single

*ablation*: four backbones, all 15 subsets, seven values of C. scikit-learn runs through joblib,
each fit with one BLAS thread, with one and with as many workers as there are cores; the better
of the two counts (decided on some of the fits). By default scikit-learn gives up after 100
iterations, which most of these fits need more of: a second number lets it go on to its default
tolerance. *single*: one fit on many samples, at scikit-learn's default tolerance, and at a
tolerance with which it reaches our objective to 1e-7. Objectives are computed anew in float64
for both.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from featcache.probes import fit_heads
from featcache.probes.solver import Arrays, HeadBatch

GRID = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2]

MANY = 100_000
"""Iterations at which no fit ends: its tolerance does."""


def make_features(n: int, widths: list[int], seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Features that share latent causes, as backbones do; labels that follow them with noise."""
    rng = np.random.default_rng(seed)
    n_latent = 400
    latent = rng.standard_normal((n, n_latent), dtype=np.float32)
    latent *= np.arange(1, n_latent + 1, dtype=np.float32) ** -0.4
    blocks = []
    for width in widths:
        block = latent @ rng.standard_normal((n_latent, width), dtype=np.float32)
        block += 0.15 * block.std() * rng.standard_normal((n, width), dtype=np.float32)
        blocks.append((block - block.mean(0)) / block.std(0))
    logit = latent @ rng.standard_normal(n_latent)
    labels = rng.random(n) < 1 / (1 + np.exp(-3 * logit / logit.std()))
    return blocks, labels.astype(np.int64)


def objective(x: np.ndarray, y: np.ndarray, coef: np.ndarray, bias: float, C: float) -> float:
    """scikit-learn's objective in float64."""
    logit = np.zeros(len(x))
    for rows in np.array_split(np.arange(len(x)), max(len(x) // 5000, 1)):
        logit[rows] = x[rows].astype(np.float64) @ coef + bias
    return float(0.5 * coef @ coef + C * np.logaddexp(0, -logit * (2 * y - 1)).sum())


def fit_theirs(x: np.ndarray, y: np.ndarray, C: float, tol: float, max_iter: int) -> Any:
    """One scikit-learn fit on one BLAS thread."""
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        return LogisticRegression(C=C, tol=tol, max_iter=max_iter).fit(x, y)


def ours(blocks: list[np.ndarray], y: np.ndarray, heads: HeadBatch) -> tuple[float, Any]:
    """One joint fit: seconds and result."""
    start = time.perf_counter()
    fitted = fit_heads(Arrays(blocks), y[None], heads)
    return time.perf_counter() - start, fitted


def ablation(n: int, width: int, repeats: int) -> dict[str, Any]:
    """All subsets of four backbones by seven values of C."""
    widths = [width] * 4
    blocks, y = make_features(n, widths)
    subsets = [s for k in (1, 2, 3, 4) for s in itertools.combinations(range(4), k)]
    cells = [(s, C) for s in subsets for C in GRID]
    heads = HeadBatch(
        uses=np.array([[b in s for b in range(4)] for s, _ in cells]),
        C=np.array([C for _, C in cells]),
        task=np.zeros(len(cells), np.intp),
    )
    times = [ours(blocks, y, heads)[0] for _ in range(repeats)]
    joined = {s: np.concatenate([blocks[b] for b in s], axis=1) for s in subsets}
    trial = [c for c in cells if len(c[0]) == 2][::5]
    speed = {}
    for workers in sorted({1, joblib.cpu_count()}):
        start = time.perf_counter()
        _run_theirs(joined, y, trial, workers)
        speed[workers] = time.perf_counter() - start
    workers = min(speed, key=lambda k: speed[k])
    theirs = {}
    for max_iter in (MANY, 100):
        start = time.perf_counter()
        models = _run_theirs(joined, y, cells, workers, max_iter)
        theirs[max_iter] = time.perf_counter() - start
    more, fitted = ours(blocks, y, heads)
    mine = float(np.median([*times, more]))
    excess = []
    for i, (s, C) in enumerate(cells):
        seen = np.repeat([b in s for b in range(4)], widths)
        a = objective(joined[s], y, fitted.weight[i][seen], float(fitted.bias[i]), C)
        b = objective(
            joined[s], y, models[i].coef_[0].astype(float), float(models[i].intercept_[0]), C
        )
        excess.append(a / b - 1)
    return {
        "samples": n,
        "width": width,
        "fits": len(cells),
        "ours_s": mine,
        "ours_all_s": [*times, more],
        "theirs_s": theirs[100],
        "workers": workers,
        "ratio": theirs[100] / mine,
        "theirs_to_default_tol_s": theirs[MANY],
        "ratio_to_default_tol": theirs[MANY] / mine,
        "worst_relative_excess": max(excess),
        "their_worst": -min(excess),
        "theirs_at_max_iter": sum(int(m.n_iter_[0] >= 100) for m in models),
        "our_worst_gap": max(c.gap for c in fitted.certificates),
        "our_max_iter": max(c.n_iter for c in fitted.certificates),
    }


def _run_theirs(
    joined: Any, y: np.ndarray, cells: list[Any], workers: int, max_iter: int = 100
) -> list[Any]:
    tasks = (joblib.delayed(fit_theirs)(joined[s], y, C, 1e-4, max_iter) for s, C in cells)
    return list(joblib.Parallel(n_jobs=workers, prefer="threads")(tasks))


def single(n: int, width: int, repeats: int) -> dict[str, Any]:
    """One fit at C = 1, side by side, repeated in turn."""
    (block,), y = make_features(n, [width])
    heads = HeadBatch(uses=np.ones((1, 1), bool), C=np.ones(1), task=np.zeros(1, np.intp))
    rows: dict[str, list[float]] = {"ours": [], "default": [], "equal": []}
    for _ in range(repeats):
        seconds, fitted = ours([block], y, heads)
        rows["ours"].append(seconds)
        mine = objective(block, y, fitted.weight[0], float(fitted.bias[0]), 1.0)
        for name, tols in (("default", [1e-4]), ("equal", [1e-5, 1e-6, 1e-7, 1e-8, 1e-10])):
            for tol in tols:  # the loosest tolerance that reaches our objective counts
                start = time.perf_counter()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    model = LogisticRegression(
                        C=1.0, tol=tol, max_iter=100 if name == "default" else 5000
                    )
                    model.fit(block, y)
                seconds = time.perf_counter() - start
                value = objective(
                    block, y, model.coef_[0].astype(float), float(model.intercept_[0]), 1.0
                )
                if value <= mine * (1 + 1e-7):
                    break
            rows[name].append(seconds)
    medians = {name: float(np.median(values)) for name, values in rows.items()}
    return {
        "samples": n, "width": width, **medians, "all": rows,
        "ratio_default": medians["default"] / medians["ours"],
        "ratio_equal": medians["equal"] / medians["ours"],
        "gap": fitted.certificates[0].gap, "n_iter": fitted.certificates[0].n_iter,
    }  # fmt: skip


def linear_in_n(width: int, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Seconds per pass at three sizes: the cost of a fit grows linearly in the number of
    samples.
    """
    found = {}
    for n in sizes:
        (block,), y = make_features(n, [width])
        heads = HeadBatch(uses=np.ones((1, 1), bool), C=np.ones(1), task=np.zeros(1, np.intp))
        runs = [ours([block], y, heads) for _ in range(3)]
        found[n] = {
            "s": float(np.median([r[0] for r in runs])),
            "n_iter": runs[0][1].certificates[0].n_iter,
        }
    return {"width": width, "sizes": found}


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--single-samples", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["ablation", "single", "linear"])
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    blas = [
        f"{i['internal_api']} {i.get('architecture')}"
        for i in threadpool_info()
        if i["user_api"] == "blas"
    ]
    result: dict[str, Any] = {"cores": joblib.cpu_count(), "blas": sorted(set(blas))}
    if a.only in (None, "single"):
        result["single"] = single(a.single_samples, a.width, a.repeats)
    if a.only in (None, "linear"):
        result["linear"] = linear_in_n(a.width, (a.samples, 2 * a.samples, 4 * a.samples))
    if a.only in (None, "ablation"):
        result["ablation"] = ablation(a.samples, a.width, a.repeats)
    text = json.dumps(result, indent=1)
    print(text)
    if a.out:
        a.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
