"""All metrics with bootstrap intervals: featcache against scikit-learn on the same resamples, in
one run.

    python benchmarks/metrics.py --out metrics.json         # 1,000 resamples x 20 generators x
    4,000 scores python benchmarks/metrics.py --resamples 100 --samples 400

scikit-learn computes AP and AUROC only, on some of the resamples (``--theirs``), one after the
other as studies do; its time is scaled up to all of them. Both must agree to 1e-12 on those.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from featcache.metrics import METRICS, Resamples, SortedScores, bootstrap


def make_scores(n_generators: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and probabilities (n_generators, n) of detectors that are good, not perfect."""
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], [n - n // 2, n // 2])
    logit = rng.normal(size=(n_generators, n)) + 1.5 * (y - 0.5)
    return y, 1 / (1 + np.exp(-logit))


def theirs(y: np.ndarray, score: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """AP and AUROC of one resample of one generator by scikit-learn."""
    return (
        float(average_precision_score(y, score, sample_weight=weights)),
        float(roc_auc_score(y, score, sample_weight=weights)),
    )


def run(n_generators: int, n: int, n_resamples: int, n_theirs: int, repeats: int) -> dict[str, Any]:
    """Time both, and compare what they found."""
    y, scores = make_scores(n_generators, n)
    names = [f"g{i}" for i in range(n_generators)]
    sources = {name: np.arange(n) + i * n for i, name in enumerate(names)}
    strata = np.concatenate([y + 2 * i for i in range(n_generators)])
    resamples = Resamples(strata, n_resamples)
    times, found = [], {}
    for _ in range(repeats):
        start = time.perf_counter()
        ranked = {name: SortedScores.of(y, scores[i], 0.5, 0.4) for i, name in enumerate(names)}
        found = bootstrap(ranked, sources, resamples)
        times.append(time.perf_counter() - start)
    counts = resamples.counts(0, n_theirs)
    start = time.perf_counter()
    expected = np.array(
        [
            [theirs(y, scores[i], counts[row, sources[name]]) for i, name in enumerate(names)]
            for row in range(n_theirs)
        ]
    )
    seconds = (time.perf_counter() - start) * n_resamples / n_theirs
    ours = np.array([[found[name][m][:n_theirs] for name in names] for m in ("ap", "auroc")])
    return {
        "generators": n_generators, "samples": n, "resamples": n_resamples, "metrics": len(METRICS),
        "cores": joblib.cpu_count(), "ours_s": min(times), "ours_all_s": times,
        "theirs_two_metrics_s": seconds, "ratio": seconds / min(times),
        "worst_difference": float(np.abs(ours.transpose(2, 1, 0) - expected).max()),
    }  # fmt: skip


def main() -> None:
    """Run and print, or write, the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in (("generators", 20), ("samples", 4000), ("resamples", 1000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--theirs", type=int, default=5, help="resamples that scikit-learn does")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    found = run(a.generators, a.samples, a.resamples, a.theirs, a.repeats)
    text = json.dumps(found, indent=1)
    print(text)
    if a.out:
        a.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
