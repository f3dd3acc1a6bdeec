"""A low-rank adapter in the linear layers of some blocks, through ``peft``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featcache.errors import MissingExtraError, SettingsError


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

    For attention layers peft adds the adapter to the weights before a pass and takes it away after it,
    which leaves a rounding error behind each time.
    """
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name in adapter.base:
                parameter.copy_(adapter.base[name])


def merge(network: nn.Module, adapter: Adapter) -> None:
    """Add the adapter to the weights and take it out; the network has its old layers again."""
    restore_base(network, adapter)
    adapter.peft_model.merge_and_unload(safe_merge=True)
    network.eval().requires_grad_(False)


def _layers(block: nn.Module) -> list[str]:
    """Return the names of the layers of a block that a LoRA can be in."""
    found: list[str] = []
    for name, module in block.named_modules():
        if any(name.startswith(f"{above}.") for above in found):
            continue  # the inside of an attention layer belongs to it
        if isinstance(module, nn.MultiheadAttention | nn.Linear) or _is_dense(module):
            found.append(name)
    return found


def _is_dense(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == 1
