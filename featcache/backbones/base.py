"""What a backbone is: a frozen network with its weights, tap and preprocessing, known before it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.backbones.preprocess import Preprocessing

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A backbone as it is registered; making one imports no torch.

    Parameters
    ----------
    name : str
        What the user types.
    summary : str
        One line for a person.
    architecture : str
        Library and model name (``"timm:tf_efficientnet_lite0"``).
    n_features : int
        Length of the feature vector.
    tap : dict
        Where the feature is taken: layer, token, pooling, projection.
    native : Preprocessing
        What the network was trained for.
    find_weights : callable
        Return the weights file, already checked; raise WeightsError saying where it was looked for.
    build : callable
        From the weights file to a module that maps normalised images (N, 3, size, size), float32, to
        features (N, n_features); in evaluation mode, all weights from the file.
    licence, page : str
        Of the weights: under what terms, and where they come from.
    """

    name: str
    summary: str
    architecture: str
    n_features: int
    tap: dict[str, Any]
    native: Preprocessing
    find_weights: Callable[[], Path]
    build: Callable[[Path], nn.Module]
    licence: str
    page: str
