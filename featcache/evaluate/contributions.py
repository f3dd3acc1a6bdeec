"""What each feature contributes to mAP (Shapley values), and how similar features are (CKA)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import factorial

import numpy as np

from featcache.evaluate.fitting import FeatureSet
from featcache.evaluate.scoring import Evaluation
from featcache.evaluate.task import ProbeTask
from featcache.metrics import percentile_ci
from featcache.results import Contribution

MAX_SAMPLES = 1000
"""CKA compares kernels of samples; this many, evenly spaced, suffice for two digits."""


def contributions(
    features: Sequence[str], evaluations: Mapping[FeatureSet, Evaluation]
) -> list[Contribution]:
    """Return the Shapley value of each feature: its mean contribution over all orders of adding.

    Parameters
    ----------
    features : sequence of str
        Names of all n features.
    evaluations : mapping of tuple of int to Evaluation
        Evaluation of each feature set (positions of features), on the same resamples.

    Returns
    -------
    list of Contribution
        One for each feature, with interval; empty where a non-empty subset is missing.

    Notes
    -----
    φ_i = Σ_{S not containing i} |S|! (n - |S| - 1)! / n! (mAP(S + i) - mAP(S)) (Shapley 1953). The
    empty set has the AP of chance, the share of fakes, so the values add up to the mAP of all
    features minus chance.
    """
    n = len(features)
    if len(evaluations) < 2**n - 1:
        return []
    # Position 0 of each array is the mAP on the test samples, the rest are its replicates.
    values = {
        frozenset(positions): np.append(
            evaluation.mean("ap").value, evaluation.estimates.mean_replicates("ap")
        )
        for positions, evaluation in evaluations.items()
    }
    complete = frozenset(range(n))
    results = next(iter(evaluations.values())).generators.values()
    chance = float(np.mean([r.n_fake / (r.n_real + r.n_fake) for r in results]))
    values[frozenset()] = np.full_like(values[complete], chance)
    shapley_values = []
    for i, name in enumerate(features):
        shapley = np.zeros_like(values[complete])
        for subset, value in values.items():
            if i not in subset:
                k = len(subset)
                weight = factorial(k) * factorial(n - k - 1) / factorial(n)
                shapley += weight * (values[subset | {i}] - value)
        shapley_values.append(
            Contribution(
                feature=name,
                shapley=float(shapley[0]),
                ci=percentile_ci(shapley[1:]),
                alone=float(values[frozenset({i})][0]),
                last=float(values[complete][0] - values[complete - {i}][0]),
            )
        )
    return shapley_values


def similarity(task: ProbeTask) -> dict[str, dict[str, float]]:
    """Return the linear centred kernel alignment (CKA) between every two features.

    Parameters
    ----------
    task : ProbeTask
        Samples and keys; training samples in the first training view are compared.

    Returns
    -------
    dict of str to dict of str to float in [0, 1]
        CKA by the names of the two features.

    Notes
    -----
    CKA = <K, L> / (‖K‖ ‖L‖) with the Gram matrices K and L of the centred features and Frobenius
    products (Kornblith et al. 2019, equation 4).
    """
    names = task.options.features
    ids = [sample.sample_id for sample in task.train]
    subset = ids[:: max(-(-len(ids) // MAX_SAMPLES), 1)]
    kernels = []
    for key in task.train_keys[0]:
        x = task.store.read(key, subset).astype(np.float64)
        x -= x.mean(axis=0)
        kernel = x @ x.T
        kernels.append(kernel / max(float(np.linalg.norm(kernel)), 1e-300))
    return {
        name_a: {name_b: float(np.sum(k * l)) for name_b, l in zip(names, kernels, strict=True)}
        for name_a, k in zip(names, kernels, strict=True)
    }
