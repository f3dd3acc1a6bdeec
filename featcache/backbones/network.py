"""The loaded network: normalised images in, one feature tensor for each tap out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from featcache.backbones.base import BackboneSpec
from featcache.backbones.names import Tap
from featcache.backbones.tuned import load_tuned, read_about
from featcache.errors import SettingsError


class FeatureNetwork(nn.Module):
    """A backbone with its taps.

    Parameters
    ----------
    model : nn.Module
        What a spec's ``build`` gives.
    taps : sequence of Tap
        In the order of the output.
    """

    def __init__(self, model: nn.Module, taps: Sequence[Tap]) -> None:
        super().__init__()
        self.model = model
        self.taps = tuple(taps)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return one tensor (N, D_i) for each tap from images (N, 3, S, S)."""
        if set(self.taps) == {Tap()}:
            return (self.model(images),) * len(self.taps)
        features: tuple[Tensor, ...] = self.model.forward_taps(images, self.taps)  # type: ignore[operator]
        return features


def load_model(spec: BackboneSpec) -> nn.Module:
    """Return the network of a spec with its weights, or with random ones where it says so.

    Raises
    ------
    SettingsError
        If random weights are asked of a backbone that cannot have them.
    """
    if spec.random_init is None:
        path = spec.find_weights()
        if read_about(path) is not None:
            return load_tuned(path, spec)
        return spec.build(path).eval()
    if spec.create is None:
        raise SettingsError(f"{spec.network} cannot be made with random weights.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.random_init)
        return spec.create().eval()
