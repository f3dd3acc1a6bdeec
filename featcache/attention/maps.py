"""From attention between tokens to maps over the image; arrays in, arrays out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.errors import DataError

Float = NDArray[np.float64]

MOST_PREFIX = 16
"""More tokens than this before the patches (class token, registers) no network has."""


def split_tokens(n_tokens: int) -> tuple[int, int]:
    """Return the number of tokens before the patches, and the side of the square grid of patches.

    Parameters
    ----------
    n_tokens : int
        Number of tokens of the sequence.

    Returns
    -------
    tuple[int, int]
        The number of tokens before the patches, and the side of the square grid of patches.

    Raises
    ------
    DataError
        If the rest is no square grid.

    Examples
    --------
    >>> split_tokens(197), split_tokens(261), split_tokens(196)
    ((1, 14), (5, 16), (0, 14))
    """
    side = math.isqrt(n_tokens)
    prefix = n_tokens - side * side
    if prefix > MOST_PREFIX:
        raise DataError(
            f"{n_tokens} tokens are no square grid of patches with a few tokens before it."
        )
    return prefix, side


def class_attention(weights: Float) -> Float:
    """Return what the class token looks at, per head.

    Parameters
    ----------
    weights : ndarray of shape (heads, tokens, tokens), float64
        Rows sum to 1.

    Returns
    -------
    ndarray of shape (heads, side, side)
        Without a class token: what the patches look at on average.
    """
    prefix, side = split_tokens(weights.shape[-1])
    row = weights[:, 0] if prefix else weights.mean(axis=1)
    return row[:, prefix:].reshape(-1, side, side)


def rollout(layers: Sequence[Float]) -> Float:
    """Return attention rolled out over the layers (Abnar and Zuidema), as the paper draws it.

    In each layer the mean over heads plus the identity (the residual path) is scaled to rows that
    sum to 1; the product over the layers says how much of each input token arrives in the class
    token.

    Parameters
    ----------
    layers : sequence of ndarray of shape (heads, tokens, tokens)
        From the first layer to the last.

    Returns
    -------
    ndarray of shape (side, side)
    """
    n = layers[0].shape[-1]
    flow = np.eye(n)
    for weights in layers:
        mixed = weights.mean(axis=0) + np.eye(n)
        flow = (mixed / mixed.sum(axis=1, keepdims=True)) @ flow
    prefix, side = split_tokens(n)
    row = flow[0] if prefix else flow.mean(axis=0)
    return np.asarray(row[prefix:].reshape(side, side))


def row_error(layers: Sequence[Float]) -> float:
    """Return the largest distance of a row from summing to 1.

    Parameters
    ----------
    layers : Sequence[Float]
        Attention of each layer.

    Returns
    -------
    float
        The largest distance of a row from summing to 1.
    """
    return max(float(np.abs(weights.sum(axis=-1) - 1).max()) for weights in layers)
