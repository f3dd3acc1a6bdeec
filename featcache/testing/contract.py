"""What every backbone must do: run on ours, and offered to those who write plug-ins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbones import BackboneSpec, build_network
from featcache.backbones.base import with_tap
from featcache.backbones.names import Tap
from featcache.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

Publish = Callable[[dict[str, "Tensor"]], dict[str, "Tensor"]]

TOLERANCE = 1e-4
"""Largest relative difference that the size of the batch may make, in fp32: other kernels, other
rounding.
"""


def check_backbone(
    spec: BackboneSpec, folder: Path, *, n_images: int = 3, publish: Publish = dict
) -> None:
    """Check a backbone against the contract, with random weights.

    Parameters
    ----------
    spec : BackboneSpec
        With ``create``. Its ``find_weights`` is not called.
    folder : Path
        Where a few files may be written.
    n_images : int
        Size of the batch that is tried.
    publish : callable
        From the state dict of the module that ``build`` returns to the tensors as they lie in a
        published file; by default the same.

    Raises
    ------
    AssertionError
        Saying what the backbone does not do.
    """
    import torch

    assert spec.create is not None, (
        f"{spec.name}: no 'create', so it cannot be tested without weights"
    )
    side = spec.native.size
    images = torch.randn(n_images, 3, side, side, generator=torch.Generator().manual_seed(0))
    spec = replace(spec, random_init=1)
    network = build_network([spec])
    with torch.inference_mode():
        check_features(spec, network, images)
        check_taps(spec, images)
    check_loading(spec, images, folder, publish)


def check_features(spec: BackboneSpec, network: nn.Module, images: Tensor) -> None:
    """Check shape, dtype, evaluation mode, determinism and independence from the batch.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.
    network : nn.Module
        Network whose modules are used.
    images : Tensor
        Images of shape (batch, 3, height, width), float32, normalised.
    """
    import torch

    (features,) = network(images)
    assert features.shape == (len(images), spec.n_features), f"{spec.name}: shape {features.shape}"
    assert features.dtype == torch.float32, f"{spec.name}: {features.dtype}, not float32"
    assert bool(torch.isfinite(features).all()), f"{spec.name}: NaN or Inf"
    assert not network.training, f"{spec.name}: not in evaluation mode"
    assert not any(p.requires_grad for p in network.parameters()), f"{spec.name}: not frozen"
    assert torch.equal(features, network(images)[0]), f"{spec.name}: two passes differ"
    (again,) = build_network([spec])(images)
    assert torch.equal(features, again), f"{spec.name}: the same seed gives other weights"
    alone = torch.cat([network(image[None])[0] for image in images])
    assert bool((features - alone).abs().max() <= TOLERANCE * alone.abs().max()), (
        f"{spec.name}: depends on the size of the batch"
    )
    assert not torch.equal(features[0], features[1]), (
        f"{spec.name}: the same feature for other images"
    )


def check_taps(spec: BackboneSpec, images: Tensor) -> None:
    """Check that all taps come from one pass, in order, in their widths, and agree with single
    ones.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.
    images : Tensor
        Images of shape (batch, 3, height, width), float32, normalised.
    """
    import torch

    if spec.taps is None:
        return
    layers = range(spec.taps.first, spec.taps.last + 1)
    poolings = ("cls", "mean", "cls+mean") if spec.taps.tokens else ("cls",)
    taps = [Tap(), *(Tap("layer", layer, pooling) for layer in layers for pooling in poolings)]
    taps += [Tap("pre", 0, pooling) for pooling in poolings] if spec.taps.projected else []
    specs = [replace(with_tap(spec, tap), name=f"{spec.network}@{tap}") for tap in taps]
    together = build_network(specs)(images)
    assert len(together) == len(specs), f"{spec.name}: {len(together)} taps of {len(specs)}"
    for one, features in zip(specs, together, strict=True):
        assert features.shape == (len(images), one.n_features), (
            f"{one.name}: shape {features.shape}"
        )
    for one, features in list(zip(specs, together, strict=True))[:: max(1, len(specs) // 3)]:
        (alone,) = build_network([one])(images)
        assert torch.equal(features, alone), f"{one.name}: differs when it is tapped alone"


def check_loading(spec: BackboneSpec, images: Tensor, folder: Path, publish: Publish) -> None:
    """Check that ``build`` takes a whole file and refuses damaged ones, and that no code in them
    runs.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.
    images : Tensor
        Images of shape (batch, 3, height, width), float32, normalised.
    folder : Path
        Folder that is read or written.
    publish : Publish
        Function that writes a checkpoint.
    """
    import torch

    from featcache.testing.fixtures import save_pickle_with_code, save_plain

    assert spec.create is not None
    model = spec.create()
    tensors = publish(model.state_dict())
    path = save_plain(tensors, folder / "whole.pth")
    with torch.inference_mode():
        assert torch.equal(spec.build(path).eval()(images), model.eval()(images)), "other features"
    first = next(name for name in tensors if name.endswith("weight"))
    spoilt = dict(tensors)
    spoilt["intruder.weight"] = spoilt.pop(first)
    _refuses(spec.build, save_plain(spoilt, folder / "renamed.pth"), "intruder.weight")
    spoilt = {**tensors, first: tensors[first][:-1].clone()}
    _refuses(spec.build, save_plain(spoilt, folder / "shape.pth"), first)
    cut = folder / "cut.pth"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _refuses(spec.build, cut, "cut.pth")
    trace = folder / "trace"
    _refuses(spec.build, save_pickle_with_code(folder / "code.pth", trace), "code.pth")
    assert not trace.exists(), f"{spec.name}: loading ran code from the file"


def _refuses(build: Callable[[Path], nn.Module], path: Path, word: str) -> None:
    try:
        build(path)
    except WeightsError as error:
        message = str(error)
    else:
        raise AssertionError(f"{path.name} was loaded")
    assert word in message, f"the refusal of {path.name} does not say {word!r}: {message}"
