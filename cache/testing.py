"""Help for tests of stores: keys and rows that need no backbone."""

from __future__ import annotations

from typing import Any

import numpy as np

from featcache.cache.keys import FeatureKey
from featcache.cache.shard import Rows
from featcache.files import digest_bytes


def make_key(**changes: Any) -> FeatureKey:
    """Return the key of a made-up feature; ``changes`` replace fields.

    Parameters
    ----------
    **changes : Any
        Fields of the key to change.

    Returns
    -------
    FeatureKey
        The key of a made-up feature.
    """
    fields: dict[str, Any] = {
        "backbone": "toy",
        "architecture": "toy:1",
        "weights": "blake2b:00",
        "tap": {"layer": "final"},
        "preprocessing": {"preset": "univfd", "size": 224},
        "precision": "fp32",
        "dtype": "float32",
        "view": {"name": "clean", "steps": []},
    }
    return FeatureKey({**fields, **changes})


def make_rows(n: int, d: int = 3, dtype: str = "float32", start: int = 0) -> Rows:
    """Return ``n`` rows of ``d`` random features; samples of other ``start`` are other ones.

    Parameters
    ----------
    n : int
        Number of items.
    d : int
        Number of columns.
    dtype : str
        Data type.
    start : int
        Index of the first row.

    Returns
    -------
    Rows
        ``n`` rows of ``d`` random features.
    """
    ids = sorted(digest_bytes(str(i).encode()) for i in range(start, start + n))
    rng = np.random.default_rng(n + d + start)
    return Rows(ids, rng.normal(size=(n, d)).astype(dtype), {})
