"""Trunks of timm and open_clip as modules that give their features at any tap, in one pass.

The loaded network: normalised images in, one feature tensor for each tap out.

The first feature of a network that gives several.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

import torch
from torch import Tensor, nn

from featcache.backbones.base import BackboneSpec, Taps
from featcache.backbones.names import Tap
from featcache.backbones.own_checkpoints import load_checkpoint, read_metadata
from featcache.errors import ResourceError, SettingsError
from featcache.threads import available_memory

_HOOKING = Lock()
"""Torch numbers hooks by a counter that is not safe among threads."""


class TimmNet(nn.Module):
    """A model of timm without its classifier.

    Parameters
    ----------
    trunk : nn.Module
        Made with ``num_classes=0``.
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images: Tensor) -> Tensor:
        """Return the final feature (N, D): what timm pools, after the last norm.

        Parameters
        ----------
        images : Tensor
            Images of shape (batch, 3, height, width), float32, normalised.

        Returns
        -------
        Tensor
            The final feature (N, D).
        """
        features: Tensor = self.trunk(images)
        return features

    def forward_taps(self, images: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, ...]:
        """Return one feature (N, D_i) for each tap.

        Parameters
        ----------
        images : Tensor
            Images of shape (batch, 3, height, width), float32, normalised.
        taps : Sequence[Tap]
            Taps to return.

        Returns
        -------
        tuple[Tensor, ...]
            One feature (N, D_i) for each tap.
        """
        return _tap_trunk(self.trunk, images, taps)


def _tap_trunk(
    trunk: Any, images: Tensor, taps: Sequence[Tap], head: nn.Module | None = None
) -> tuple[Tensor, ...]:
    """Return one feature for each tap of a model of timm; ``head`` makes the final one."""
    blocks, tokens = blocks_of(trunk)
    with watch(blocks, taps, first=0 if tokens else 1) as seen:
        end = trunk.forward_features(images)
    final = trunk.forward_head(end)
    n_prefix = int(getattr(trunk, "num_prefix_tokens", 1))
    features = []
    for tap in taps:
        if tap == Tap():
            features.append(head(final) if head else final)
        elif tokens:
            features.append(
                pool_tokens(seen[tap.layer] if tap.place == "layer" else end, tap, n_prefix)
            )
        else:
            features.append(seen[tap.layer].mean(dim=(2, 3)))
    return tuple(features)


class ClipTimm(nn.Module):
    """An image tower of open_clip whose trunk is a model of timm (PE, EVA02, MobileCLIP 2).

    Parameters
    ----------
    visual : nn.Module
        ``open_clip.timm_model.TimmModel``.
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        """Return the projected feature (N, D).

        Parameters
        ----------
        images : Tensor
            Images of shape (batch, 3, height, width), float32, normalised.

        Returns
        -------
        Tensor
            The projected feature (N, D), not normalised.
        """
        features: Tensor = self.visual(images)
        return features

    def forward_taps(self, images: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, ...]:
        """Return one feature (N, D_i) for each tap.

        Parameters
        ----------
        images : Tensor
            Images of shape (batch, 3, height, width), float32, normalised.
        taps : Sequence[Tap]
            Taps to return.

        Returns
        -------
        tuple[Tensor, ...]
            One feature (N, D_i) for each tap.
        """
        return _tap_trunk(self.visual.trunk, images, taps, self.visual.head)


class ClipVit(nn.Module):
    """CLIP's vision transformer; the final feature is the projected class token, not normalised.

    Parameters
    ----------
    visual : nn.Module
        ``open_clip.transformer.VisionTransformer`` with its weights; its projection is taken over.
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.proj = visual.proj
        visual.proj = None
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        """Return the projected class token (N, D).

        Parameters
        ----------
        images : Tensor
            Images of shape (batch, 3, height, width), float32, normalised.

        Returns
        -------
        Tensor
            The projected class token (N, D).
        """
        features: Tensor = self.visual(images) @ self.proj
        return features

    def forward_taps(self, images: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, ...]:
        """Return one feature (N, D_i) for each tap.

        Parameters
        ----------
        images : Tensor
            Images of shape (batch, 3, height, width), float32, normalised.
        taps : Sequence[Tap]
            Taps to return.

        Returns
        -------
        tuple[Tensor, ...]
            One feature (N, D_i) for each tap.
        """
        transformer = self.visual.transformer
        blocks = list(transformer.resblocks)
        needed = [*taps, Tap("layer", len(blocks))]
        with watch(blocks, needed, first=0) as seen:
            pooled = self.visual(images)
        if not getattr(transformer, "batch_first", False):  # open_clip < 2.27 runs (L, N, D)
            seen = {layer: tokens.transpose(0, 1) for layer, tokens in seen.items()}
        return tuple(self._read(tap, pooled, seen, len(blocks)) for tap in taps)

    def _read(self, tap: Tap, pooled: Tensor, seen: dict[int, Tensor], last: int) -> Tensor:
        if tap == Tap():
            features: Tensor = pooled @ self.proj
            return features
        if tap == Tap("pre"):
            return pooled
        if tap.place == "pre":
            return pool_tokens(self.visual.ln_post(seen[last]), tap, 1)
        return pool_tokens(seen[tap.layer], tap, 1)


class ClipResNet(nn.Module):
    """CLIP's ResNet; the final feature is what its attention pool gives.

    Parameters
    ----------
    visual : nn.Module
        ``open_clip.modified_resnet.ModifiedResNet``.
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        """Return the attention-pooled feature (N, D).

        Parameters
        ----------
        images : Tensor
            Images of shape (batch, 3, height, width), float32, normalised.

        Returns
        -------
        Tensor
            The attention-pooled feature (N, D).
        """
        features: Tensor = self.visual(images)
        return features

    def forward_taps(self, images: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, ...]:
        """Return one feature (N, D_i) for each tap; stages are averaged over their map.

        Parameters
        ----------
        images : Tensor
            Images of shape (batch, 3, height, width), float32, normalised.
        taps : Sequence[Tap]
            Taps to return.

        Returns
        -------
        tuple[Tensor, ...]
            One feature (N, D_i) for each tap.
        """
        stages = [getattr(self.visual, f"layer{i}") for i in (1, 2, 3, 4)]
        with watch(stages, taps, first=1) as seen:
            final = self.visual(images)
        return tuple(final if tap == Tap() else seen[tap.layer].mean(dim=(2, 3)) for tap in taps)


@contextmanager
def watch(
    blocks: Sequence[nn.Module], taps: Sequence[Tap], *, first: int
) -> Iterator[dict[int, Tensor]]:
    """Catch what leaves the tapped layers while the network runs in this thread.

    One network runs in several threads at once: what other threads make of their images is let
    pass.

    Parameters
    ----------
    blocks : sequence of nn.Module
    taps : sequence of Tap
        Those with a layer are caught.
    first : {0, 1}
        0 where layer 0, what enters the first block, exists.

    Yields
    ------
    dict of int to Tensor
        By number of blocks passed; filled by the forward pass.
    """
    seen: dict[int, Tensor] = {}
    handles = []
    with _HOOKING:
        for layer in {tap.layer for tap in taps if tap.place == "layer"}:
            keep = _keeper(seen, layer, get_ident())
            if layer == 0 and first == 0:
                handles.append(blocks[0].register_forward_pre_hook(keep))
            else:
                handles.append(blocks[layer - 1].register_forward_hook(keep))
    try:
        yield seen
    finally:
        with _HOOKING:
            for handle in handles:
                handle.remove()


def _keeper(seen: dict[int, Tensor], layer: int, thread: int) -> Any:
    """Return a hook that keeps what enters (before a module) or leaves (after it), in one
    thread.
    """

    def keep(module: nn.Module, arguments: Any, output: Tensor | None = None) -> None:
        if get_ident() == thread:
            seen[layer] = arguments[0] if output is None else output

    return keep


def pool_tokens(tokens: Tensor, tap: Tap, n_prefix: int) -> Tensor:
    """Return the class token (the first), the mean of the patch tokens, or both side by side.

    Parameters
    ----------
    tokens : Tensor of shape (N, n_prefix + patches, D)
        Class token first, then registers, then patches.
    tap : Tap
    n_prefix : int
        Class token and registers.

    Returns
    -------
    Tensor
        The class token (the first), the mean of the patch tokens, or both side by side.
    """
    parts = {"cls": tokens[:, 0], "mean": tokens[:, n_prefix:].mean(dim=1)}
    return torch.cat([parts[name] for name in tap.pooling.split("+")], dim=1)


def blocks_of(trunk: Any) -> tuple[list[nn.Module], bool]:
    """Return the blocks or stages of a model of timm, and whether they carry a class and patch
    tokens.

    Empty for families whose layout is not known here: their final feature is all there is.

    Parameters
    ----------
    trunk : Any
        Network without its head.

    Returns
    -------
    tuple[list[nn.Module], bool]
        The blocks or stages of a model of timm, and whether they carry a class and patch
        tokens.
    """
    from timm.models.convnext import ConvNeXt
    from timm.models.efficientnet import EfficientNet
    from timm.models.eva import Eva
    from timm.models.resnet import ResNet
    from timm.models.vision_transformer import VisionTransformer

    if isinstance(trunk, (VisionTransformer, Eva)):
        has_class = getattr(trunk, "cls_token", None) is not None
        return (list(trunk.blocks), True) if has_class else ([], True)
    if isinstance(trunk, ResNet):
        return [getattr(trunk, f"layer{i}") for i in (1, 2, 3, 4)], False
    if isinstance(trunk, EfficientNet):
        return list(trunk.blocks), False
    return (list(trunk.stages), False) if isinstance(trunk, ConvNeXt) else ([], False)


def taps_of(trunk: nn.Module, size: int) -> tuple[Taps | None, int]:
    """Return the taps of a model of timm, and the width of its final feature, from one pass.

    Parameters
    ----------
    trunk : nn.Module
        On the meta device the pass computes no numbers.
    size : int, pixels
        Side of its input.

    Returns
    -------
    tuple[Taps | None, int]
        The taps, and the width of the final feature.
    """
    blocks, tokens = blocks_of(trunk)
    first = 0 if tokens else 1
    layers = [Tap("layer", number) for number in range(first, len(blocks) + 1)] if blocks else []
    with watch(blocks, layers, first=first) as seen, torch.inference_mode():
        first_parameter = next(trunk.parameters())
        final = trunk.eval()(torch.zeros(1, 3, size, size, device=first_parameter.device))
    axis = 2 if tokens else 1
    widths = tuple(int(seen[tap.layer].shape[axis]) for tap in layers)
    return (Taps(widths, tokens) if widths else None), int(final.shape[1])


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
        """Return one tensor (N, D_i) for each tap from images (N, 3, S, S).

        Parameters
        ----------
        images : Tensor
            Images of shape (batch, 3, height, width), float32, normalised.

        Returns
        -------
        tuple[Tensor, ...]
            One tensor (N, D_i) for each tap from images (N, 3, S, S).
        """
        if set(self.taps) == {Tap()}:
            return (self.model(images),) * len(self.taps)
        features: tuple[Tensor, ...] = self.model.forward_taps(images, self.taps)  # type: ignore[operator]
        return features


def load_model(spec: BackboneSpec) -> nn.Module:
    """Return the network of a spec with its weights, or with random ones where it says so.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.

    Returns
    -------
    nn.Module
        The network of a spec with its weights, or with random ones where it says so.

    Raises
    ------
    SettingsError
        If random weights are asked of a backbone that cannot have them.
    ResourceError
        If the network is larger than the free memory.
    """
    if spec.random_init is None:
        if spec.state_id:
            return spec.build(Path())
        path = spec.find_weights()
        _require_memory(spec, path.stat().st_size)
        if read_metadata(path) is not None:
            return load_checkpoint(path, spec)
        return spec.build(path).eval()
    if spec.create is None:
        raise SettingsError(f"{spec.network} cannot be made with random weights.")
    if spec.weights is not None:
        with torch.device("meta"):
            sizes = [
                tensor.numel() * tensor.element_size() for tensor in spec.create().parameters()
            ]
        _require_memory(spec, sum(sizes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.random_init)
        return spec.create().eval()


def _require_memory(spec: BackboneSpec, n_bytes: int) -> None:
    """Refuse a network that the memory cannot hold, before the system ends the process."""
    free = available_memory()
    if n_bytes > free:
        raise ResourceError(
            f"The network of {spec.network} takes {n_bytes / 1e9:.1f} GB to load, and"
            f" {free / 1e9:.1f} GB of memory are free. Use a machine with more memory, or a smaller"
            " backbone ('featcache backbones ls')."
        )


class Single(nn.Module):
    """Give the only feature of a network of one specification."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, D) features of (N, 3, S, S) images.

        Parameters
        ----------
        images : Tensor
            Images of shape (batch, 3, height, width), float32, normalised.

        Returns
        -------
        Tensor
            (N, D) features of (N, 3, S, S) images.
        """
        feature: Tensor = self.network(images)[0]
        return feature


def state_digest(module: nn.Module) -> str:
    """Return the digest of a module's state dict: names, dtypes, shapes and values.

    Parameters
    ----------
    module : nn.Module

    Returns
    -------
    str
        ``blake2b:`` and hexadecimal digits; the device does not matter.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy().data)
    return f"blake2b:{digest.hexdigest()}"


def describe_module(module: nn.Module, size: int) -> tuple[nn.Module, Taps | None, int]:
    """Return a user's module as one with taps where it is a model of timm, its taps and its width.

    Parameters
    ----------
    module : nn.Module
    size : int, pixels
        Side of its input.

    Returns
    -------
    tuple[nn.Module, Taps | None, int]

    Raises
    ------
    SettingsError
        If it does not give one row of features for an image.
    """
    first = next(iter(module.parameters()), torch.empty(0))
    images = torch.zeros(1, 3, size, size, device=first.device, dtype=first.dtype)
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.inference_mode():
            out = module(images)
        if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != 1:
            kind = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise SettingsError(
                f"{type(module).__name__} gives {kind} for one image, not features (1, D). Wrap it"
                " in a module whose forward returns one row for each image."
            )
        taps, width = None, int(out.shape[1])
        if blocks_of(module)[0]:
            taps, width = taps_of(module, size)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        if isinstance(error, SettingsError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(
            f"{type(module).__name__} takes no images (1, 3, {size}, {size}): {reason}. Correct the"
            " preprocessing, or wrap the module."
        ) from error
    finally:
        for part in training:
            part.training = True
    return (TimmNet(module) if taps else module), taps, width
