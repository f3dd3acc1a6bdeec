"""Run backbones over images, record their attention, and make the maps.

timm's and open_clip's transformers, and torch's own, all end in
``scaled_dot_product_attention``; to record there needs no knowledge of how a library builds its
blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.attention import maps
from featcache.backbones import BackboneSpec, Preprocessing, build_network, preprocessing_of
from featcache.errors import DataError
from featcache.files import read_file
from featcache.images import decode
from featcache.probes import SavedHead
from featcache.progress import track
from featcache.results.analysis import Attended, AttentionMap

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


@dataclass(frozen=True, kw_only=True)
class AttendOptions:
    """How maps are made.

    Parameters
    ----------
    preset : str
        Preprocessing.
    head : SavedHead or None
        Whose score the response is about; it must have been trained on the backbones' features.
    """

    preset: str = "default"
    head: SavedHead | None = None


def attend(
    specs: Sequence[BackboneSpec], paths: Sequence[Path], options: AttendOptions
) -> list[Attended]:
    """Return the maps of every backbone over every image.

    Parameters
    ----------
    specs : sequence of BackboneSpec
    paths : sequence of Path
    options : AttendOptions

    Returns
    -------
    list of Attended
        Image by image, backbone by backbone.

    Raises
    ------
    ImageError, DataError
        If a file is no image, or the head was not trained on a backbone's features.
    """
    images = [decode(_read(path)) for path in paths]
    attended: dict[tuple[int, int], Attended] = {}
    jobs = [(i, j) for j in range(len(specs)) for i in range(len(paths))]
    networks: dict[int, nn.Module] = {}
    for i, j in track(jobs, "attend", len(jobs)):
        spec = specs[j]
        if j not in networks:
            networks = {j: build_network([spec]).eval().requires_grad_(False)}
        preprocessing = preprocessing_of(spec, options.preset)
        pixels = preprocessing(preprocessing.orient(images[i]))
        attended[i, j] = _attend_one(
            networks[j], spec, preprocessing, pixels, str(paths[i]), options.head
        )
    return [attended[i, j] for i in range(len(paths)) for j in range(len(specs))]


def _attend_one(
    network: nn.Module,
    spec: BackboneSpec,
    preprocessing: Preprocessing,
    pixels: NDArray[np.uint8],
    path: str,
    head: SavedHead | None,
) -> Attended:
    import torch

    images = _tensor(pixels, preprocessing).requires_grad_(True)
    with torch.enable_grad(), recording(network) as heard:
        feature = network(images)[0][0].double()
        logit = _logit(feature, spec, head)
        target = logit if head is not None else 0.5 * (feature**2).sum()
        pushed = _pushed(target, heard)
    layers = [weights[0].double().numpy() for weights in heard.attention]
    kind: Any = "response" if head is not None else "energy"
    made = [*_attention_maps(layers), AttentionMap(kind=kind, values=pushed, mass=pushed.sum())]
    return Attended(
        path=path,
        backbone=spec.name,
        pixels=pixels,
        maps=tuple(made),
        n_layers=len(layers),
        n_heads=layers[-1].shape[0] if layers else 0,
        row_error=maps.row_error(layers) if layers else float("nan"),
        logit=float(logit.detach()) if head is not None else float("nan"),
    )


def _attention_maps(layers: list[NDArray[np.float64]]) -> list[AttentionMap]:
    if not layers:
        return []
    by_head = maps.class_attention(layers[-1])
    mean, rolled = by_head.mean(axis=0), maps.rollout(layers)
    return [
        AttentionMap(kind="attention", values=mean, mass=float(mean.sum())),
        AttentionMap(kind="rollout", values=rolled, mass=float(rolled.sum())),
        *(
            AttentionMap(kind="attention", values=values, head=i, mass=float(values.sum()))
            for i, values in enumerate(by_head)
        ),
    ]


def _pushed(target: Tensor, heard: Recording) -> NDArray[np.float64]:
    """Return gradient times activation at the last place where the image is still a map.

    For transformers that is what each token hands on in the last attention layer that the target
    depends on; for convolutional networks the last map (for a mean-pooled map and a linear head the
    sum over the map is the logit without its bias, exactly).
    """
    import torch

    stages = heard.values or heard.maps
    if not stages:
        raise DataError("The network has neither attention between tokens nor a map of features.")
    gradients = torch.autograd.grad(target, stages, allow_unused=True)
    used = [(s, g) for s, g in zip(stages, gradients, strict=True) if g is not None]
    if not used:
        raise DataError("The feature depends on no map of the image.")
    stage, gradient = used[-1]
    product = (stage * gradient)[0].detach().double().numpy()
    if not heard.values:
        return np.asarray(product.sum(axis=0))
    tokens = product.sum(axis=(0, 2))
    prefix, side = maps.split_tokens(len(tokens))
    return np.asarray(tokens[prefix:].reshape(side, side))


def _logit(feature: Tensor, spec: BackboneSpec, head: SavedHead | None) -> Tensor:
    """Return the part of the head's logit that is this feature's; all of it for a head on one
    feature.
    """
    import torch

    if head is None:
        return feature.sum()
    names = [key.get("backbone") for key in head.feature_keys]
    if spec.name not in names:
        raise DataError(
            f"The head was trained on {', '.join(map(str, names)) or 'nothing known'}, not on"
            f" {spec.name}."
        )
    stops = np.cumsum([0, *head.widths])
    place = names.index(spec.name)
    weight = torch.from_numpy(head.weight[stops[place] : stops[place + 1]])
    if head.l2:
        feature = torch.nn.functional.normalize(feature, dim=0)
    return feature @ weight + head.bias / len(names)


def _tensor(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    import torch

    mean = torch.tensor(preprocessing.mean).reshape(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std).reshape(1, 3, 1, 1)
    return (torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255 - mean) / std


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        name = os.fspath(path)
        raise DataError(f"{name!r} cannot be read: {error.strerror or error}.") from error
