"""A backbone for featcache: copy this package and put your network in its place.

Importing it imports no torch: featcache lists backbones in a fraction of a second.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbones import BackboneSpec, Preprocessing
from featcache.errors import WeightsError

if TYPE_CHECKING:
    from torch import nn

FILE = "tiny.safetensors"


def find_weights() -> Path:
    """Return the weights file; say where it was looked for if it is not there."""
    path = Path(os.environ.get("FEATCACHE_TINY", ".")) / FILE
    if not path.is_file():
        raise WeightsError(
            f"The weights of 'tiny' were looked for at {path}. "
            "Set FEATCACHE_TINY to their folder, or give --weights tiny=FILE."
        )
    return path


def create() -> nn.Module:
    """Return the network up to its feature, with random weights."""
    import timm

    model: nn.Module = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    return model.eval()


def build(path: Path) -> nn.Module:
    """Return the network with the weights of a file: nothing missing, nothing left over, no code
    run.
    """
    from featcache.backbones.checkpoints import load_state, read_tensors

    model = create()
    load_state(model, read_tensors(path), path, "tiny")
    return model


TINY = BackboneSpec(
    name="tiny",
    summary="a template: ViT-Tiny/16 of timm",
    architecture="timm:vit_tiny_patch16_224",
    n_features=192,
    tap={"layer": "final", "token": "class", "pooling": "none", "projection": "none"},
    native=Preprocessing(
        preset="native",
        resize=256,
        interpolation="bicubic",
        size=224,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    find_weights=find_weights,
    build=build,
    create=create,
    licence="yours",
    page="where the weights come from",
)
