"""Listen to a network while it runs: its attention, and its last map of features.

timm's and open_clip's transformers, and torch's own, all end in
``scaled_dot_product_attention``; to listen there needs no knowledge of how a library builds its
blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class Recording:
    """What was heard, in the order of the forward pass.

    Parameters
    ----------
    attention : list of Tensor of shape (N, heads, tokens, tokens)
        Only layers in which tokens look at each other: pooling by a query is left out.
    values : list of Tensor of shape (N, heads, tokens, width)
        What each token hands on in those layers.
    maps : list of Tensor of shape (N, channels, rows, columns)
        Outputs of modules that are maps of more than one place.
    """

    attention: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)


@contextmanager
def recording(network: nn.Module) -> Iterator[Recording]:
    """Record what ``network`` does within the context; one network at a time in a process.

    Parameters
    ----------
    network : nn.Module
        Network whose modules are used.

    Yields
    ------
    Recording
    """
    import torch
    from torch.nn import functional

    heard = Recording()
    original = functional.scaled_dot_product_attention

    def listen(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if query.shape[-2] == key.shape[-2]:
            heard.values.append(value)
            heard.attention.append(_weights(query, key, *args, **kwargs).detach())
        return original(query, key, value, *args, **kwargs)

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[-1] > 1:
            heard.maps.append(output)

    fast = torch.backends.mha.get_fastpath_enabled()
    hooks = [module.register_forward_hook(keep) for module in network.modules()]
    torch.backends.mha.set_fastpath_enabled(False)  # it would not pass through here
    functional.scaled_dot_product_attention = listen
    try:
        yield heard
    finally:
        functional.scaled_dot_product_attention = original
        torch.backends.mha.set_fastpath_enabled(fast)
        for hook in hooks:
            hook.remove()


def _weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    **unused: Any,
) -> Tensor:
    """Return what the fused function does not: the softmax of the scaled products."""
    scores = query @ key.transpose(-2, -1) * (scale or query.shape[-1] ** -0.5)
    if attn_mask is not None:
        scores = (
            scores.masked_fill(~attn_mask, float("-inf"))
            if attn_mask.dtype.is_floating_point is False
            else scores + attn_mask
        )
    return scores.softmax(dim=-1)
