"""What a backbone is: a frozen network with its weights, tap and preprocessing, known before it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.backbones.preprocess import Preprocessing

if TYPE_CHECKING:
    from torch import nn

    from featcache.backbones.weights import WeightsSource


@dataclass(frozen=True)
class Taps:
    """Where features can be taken inside a network.

    Parameters
    ----------
    widths : tuple of int
        Width after 0, 1, 2, ... blocks (of tokens) or after the 1st, 2nd, ... stage (of maps).
    tokens : bool
        Whether it carries a class token and patch tokens, or maps, which are averaged.
    projected : bool
        Whether the final feature is a projection, so that ``@pre`` exists.
    """

    widths: tuple[int, ...]
    tokens: bool = True
    projected: bool = False

    @property
    def first(self) -> int:
        """Number of the first layer that can be tapped."""
        return 0 if self.tokens else 1

    @property
    def last(self) -> int:
        """Number of the last layer that can be tapped."""
        return self.first + len(self.widths) - 1


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
        Library and model name (``"timm:tf_efficientnet_lite0"``), with all that shapes the network.
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
        features (N, n_features); in evaluation mode, all weights from the file. A module with a method
        ``forward_taps(images, taps: Sequence[Tap]) -> tuple of Tensor`` gives several features in one pass.
    licence, page : str
        Of the weights: under what terms, and where they come from.
    network : str
        Specs of equal network and weights share one forward pass. Default: the name.
    create : callable or None
        Return the module of ``build`` with random weights; None where there is no such thing.
    random_init : int or None
        Seed of random weights instead of a file, for tests.
    taps : Taps or None
        Where features can be taken other than at the end; None: nowhere.
    crop : int, pixels
        Side of the crop of the preset ``univfd``; 0 stands for the native size. 224 wherever the network
        takes it.
    weights : WeightsSource or None
        Where the weights are published; None where ``find_weights`` alone knows.
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
    network: str = ""
    create: Callable[[], nn.Module] | None = None
    random_init: int | None = None
    taps: Taps | None = None
    crop: int = 0
    weights: WeightsSource | None = None

    def __post_init__(self) -> None:
        if not self.network:
            object.__setattr__(self, "network", self.name)
