"""What is trained: the network, and a linear head on its standardised feature.

From options to a graph that is ready to be trained, and back to plain weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcache.backbones import BackboneSpec, Preprocessing, build_network
from featcache.finetune.options import FinetuneOptions
from featcache.finetune.trainable import (
    Adapter,
    add_adapter,
    choose_tensors,
    merge,
    restore_base,
    train_only,
    used_blocks,
)
from featcache.probes import SavedHead


class TuningGraph(nn.Module):
    """From pixels to the logit of being fake.

    Parameters
    ----------
    network : nn.Module
        From normalised images to a tuple whose first tensor is the feature (N, D).
    preprocessing : Preprocessing
        Its mean and standard deviation are applied here.
    features : ndarray of shape (n_samples, D), float32
        Frozen features of the training samples: they set the scale of the head's inputs, so that
        one learning rate fits every backbone. Feature values that never vary are left out of the
        head.
    precision : {"fp32", "bf16"}
        Of the network; the head computes in fp32.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        features: NDArray[np.float32],
        precision: str,
    ) -> None:
        super().__init__()
        self.network = network
        self.head = nn.Linear(features.shape[1], 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        center = features.mean(axis=0, dtype=np.float64)
        scale = features.std(axis=0, dtype=np.float64)
        alive = scale > 1e-7 * np.maximum(np.abs(center), 1e-30)
        self.gain = np.where(alive, 1.0 / np.where(alive, scale, 1.0), 0.0)
        self.center = center
        self._gain: Tensor
        self._center: Tensor
        self._mean: Tensor
        self._std: Tensor
        for name, values in (("_gain", self.gain), ("_center", center)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)
        for name, triple in (("_mean", preprocessing.mean), ("_std", preprocessing.std)):
            shaped = torch.tensor(triple).reshape(1, 3, 1, 1)
            self.register_buffer(name, shaped, persistent=False)

    def start_at(self, head: SavedHead) -> None:
        """Give the head the weights of one in raw feature space.

        Parameters
        ----------
        head : SavedHead
            Fitted head.
        """
        scale = np.divide(1.0, self.gain, out=np.zeros_like(self.gain), where=self.gain > 0)
        with torch.no_grad():
            weight = torch.tensor(head.weight * scale, dtype=torch.float32)
            self.head.weight.copy_(weight[None])
            self.head.bias.fill_(float(head.bias + self.center @ head.weight))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits (N,), float32, of pixels (N, S, S, 3), uint8.

        Parameters
        ----------
        pixels : Tensor
            Pixels of shape (height, width, 3), uint8 or float64 in [0, 255].

        Returns
        -------
        Tensor
            The logits (N,), float32, of pixels (N, S, S, 3), uint8.
        """
        images = pixels.permute(0, 3, 1, 2).float().div(255)
        images = images.sub(self._mean).div(self._std).contiguous()
        with torch.autocast(pixels.device.type, self.dtype, enabled=self.dtype != torch.float32):
            features = self.network(images)[0]
        logits: Tensor = self.head((features.float() - self._center) * self._gain)
        return logits[:, 0]

    def raw_head(self) -> tuple[NDArray[np.float64], float]:
        """Return weight (D,) and bias of the head in raw feature space.

        Returns
        -------
        tuple[ndarray of float64, float]
            Weight (D,) and bias of the head in raw feature space.
        """
        weight = self.head.weight[0].detach().double().cpu().numpy() * self.gain
        return weight, float(self.head.bias.item() - self.center @ weight)

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters that are trained, by name; the head's are among them.

        Returns
        -------
        dict[str, nn.Parameter]
            The parameters that are trained, by name.
        """
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def snapshot(self) -> dict[str, Tensor]:
        """Return copies of the trained tensors, on the CPU.

        Returns
        -------
        dict[str, Tensor]
            Copies of the trained tensors, on the CPU.
        """
        return {name: p.detach().cpu().clone() for name, p in self.trained().items()}

    def put_back(self, tensors: dict[str, Tensor]) -> None:
        """Set the trained tensors to a snapshot.

        Parameters
        ----------
        tensors : dict[str, Tensor]
            Tensors of the file by name.
        """
        with torch.no_grad():
            for name, parameter in self.trained().items():
                parameter.copy_(tensors[name])

    def groups(self, rate: float, head_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return AdamW's groups: only matrices decay, and the head has a rate of its own.

        Parameters
        ----------
        rate : float
            Learning rate of the backbone.
        head_rate : float
            Learning rate of the head.
        weight_decay : float
            Weight decay.

        Returns
        -------
        list[dict[str, Any]]
            AdamW's groups.
        """
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.trained().items():
            lr = head_rate if name.startswith("head.") else rate
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((lr, decay), []).append(parameter)
        return [
            {"params": params, "lr": lr, "peak": lr, "weight_decay": decay}
            for (lr, decay), params in groups.items()
        ]


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
        """Return what puts the frozen tensors back to the bit.

        Returns
        -------
        Callable[[], None]
            What puts the frozen tensors back to the bit.
        """
        adapter = self.adapter
        if adapter is None:
            return lambda: None
        return lambda: restore_base(self.network, adapter)

    def plain(self) -> nn.Module:
        """Return the backbone as its ``build`` gives it, with the trained weights; ends the
        training.

        Returns
        -------
        nn.Module
            The backbone as its ``build`` gives it, with the trained weights.
        """
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
    options : FinetuneOptions
        Settings; their own documentation names every field.

    Returns
    -------
    Tuner

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
    """Return the graph of a prepared network on a device.

    Parameters
    ----------
    tuner : Tuner
        Network with its trainable parameters.
    preprocessing : Preprocessing
        Preprocessing of the backbone.
    features : ndarray of float32
        Features of shape (n_samples, n_features).
    precision : str
        Precision of the forward pass.
    device : torch.device
        Device that computes.

    Returns
    -------
    TuningGraph
        The graph of a prepared network on a device.
    """
    return TuningGraph(tuner.network, preprocessing, features, precision).to(device)
