"""How alike features are: linear centred kernel alignment on training samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featcache.evaluate.study import Study

MAX_SAMPLES = 1000
"""CKA compares kernels of samples; so many, evenly spread, are enough for two digits."""


def similarity(study: Study) -> dict[str, dict[str, float]]:
    """Return the linear CKA between every two features, in [0, 1]."""
    names = study.options.features
    ids = [sample.sample_id for sample in study.train]
    some = ids[:: max(-(-len(ids) // MAX_SAMPLES), 1)]
    kernels = [_kernel(study.store.read(key, some)) for key in study.train_keys[0]]
    return {
        a: {b: float(np.sum(x * y)) for b, y in zip(names, kernels, strict=True)}
        for a, x in zip(names, kernels, strict=True)
    }


def _kernel(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the centred kernel of standardised samples, of Frobenius norm 1."""
    x = features.astype(np.float64)
    x -= x.mean(axis=0)
    kernel = x @ x.T
    return np.asarray(kernel / max(float(np.linalg.norm(kernel)), 1e-300))
