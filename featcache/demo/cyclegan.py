"""The ResNet-9 generator of CycleGAN (Zhu et al., ICCV 2017), with affine instance norms.

The numbering of the layers is that of the checkpoint in vintagify.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 64
N_BLOCKS = 9


class ResidualBlock(nn.Module):
    """Two padded 3x3 convolutions with a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the block's output; shapes (N, width, H, W).

        Parameters
        ----------
        x : Tensor
            Input of the layer.

        Returns
        -------
        Tensor
            ``x`` plus the block's output.
        """
        return torch.add(x, self.block(x))


class Generator(nn.Module):
    """From images in [-1, 1], (N, 3, H, W), to images of the same range and size."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), *_norm(nn.Conv2d(3, WIDTH, 7), WIDTH)]
        for width in (WIDTH, 2 * WIDTH):
            layers += _norm(nn.Conv2d(width, 2 * width, 3, 2, 1), 2 * width)
        layers += [ResidualBlock(4 * WIDTH) for _ in range(N_BLOCKS)]
        for width in (4 * WIDTH, 2 * WIDTH):
            up = nn.ConvTranspose2d(width, width // 2, 3, 2, 1, output_padding=1)
            layers += _norm(up, width // 2)
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(WIDTH, 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the translated images.

        Parameters
        ----------
        x : Tensor
            Input of the layer.

        Returns
        -------
        Tensor
            The translated images.
        """
        translated: Tensor = self.model(x)
        return translated


def build_generator() -> nn.Module:
    """Return the network with weights yet to be loaded.

    Returns
    -------
    nn.Module
        The network with weights yet to be loaded.
    """
    return Generator()


def _norm(convolution: nn.Module, width: int) -> list[nn.Module]:
    return [convolution, nn.InstanceNorm2d(width, affine=True), nn.ReLU()]
