"""Which tensors of a network are trained: its last blocks and all that comes after them.

A low-rank adapter in the linear layers of some blocks, through ``peft``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from featcache.errors import MissingExtraError, SettingsError

LISTS = ("blocks", "resblocks", "stages", "layers")
"""What libraries call the list of a network's blocks: timm's transformers and EfficientNets,
open_clip, ConvNeXt, Swin. ResNets have ``layer1``, ``layer2``, ... side by side instead.
"""


def find_blocks(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the blocks (transformer) or stages (convolutional) of a network by name, in order.

    Parameters
    ----------
    network : nn.Module
        The list that lies highest in its tree is taken.

    Returns
    -------
    list[tuple[str, nn.Module]]
        The blocks (transformer) or stages (convolutional) of a network by name, in order.

    Raises
    ------
    SettingsError
        If there is no list of blocks under any of the known names.
    """
    by_depth = sorted(network.named_modules(), key=lambda item: item[0].count("."))
    for name, module in by_depth:
        prefix = f"{name}." if name else ""
        for part in LISTS:
            child = getattr(module, part, None)
            if isinstance(child, nn.Sequential | nn.ModuleList) and len(child) > 1:
                return [(f"{prefix}{part}.{i}", block) for i, block in child.named_children()]
        if stages := _numbered(module, prefix):
            return stages
    raise SettingsError(
        "The blocks of this backbone cannot be found: it has no list called "
        f"{', '.join(LISTS)}, nor layer1, layer2, .... Train the head alone with --blocks 0."
    )


def _numbered(module: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    """Return ``layer1``, ``layer2``, ... of a ResNet; empty where there are fewer than two."""
    stages = []
    for number in count(1):
        stage = getattr(module, f"layer{number}", None)
        if not isinstance(stage, nn.Module):
            break
        stages.append((f"{prefix}layer{number}", stage))
    return stages if len(stages) > 1 else []


def used_blocks(network: nn.Module, images: Tensor) -> list[tuple[str, nn.Module]]:
    """Return the blocks that the feature depends on; those behind a tap are left out.

    Parameters
    ----------
    network : nn.Module
        Network whose modules are used.
    images : Tensor
        Images of shape (batch, 3, height, width), float32, normalised.

    Returns
    -------
    list[tuple[str, nn.Module]]
        The blocks that the feature depends on.
    """
    reached = _reached(network, images)
    return [
        (name, block)
        for name, block in find_blocks(network)
        if any(parameter in reached for parameter in block.parameters())
    ]


def choose_tensors(network: nn.Module, n_blocks: int | None, images: Tensor) -> list[str]:
    """Return the names of the parameters of the last blocks and of all that comes after them.

    What comes after a block is not guessed from names: the graph is cut before the first chosen
    block, and what a gradient still reaches is chosen.

    Parameters
    ----------
    network : nn.Module
        From images to a tuple whose first tensor is the feature.
    n_blocks : int or None
        None means all blocks; what lies before the first (patch embedding, stem) stays frozen.
    images : tensor of shape (N, 3, S, S), float32
        Any, of the right size.

    Returns
    -------
    list[str]
        The names of the parameters of the last blocks and of all that comes after them.

    Raises
    ------
    SettingsError
        If the network has fewer blocks.
    """
    if n_blocks == 0:
        return []
    blocks = used_blocks(network, images)
    n = len(blocks) if n_blocks is None else n_blocks
    if n > len(blocks):
        raise SettingsError(f"--blocks {n} is too many: this backbone has {len(blocks)}.")
    reached = _reached(network, images, cut=blocks[-n][1])
    return [name for name, parameter in network.named_parameters() if parameter in reached]


def train_only(network: nn.Module, names: list[str]) -> None:
    """Let gradients into these parameters and into no others.

    The whole network stays in evaluation mode: norms use the statistics they came with, nothing is
    dropped. What is trained is then the very function that extracts features later.

    Parameters
    ----------
    network : nn.Module
        Network whose modules are used.
    names : list[str]
        Names, in order.
    """
    chosen = set(names)
    network.eval()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in chosen)


def _reached(network: nn.Module, images: Tensor, cut: nn.Module | None = None) -> set[nn.Parameter]:
    """Return the parameters that a gradient of the feature reaches, the graph cut before a
    block.
    """
    before = {parameter: parameter.requires_grad for parameter in network.parameters()}
    handle = cut.register_forward_pre_hook(_detach, with_kwargs=True) if cut else None
    try:
        network.requires_grad_(True)
        with torch.enable_grad():
            network(images)[0].sum().backward()
        return {parameter for parameter in before if parameter.grad is not None}
    finally:
        if handle:
            handle.remove()
        for parameter, flag in before.items():
            parameter.grad = None
            parameter.requires_grad_(flag)


def _detach(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    def capture(value: Any) -> Any:
        return value.detach() if isinstance(value, Tensor) else value

    return tuple(map(capture, args)), {name: capture(value) for name, value in kwargs.items()}


@dataclass(frozen=True)
class Adapter:
    """A LoRA inside a network.

    Parameters
    ----------
    peft_model : peft.PeftModel
        Wraps the network, whose layers it has replaced in place.
    names : list of str
        The adapter's parameters in the network: the only ones that are trained.
    base : dict of str to tensor
        Every other tensor as it was.
    """

    peft_model: Any
    names: list[str]
    base: dict[str, Tensor]


def add_adapter(
    network: nn.Module, blocks: Sequence[tuple[str, nn.Module]], rank: int, seed: int
) -> Adapter:
    """Put a LoRA into a network; its output is unchanged until the adapter is trained.

    Parameters
    ----------
    network : nn.Module
        Changed in place.
    blocks : sequence of (str, nn.Module)
        Whose layers get one: linear ones, attention, and convolutions that are not grouped.
    rank : int >= 1
    seed : int
        Of the adapter's first weights.

    Returns
    -------
    Adapter

    Raises
    ------
    MissingExtraError
        If ``peft`` is not installed.
    SettingsError
        If the blocks have no such layer.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError(
            "A LoRA needs the package peft. Run: pip install 'featcache[finetune]', "
            "or train whole blocks with --blocks K."
        ) from error
    targets = [f"{name}.{part}" for name, block in blocks for part in _layers(block)]
    if not targets:
        raise SettingsError("These blocks have no layer for a LoRA. Use --blocks K alone.")
    config = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft_model = get_peft_model(network, config)
    names = [name for name, _ in network.named_parameters() if ".lora_" in name]
    base = {
        name: tensor.detach().clone()
        for name, tensor in network.named_parameters()
        if ".lora_" not in name
    }
    return Adapter(peft_model, names, base)


def restore_base(network: nn.Module, adapter: Adapter) -> None:
    """Put the frozen tensors back to the bit.

    For attention layers peft adds the adapter to the weights before a pass and takes it away after
    it, which leaves a rounding error behind each time.

    Parameters
    ----------
    network : nn.Module
        Network whose modules are used.
    adapter : Adapter
        Low-rank adapter.
    """
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name in adapter.base:
                parameter.copy_(adapter.base[name])


def merge(network: nn.Module, adapter: Adapter) -> None:
    """Add the adapter to the weights and take it out; the network has its old layers again.

    Parameters
    ----------
    network : nn.Module
        Network whose modules are used.
    adapter : Adapter
        Low-rank adapter.
    """
    restore_base(network, adapter)
    adapter.peft_model.merge_and_unload(safe_merge=True)
    network.eval().requires_grad_(False)


def _layers(block: nn.Module) -> list[str]:
    """Return the names of the layers of a block that a LoRA can be in."""
    names: list[str] = []
    for name, module in block.named_modules():
        if any(name.startswith(f"{above}.") for above in names):
            continue  # the inside of an attention layer belongs to it
        if isinstance(module, nn.MultiheadAttention | nn.Linear) or (
            isinstance(module, nn.Conv2d) and module.groups == 1
        ):
            names.append(name)
    return names
