"""A backbone as a plain module, for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbones.resolve import build_network, resolve

if TYPE_CHECKING:
    from torch import nn


def load_backbone(
    name: str, *, weights: Mapping[str, Path] | None = None, random_init: int | None = None
) -> nn.Module:
    """Return a frozen backbone that maps normalised images to features.

    Parameters
    ----------
    name : str
        Feature name, tap included: ``"clip"``, ``"clip@layer6"``, ``"timm:resnet50.tv_in1k"``.
    weights : mapping of str to Path, optional
        Weights files by backbone name, before all other places.
    random_init : int, optional
        Random weights of this seed instead of a file.

    Returns
    -------
    torch.nn.Module
        From images (N, 3, S, S), float32, with the preset's mean and deviation taken out, to features
        (N, D), float32; in evaluation mode, no gradients.

    Raises
    ------
    UnknownNameError
        If there is no such backbone.
    WeightsError
        If its weights are missing or are not the ones they should be.
    """
    from featcache.backbones.single import Single

    return Single(build_network([resolve(name, weights=weights, random_init=random_init)]))
