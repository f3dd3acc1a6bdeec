"""The built-in backbones in sizes that run in a moment: same code, same structure, less width and depth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from featcache.backbones import BackboneSpec, Taps, resolve
from featcache.backbones.clip_family import SMALL as CLIP
from featcache.backbones.clip_family import SMALL_RESNET as CLIP_RESNET
from featcache.backbones.clip_family import ClipFamily
from featcache.backbones.timm_family import SMALL as VIT
from featcache.backbones.timm_family import TimmFamily

if TYPE_CHECKING:
    from torch import Tensor

MAP_SIDE = 64
"""Pixels; networks of convolutions take any size and are small as they are."""


def small(name: str) -> BackboneSpec:
    """Return a built-in backbone in a small size.

    Raises
    ------
    ValueError
        If it is none of ours.
    """
    spec = resolve(name)
    family = getattr(spec.build, "__self__", None)
    if spec.taps is None or not isinstance(family, (TimmFamily, ClipFamily)):
        raise ValueError(f"{name} has no small form")
    tiny = family.small()
    side, widths = _sizes(spec.taps, isinstance(family, ClipFamily))
    n_features = spec.n_features if isinstance(family, ClipFamily) else widths[-1]
    return replace(
        spec,
        build=tiny.build,
        create=tiny.create,
        n_features=n_features if spec.taps.tokens else spec.n_features,
        native=replace(spec.native, size=side, resize=side),
        taps=Taps(widths, spec.taps.tokens, spec.taps.projected),
        crop=0,
    )


def _sizes(taps: Taps, clip: bool) -> tuple[int, tuple[int, ...]]:
    """Return the side of the input and the widths of the small form."""
    if not taps.tokens:
        width = CLIP_RESNET["width"]
        return MAP_SIDE, tuple(4 * width * 2**i for i in range(4)) if clip else taps.widths
    if clip:
        return CLIP["image_size"], (CLIP["width"],) * (CLIP["layers"] + 1)
    return VIT["img_size"], (VIT["embed_dim"],) * (VIT["depth"] + 1)


def own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the names of our wrappers away: a published file has the network's own."""
    return {
        name.removeprefix("trunk.").removeprefix("visual."): tensor
        for name, tensor in state.items()
    }
