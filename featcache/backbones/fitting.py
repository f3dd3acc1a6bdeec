"""Weights into a network, all of them or none: whatever does not fit is listed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from featcache.errors import WeightsError

SHOWN = 6
_COUNTER = "num_batches_tracked"
"""Counts training steps; no network in evaluation mode reads it, so it may be missing."""


def fit(model: nn.Module, tensors: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Load ``tensors`` into ``model``.

    Parameters
    ----------
    model : nn.Module
        Its parameters and buffers must all be in ``tensors``, and nothing else.
    tensors : mapping of str to Tensor
        Half precision is widened.
    path : Path
        The file that they come from, for the message.
    name : str
        The network, for the message.

    Raises
    ------
    WeightsError
        Listing what is missing, left over, of another shape or not finite.
    """
    wanted = {key: value for key, value in model.state_dict().items() if _COUNTER not in key}
    found = {key: value for key, value in tensors.items() if _COUNTER not in key}
    problems = list(_problems(wanted, found)) or list(_bad_numbers(found))
    if problems:
        raise WeightsError(
            f"{path} does not fit {name}, and nothing was loaded. {' '.join(problems)}"
            f"{_sizes(wanted, found)} Give the file published for {name} "
            f"('featcache backbones show {name}' says which), or name the backbone that this file is for."
        )
    model.load_state_dict(found, strict=False)  # strict but for the counters, as just compared


def make_empty(make: Callable[[], nn.Module]) -> nn.Module:
    """Return what ``make`` makes with memory for its weights but no values, which takes no time.

    Only :func:`fit` may follow, which fills all of it. A network that computes some tensors when it is made,
    and does not keep them in its state, is made as usual.
    """
    with torch.device("meta"):
        model = make()
    if {name for name, _ in model.named_buffers()} - set(model.state_dict()):
        return make()
    model.to_empty(device="cpu")
    for name, buffer in model.named_buffers():
        if _COUNTER in name:
            buffer.zero_()
    return model


def take(tensors: Mapping[str, Tensor], prefixes: Iterable[str]) -> dict[str, Tensor]:
    """Return the tensors under the first prefix that occurs, without it; all of them where none does.

    Parameters
    ----------
    tensors : mapping of str to Tensor
    prefixes : iterable of str
        The longest first: ``("module.visual.", "visual.")``.
    """
    for prefix in prefixes:
        if any(key.startswith(prefix) for key in tensors):
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return dict(tensors)


def _problems(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterable[str]:
    if missing := [key for key in wanted if key not in found]:
        yield f"Missing: {_some(missing)}."
    if extra := [key for key in found if key not in wanted]:
        yield f"Left over: {_some(extra)}."
    both = [key for key in wanted if key in found]
    shapes = [key for key in both if wanted[key].shape != found[key].shape]
    if shapes:
        words = [f"{k} {_shape(found[k])} instead of {_shape(wanted[k])}" for k in shapes]
        yield f"Of another shape: {_some(words)}."
    if kinds := [k for k in both if wanted[k].is_floating_point() != found[k].is_floating_point()]:
        yield f"Of another kind of number: {_some(kinds)}."


def _bad_numbers(found: Mapping[str, Tensor]) -> Iterable[str]:
    if bad := [key for key, value in found.items() if not bool(torch.isfinite(value).all())]:
        yield f"With NaN or Inf: {_some(bad)}."


def _some(words: list[str]) -> str:
    rest = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + rest


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _sizes(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Say the sizes of the two networks where they are transformers of different sizes."""
    mine, theirs = _size(wanted), _size(found)
    if mine == theirs or not theirs:
        return ""
    return f" The file holds {theirs}; the network has {mine}."


def _size(tensors: Mapping[str, Tensor]) -> str:
    blocks = {match[1] for key in tensors if (match := re.search(r"blocks\.(\d+)\.", key))}
    norms = [
        value
        for key, value in tensors.items()
        if re.search(r"blocks\.0\.(norm1|ln_1)\.weight", key)
    ]
    return f"{len(blocks)} blocks of width {norms[0].numel()}" if norms else ""
