"""Test inputs, ours and those of plug-ins: trees of images, small backbones, checkpoint files.

The images are such that a probe can tell real from fake. The small backbones are the built-in ones
with less width and depth: same code, same structure. The checkpoint files have random weights in
the structures that authors publish.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from featcache.backbones import BackboneSpec, Taps, resolve
from featcache.backbones.modules import ClipTimm, TimmNet, taps_of
from featcache.backbones.openclip_models import SMALL as CLIP
from featcache.backbones.openclip_models import SMALL_RESNET as CLIP_RESNET
from featcache.backbones.openclip_models import ClipFamily
from featcache.backbones.timm_models import TimmFamily


def make_images(n: int, *, seed: int, blur: float = 0.0, size: int = 64) -> list[Image.Image]:
    """Return images of smooth noise; ``blur`` (sigma, pixels) is the trace of a made-up generator.

    Parameters
    ----------
    n : int
        Number of items.
    seed : int
        Seed of the random numbers.
    blur : float
        Standard deviation of the blur in pixels.
    size : int
        Side of the input in pixels.

    Returns
    -------
    list[Image.Image]
        Images of smooth noise.
    """
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        noise = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
        images.append(noise.filter(ImageFilter.GaussianBlur(1.0 + blur)))
    return images


def make_tree(
    root: Path,
    *,
    generators: Iterable[str] = ("progan", "biggan"),
    splits: Iterable[str] = ("train", "test"),
    n: int = 8,
    size: int = 64,
) -> Path:
    """Write ``<root>/<split>/<generator>/{0_real,1_fake}/*.png`` and return the root.

    Parameters
    ----------
    root : Path
        Root folder.
    generators : Iterable[str]
        Names of generators; empty for all.
    splits : Iterable[str]
        Names of the splits.
    n : int
        Number of items.
    size : int
        Side of the input in pixels.

    Returns
    -------
    Path
    """
    for i, split in enumerate(splits):
        for j, generator in enumerate(generators):
            for label, name in enumerate(("0_real", "1_fake")):
                folder = root / split / generator / name
                folder.mkdir(parents=True)
                seed = 100 * i + 10 * j + label
                images = make_images(n, seed=seed, blur=label * (0.6 + 0.4 * j), size=size)
                for k, image in enumerate(images):
                    image.save(folder / f"{k:03d}.png")
    return root


MAP_SIDE = 64
"""Pixels; networks of convolutions take any size and are small as they are."""


def small(name: str) -> BackboneSpec:
    """Return a built-in backbone in a small size.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Returns
    -------
    BackboneSpec
        A built-in backbone in a small size.

    Raises
    ------
    ValueError
        If it is none of ours.
    """
    spec = resolve(name)
    family = getattr(spec.build, "__self__", None)
    tiny = family.small() if isinstance(family, (TimmFamily, ClipFamily)) else None
    if tiny is None:
        raise ValueError(f"{name} has no small form")
    side = MAP_SIDE
    if isinstance(tiny, ClipFamily):
        side = tiny.overrides["image_size"]
    elif "img_size" in tiny.options and (spec.taps is None or spec.taps.tokens):
        side = tiny.options["img_size"]
    with torch.device("meta"):
        network = tiny.create()
        features = network(torch.zeros(1, 3, side, side))
    taps = spec.taps
    trunk = network.visual.trunk if isinstance(network, ClipTimm) else network
    if isinstance(trunk, TimmNet):
        trunk = trunk.trunk
    if isinstance(tiny, TimmFamily) or isinstance(network, ClipTimm):
        taps = taps_of(trunk, side)[0]
    elif taps is not None and taps.tokens:
        taps = Taps((CLIP["width"],) * (CLIP["layers"] + 1), projected=True)
    elif taps is not None:
        taps = Taps(tuple(4 * CLIP_RESNET["width"] * 2**i for i in range(4)), tokens=False)
    return replace(
        spec,
        build=tiny.build,
        create=tiny.create,
        n_features=int(features.shape[1]),
        native=replace(spec.native, size=side, resize=side),
        taps=taps,
        crop=0,
    )


def own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the names of our wrappers away: a published file has the network's own.

    Parameters
    ----------
    state : dict[str, Tensor]
        State of the run.

    Returns
    -------
    dict[str, Tensor]
    """
    return {
        name.removeprefix("trunk.").removeprefix("visual."): tensor
        for name, tensor in state.items()
    }


Tensors = Mapping[str, Tensor]


def save_plain(tensors: Tensors, path: Path) -> Path:
    """Write a flat state dict, as DINOv2's hub and torchvision do.

    Parameters
    ----------
    tensors : Tensors
        Tensors of the file by name.
    path : Path
        File or folder.

    Returns
    -------
    Path
    """
    torch.save(dict(tensors), path)
    return path


def save_safetensors(tensors: Tensors, path: Path) -> Path:
    """Write a safetensors file, as timm's and open_clip's repositories have them.

    Parameters
    ----------
    tensors : Tensors
        Tensors of the file by name.
    path : Path
        File or folder.

    Returns
    -------
    Path
    """
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return path


def save_wrapped(
    tensors: Tensors,
    path: Path,
    *,
    under: str,
    prefix: str,
    beside: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``{under: {prefix + name: tensor}}``, as SynCLR and StableRep are published.

    Parameters
    ----------
    tensors : mapping of str to Tensor
    path : Path
    under : {"model", "state_dict"}
    prefix : str
        ``"module.visual."``, ``"visual."`` or empty.
    beside : mapping, optional
        What else lies in the file: optimiser, arguments; and other towers inside the state dict.

    Returns
    -------
    Path
    """
    state = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    torch.save({under: state, **(beside or {})}, path)
    return path


def save_openai(tensors: Tensors, path: Path) -> Path:
    """Write a state dict as OpenAI's CLIP has it: half precision, the text tower and sizes beside
    it.

    Parameters
    ----------
    tensors : Tensors
        Tensors of the file by name.
    path : Path
        File or folder.

    Returns
    -------
    Path
    """
    state = {f"visual.{name}": tensor.half() for name, tensor in tensors.items()}
    state |= {"text_projection": torch.zeros(4, 4), "logit_scale": torch.tensor(4.6)}
    state |= {
        "input_resolution": torch.tensor(224),
        "transformer.resblocks.0.ln_1.weight": torch.ones(4),
    }
    torch.save(state, path)
    return path


def save_torchscript(tensors: Tensors, path: Path) -> Path:
    """Write a TorchScript archive as OpenAI's CLIP is published: ``visual.*`` in half precision,
    with code.

    Parameters
    ----------
    tensors : Tensors
        Tensors of the file by name.
    path : Path
        File or folder.

    Returns
    -------
    Path
    """
    model = nn.Module()
    model.add_module("visual", _holder({name: tensor.half() for name, tensor in tensors.items()}))
    model.register_parameter("logit_scale", nn.Parameter(torch.tensor(4.6)))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # torch.jit is deprecated; the archives that it wrote remain
        torch.jit.save(torch.jit.script(model), str(path))
    return path


def _holder(tensors: Tensors) -> nn.Module:
    """Return a module whose nested parameters have these names."""
    root = nn.Module()
    for name, tensor in tensors.items():
        *folders, leaf = name.split(".")
        module = root
        for folder in folders:
            if folder not in dict(module.named_children()):
                module.add_module(folder, nn.Module())
            module = module.get_submodule(folder)
        module.register_buffer(leaf, tensor.clone())
    return root


class _Bomb:
    """Pickles to a call of ``print`` that leaves a file behind when it runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self._path,)


def save_pickle_with_code(path: Path, trace: Path, *, legacy: bool = False) -> Path:
    """Write a checkpoint that makes the file ``trace`` when a careless reader unpickles it.

    Parameters
    ----------
    path : Path
        File or folder.
    trace : Path
        File that the code would write if it were run.
    legacy : bool
        Whether the legacy format is written.

    Returns
    -------
    Path
    """
    torch.save(
        {"model": {"weight": torch.ones(2)}, "args": _Bomb(trace)},
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    return path
