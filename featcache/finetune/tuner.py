"""From options to a graph that is ready to be trained, and back to plain weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featcache.backbones import BackboneSpec, Preprocessing, build_network
from featcache.finetune.blocks import choose_tensors, train_only, used_blocks
from featcache.finetune.graph import TuningGraph
from featcache.finetune.lora import Adapter, add_adapter, merge, restore_base
from featcache.finetune.options import FinetuneOptions


@dataclass(frozen=True)
class Tuner:
    """A network prepared for training.

    Parameters
    ----------
    network : nn.Module
        From normalised images to a tuple of one feature.
    names : list of str
        The network's parameters that are trained.
    n_trained, n_parameters : int
        Numbers in these, and in the network without an adapter.
    adapter : Adapter or None
    """

    network: nn.Module
    names: list[str]
    n_trained: int
    n_parameters: int
    adapter: Adapter | None = field(default=None, repr=False)

    def refresh(self) -> Callable[[], None]:
        """Return what puts the frozen tensors back to the bit."""
        adapter = self.adapter
        if adapter is None:
            return lambda: None
        return lambda: restore_base(self.network, adapter)

    def plain(self) -> nn.Module:
        """Return the backbone as its ``build`` gives it, with the trained weights; ends the training."""
        if self.adapter is not None:
            merge(self.network, self.adapter)
        self.network.eval().requires_grad_(False)
        model: nn.Module = self.network.model  # type: ignore[assignment]
        return model


def prepare(spec: BackboneSpec, size: int, options: FinetuneOptions) -> Tuner:
    """Build the network and open the chosen tensors to gradients.

    Parameters
    ----------
    spec : BackboneSpec
        Of the weights to start from.
    size : int, pixels
        Side of the images.

    Raises
    ------
    SettingsError
        If the network has not so many blocks.
    MissingExtraError
        If a LoRA is asked for and ``peft`` is missing.
    """
    network = build_network([spec])
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    image = torch.zeros(1, 3, size, size)
    adapter = None
    if options.lora:
        blocks = used_blocks(network, image)
        choose_tensors(network, options.n_blocks, image)  # refuses a number that is too large
        chosen = blocks if options.n_blocks is None else blocks[-options.n_blocks :]
        adapter = add_adapter(network, chosen, options.lora, options.seed)
    names = adapter.names if adapter else choose_tensors(network, options.n_blocks, image)
    train_only(network, names)
    n_trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return Tuner(network, names, n_trained, n_parameters, adapter)


def make_graph(
    tuner: Tuner,
    preprocessing: Preprocessing,
    features: NDArray[np.float32],
    precision: str,
    device: torch.device,
) -> TuningGraph:
    """Return the graph of a prepared network on a device."""
    return TuningGraph(tuner.network, preprocessing, features, precision).to(device)
