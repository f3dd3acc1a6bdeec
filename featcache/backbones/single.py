"""The first feature of a network that gives several."""

from __future__ import annotations

from torch import Tensor, nn


class Single(nn.Module):
    """Give the only feature of a network of one specification."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, D) features of (N, 3, S, S) images."""
        feature: Tensor = self.network(images)[0]
        return feature
