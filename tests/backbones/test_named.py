"""The backbones of named.toml: the table equals the libraries, features equal theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from featcache.backbones import build_network, resolve
from featcache.backbones.modules import ClipTimm, TimmNet
from featcache.backbones.named import named_rows
from featcache.backbones.openclip_models import any_clip
from featcache.backbones.timm_models import any_timm
from featcache.testing import small
from featcache.testing.fixtures import own_names, save_safetensors

ROWS = named_rows()
ONE_OF_EACH_FAMILY = [
    "dinov3-vit-s16",
    "dinov3-vit-hplus16",
    "dinov3-vit-7b16",
    "dinov3-convnext-tiny",
    "siglip2-b",
    "siglip2-g",
    "pe-core-b",
    "metaclip2-h",
    "mobileclip2-s0",
    "mobileclip2-b",
    "eva02-clip-b",
    "eva02-b",
    "aimv2-l",
    "clip-vit-bigg14-laion2b",
    "c-radio-v3-b",
    "c-radio-v4-h",
]


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_what_the_library_says(name: str) -> None:
    row, spec = ROWS[name], resolve(name)
    if row.get("library") == "open_clip":
        library = any_clip(f"open_clip:{row['model']}/{row['tag']}")
    else:
        library = any_timm(f"timm:{row['model']}.{row['tag']}")
    native = library.native
    if name.startswith("siglip2"):  # the authors squash; timm's evaluation crops
        native = replace(native, squash=True, resize=native.size)
    assert (spec.n_features, spec.taps, spec.native) == (library.n_features, library.taps, native)
    assert spec.weights is not None
    assert library.weights is not None
    assert (spec.weights.hub, spec.weights.url) == (library.weights.hub, library.weights.url)
    assert spec.preset == "native"


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
def test_features_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    spec = small(name)
    assert spec.create is not None
    torch.manual_seed(3)
    network = spec.create()
    with torch.no_grad():  # initial zeros and ones would hide a wrong name
        for tensor in network.parameters():
            tensor.add_(0.05 * torch.randn_like(tensor))
    path = save_safetensors(own_names(network.state_dict()), tmp_path / "model.safetensors")
    images = torch.randn(2, 3, spec.native.size, spec.native.size)
    layers = [] if spec.taps is None or not spec.taps.tokens else [1, spec.taps.last]
    names = [name, *(f"{name}@layer{layer}{end}" for layer in layers for end in ("", ":mean"))]
    specs = [
        replace(spec, name=text, network=name, find_weights=lambda: path)
        for text in (str(resolve(text).name) for text in names)
    ]
    with torch.inference_mode():
        features = build_network(specs)(images)
        if isinstance(network, ClipTimm):
            expected, trunk = network.visual(images), network.visual.trunk
        elif isinstance(network, TimmNet):
            expected, trunk = network.trunk(images), network.trunk
        else:
            expected, trunk = network.visual(images) @ network.proj, None
        torch.testing.assert_close(features[0], expected, rtol=1e-5, atol=1e-5)
        if trunk is not None and layers:
            outputs = trunk.forward_intermediates(
                images,
                indices=[layer - 1 for layer in layers],
                output_fmt="NLC",
                return_prefix_tokens=True,
                intermediates_only=True,
            )
            pooled = [
                part for patches, prefix in outputs for part in (prefix[:, 0], patches.mean(1))
            ]
            for feature, part in zip(features[1:], pooled, strict=True):
                torch.testing.assert_close(feature, part, rtol=1e-5, atol=1e-5)


def test_a_class_token_is_what_dinov3_gives() -> None:
    assert resolve("dinov3").tap["token"] == "class"
    trunk = small("dinov3").create().trunk  # type: ignore[misc, union-attr]
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        tokens = trunk.forward_features(images)
        torch.testing.assert_close(trunk(images), tokens[:, 0])
