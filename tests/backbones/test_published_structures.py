"""The whole way with files in the published structures at their real sizes, random weights and
no network.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from featcache.backbones import BACKBONES, resolve
from featcache.backbones.preprocess import CLIP_MEAN, CLIP_STD
from featcache.testing import fixtures as files
from featcache.testing import make_tree, small

Call = Callable[..., Any]
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def timm_model(name: str, **options: Any) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, num_classes=0, **options)
    return model.eval()


def clip_tower(name: str) -> nn.Module:
    """Return the image tower of the whole CLIP, made by open_clip's own factory."""
    import open_clip

    visual: nn.Module = open_clip.create_model(name, pretrained=None).visual
    return visual.eval()


def fill(model: nn.Module, seed: int) -> State:
    """Give every tensor random values that keep the activations in range, and return them."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            scale = 0.1 if tensor.ndim < 2 else tensor[0].numel() ** -0.5
            noise = torch.randn(tensor.shape, generator=generator) * scale
            near_one = name.endswith(
                (
                    "norm.weight",
                    "norm1.weight",
                    "norm2.weight",
                    "ln_1.weight",
                    "ln_2.weight",
                    "ln_pre.weight",
                    "ln_post.weight",
                    "running_var",
                )
            )
            tensor.copy_((noise.abs() + 1 if near_one else noise).half())
    return model.state_dict()


def hub_dinov2(state: State) -> tuple[State, State]:
    """Return a file as the hub has it, of 37 x 37 patches, and what its code makes of them for
    the network's grid.
    """
    width = state["pos_embed"].shape[-1]
    published = torch.randn(1, 1 + 37 * 37, width, generator=torch.Generator().manual_seed(5)) * 0.1
    grid = published[:, 1:].reshape(1, 37, 37, width).permute(0, 3, 1, 2)
    side = round((state["pos_embed"].shape[1] - 1) ** 0.5)
    scale = ((side + 0.1) / 37,) * 2
    grid = nn.functional.interpolate(grid, scale_factor=scale, mode="bicubic", antialias=False)
    patches = grid.permute(0, 2, 3, 1).reshape(1, side * side, width)
    file = {**state, "pos_embed": published, "mask_token": torch.zeros(1, width)}
    return file, {**state, "pos_embed": torch.cat([published[:, :1], patches], dim=1)}


def direct(model: nn.Module, paths: list[str], side: int) -> Tensor:
    """Return the features as a user of torchvision and the model's library would make them."""
    prepare = transforms.Compose(
        [
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )
    images = torch.stack([prepare(Image.open(path).convert("RGB")) for path in paths])
    with torch.inference_mode():
        features: Tensor = model(images)
    return features


Networks = dict[str, nn.Module]


def real_networks() -> Networks:
    """Return the models at their real sizes, from the factories of their libraries."""
    return {
        "clip": clip_tower("ViT-B-16-quickgelu"),
        "synclr": timm_model("vit_base_patch16_224"),
        "dinov2": timm_model("vit_base_patch14_dinov2", img_size=224),
    }


def small_networks(monkeypatch: pytest.MonkeyPatch) -> Networks:
    """Put small forms into the registry, for this test, and return their models."""
    networks = {}
    for name in ("clip", "synclr", "dinov2"):
        spec = small(name)
        monkeypatch.setitem(BACKBONES._added, spec.name, spec)
        family = spec.build.__self__  # type: ignore[attr-defined]
        networks[name] = family.make_tower() if name == "clip" else family.make_trunk()
    return networks


@pytest.mark.parametrize("size", ["small", pytest.param("real", marks=pytest.mark.slow)])
def test_three_backbones_from_published_files_end_to_end(
    size: str, featcache: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = real_networks() if size == "real" else small_networks(monkeypatch)
    clip, synclr, dinov2 = networks.values()
    files.save_torchscript(fill(clip, 1), tmp_path / "ViT-B-16.pt")
    files.save_wrapped(
        fill(synclr, 2), tmp_path / "synclr.pth", under="model", prefix="module.visual."
    )
    published, resampled = hub_dinov2(fill(dinov2, 3))
    dinov2.load_state_dict(resampled)
    files.save_plain(published, tmp_path / "dinov2.pth")
    root, store = (
        make_tree(tmp_path / "toy", generators=("progan",), n=2, size=240),
        tmp_path / "store",
    )
    made = featcache(
        "extract",
        "--backbone",
        "clip,synclr,dinov2,clip@layer2",
        "--data",
        root,
        "--cache",
        store,
        "--weights",
        f"clip={tmp_path / 'ViT-B-16.pt'}",
        "--weights",
        f"synclr={tmp_path / 'synclr.pth'}",
        "--weights",
        f"dinov2={tmp_path / 'dinov2.pth'}",
        "--device",
        "cpu",
        "--json",
    )
    assert made.code == 0, made.err
    names = ["clip-vit-b16", "synclr-vit-b16", "dinov2-vit-b14", "clip-vit-b16@layer2"]
    assert [row["backbone"] for row in made.json["backbones"]] == names
    for name, model in networks.items():
        out = tmp_path / f"{name}.npz"
        ran = featcache("cache", "export", "--features", name, "--cache", store, "--out", out)
        assert ran.code == 0, ran.err
        arrays = np.load(out, allow_pickle=False)
        expected = direct(model, list(arrays["path"][:2]), resolve(name).native.size).numpy()
        np.testing.assert_allclose(arrays["features"][:2], expected, rtol=1e-4, atol=1e-5)
    probed = featcache("probe", "--features", "clip,synclr", "--cache", store, "--json")
    assert probed.code == 0, probed.err
    assert probed.json["n_features"] == 512 + resolve("synclr").n_features


def test_random_weights_are_in_the_name_and_never_found_as_real_ones(
    featcache: Call, tree: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    made = featcache(
        "extract",
        "--backbone",
        "efficientnet-lite0",
        "--random-init",
        "7",
        "--data",
        tree,
        "--cache",
        store,
        "--preset",
        "native:imagenet",
        "--json",
    )
    assert made.json["backbones"][0]["backbone"] == "efficientnet-lite0#random7"
    ran = featcache("probe", "--features", "efficientnet-lite0", "--cache", store)
    assert (ran.code, "'efficientnet-lite0#random7'" in ran.err) == (4, True)
    ran = featcache("probe", "--features", "efficientnet-lite0#random7", "--cache", store)
    assert ran.code == 0, ran.err
    assert "a network with random weights" in " ".join(ran.out.split())


@pytest.mark.parametrize("damage", ["truncated", "code", "other size", "absent"])
def test_bad_weights_end_with_code_5_and_what_to_do(
    damage: str, featcache: Call, tree: Path, tmp_path: Path
) -> None:
    path, trace = tmp_path / "weights.pth", tmp_path / "trace"
    if damage == "code":
        files.save_pickle_with_code(path, trace)
    elif damage != "absent":
        with torch.device("meta"):
            shapes = timm_model(
                "vit_large_patch14_224" if damage == "other size" else "vit_tiny_patch16_224"
            )
        state = {
            name: torch.zeros(()).expand(tensor.shape)
            for name, tensor in shapes.state_dict().items()
        }
        files.save_wrapped(state, path, under="model", prefix="module.visual.")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    ran = featcache(
        "extract",
        "--backbone",
        "synclr",
        "--weights",
        path,
        "--data",
        tree,
        "--cache",
        tmp_path / "s",
    )
    message = {
        "truncated": "Delete it and get it again",
        "code": "get the weights as safetensors",
        "other size": "holds 24 blocks of width 1024; the network has 12 blocks of width 768",
        "absent": "Correct the path",
    }
    assert (ran.code, message[damage] in ran.err) == (5, True), ran.err
    assert not trace.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("synclr-vit-l14", lambda: timm_model("vit_large_patch14_224")),
        ("stablerep", lambda: timm_model("vit_base_patch16_224")),
        ("clip-vit-l14", lambda: clip_tower("ViT-L-14-quickgelu")),
        ("clip-vit-b16-laion400m", lambda: clip_tower("ViT-B-16")),
        ("clip-rn50", lambda: clip_tower("RN50-quickgelu")),
        *((f"dinov2-vit-{letter}14{reg}", lambda s=size, r=reg: timm_model(
            f"vit_{s}_patch14{'_reg4' if r else ''}_dinov2", img_size=224))
          for letter, size in [("s", "small"), ("b", "base"), ("l", "large")]
          for reg in ("", "-reg4")),
    ],
)  # fmt: skip
def test_the_real_size_of_every_backbone_equals_a_direct_pass(
    name: str, make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    model = make()
    path = files.save_plain(fill(model, 4), tmp_path / "weights.pth")
    spec = resolve(name, weights={name: path})
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        expected = model(images)
        features = spec.build(spec.find_weights())(images)
    assert features.shape == (1, spec.n_features)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
