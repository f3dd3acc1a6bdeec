"""Checkpoints that transformers writes give the features of transformers' own forward pass."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from featcache.backbones.hub import index_parts, remembered_digest
from featcache.backbones.names import Tap
from featcache.backbones.openclip_models import ClipFamily
from featcache.backbones.timm_models import TimmFamily, dinov2_names, timm_names
from featcache.backbones.weights import parse_weights, weights_file
from featcache.errors import WeightsError

transformers = pytest.importorskip("transformers", reason="needs featcache[dev]")

WIDTH, DEPTH, HEADS = 64, 3, 2
SHAPE = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
TAPS = [Tap(), Tap("layer", 2), Tap("layer", 2, "mean"), Tap("layer", DEPTH)]


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Give every tensor random values: initial zeros and ones would hide a wrong name."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model.eval()


def clip(**more: Any) -> Any:
    config = transformers.CLIPVisionConfig(
        **SHAPE, intermediate_size=4 * WIDTH, projection_dim=512, image_size=32, patch_size=16,
        hidden_act="quick_gelu", **more,
    )  # fmt: skip
    return randomise(transformers.CLIPVisionModelWithProjection(config))


def metaclip2() -> Any:
    config = transformers.MetaClip2VisionConfig(
        **SHAPE, intermediate_size=4 * WIDTH, projection_dim=512, image_size=32, patch_size=16,
        hidden_act="quick_gelu",
    )  # fmt: skip
    return randomise(transformers.MetaClip2VisionModelWithProjection(config))


def siglip() -> Any:
    config = transformers.SiglipVisionConfig(
        **SHAPE, intermediate_size=4 * WIDTH, image_size=32, patch_size=16,
        hidden_act="gelu_pytorch_tanh",
    )  # fmt: skip
    return randomise(transformers.SiglipVisionModel(config))


def dinov2(registers: bool) -> Any:
    name = "Dinov2WithRegisters" if registers else "Dinov2"
    config = getattr(transformers, f"{name}Config")(**SHAPE, image_size=28, patch_size=14)
    return randomise(getattr(transformers, f"{name}Model")(config))


def dinov3(**more: Any) -> Any:
    config = transformers.DINOv3ViTConfig(
        **SHAPE, intermediate_size=4 * WIDTH, image_size=32, patch_size=16, num_register_tokens=4,
        **more,
    )  # fmt: skip
    return randomise(transformers.DINOv3ViTModel(config))


VIT = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
TOWER = {"layers": DEPTH, "width": WIDTH, "head_width": WIDTH // HEADS, "image_size": 32}
EVA = {**VIT, "img_size": 32, "global_pool": "token"}
CASES = {
    "clip": (clip, ClipFamily("clip", "ViT-B-16-quickgelu", TOWER), 32, 1),
    "metaclip2": (metaclip2, ClipFamily("metaclip2", "ViT-B-16-quickgelu", TOWER), 32, 1),
    "siglip2": (
        siglip,
        TimmFamily("siglip2", "vit_base_patch16_siglip_224", timm_names,
                   {**VIT, "img_size": 32, "act_layer": "gelu_tanh"}),
        32, 0,
    ),
    "dinov2": (
        lambda: dinov2(False),
        TimmFamily("dinov2", "vit_base_patch14_dinov2", dinov2_names, {**VIT, "img_size": 28}),
        28, 1,
    ),
    "dinov2-reg4": (
        lambda: dinov2(True),
        TimmFamily("reg4", "vit_base_patch14_reg4_dinov2", dinov2_names, {**VIT, "img_size": 28}),
        28, 5,
    ),
    "dinov3": (
        dinov3, TimmFamily("dinov3", "vit_base_patch16_dinov3_qkvb", timm_names, EVA), 32, 5,
    ),
    "dinov3 without biases": (
        lambda: dinov3(query_bias=False, value_bias=False),
        TimmFamily("dinov3", "vit_base_patch16_dinov3", timm_names, EVA), 32, 5,
    ),
    "dinov3 gated": (
        lambda: dinov3(use_gated_mlp=True, hidden_act="silu"),
        TimmFamily("dinov3", "vit_huge_plus_patch16_dinov3_qkvb", timm_names,
                   {**EVA, "mlp_ratio": 4}), 32, 5,
    ),
}  # fmt: skip


def save(model: Any, folder: Path, shard: str = "5GB") -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder, max_shard_size=shard)
    return folder


def expected_features(model: Any, images: torch.Tensor, n_prefix: int) -> list[torch.Tensor]:
    with torch.inference_mode():
        out = model(pixel_values=images, output_hidden_states=True)
    final = out.image_embeds if hasattr(out, "image_embeds") else out.pooler_output
    states = out.hidden_states
    first = [states[2][:, 0], states[2][:, n_prefix:].mean(dim=1), states[DEPTH][:, 0]]
    return [final, *first]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shard", ["5GB", "100KB"])
def test_features_equal_those_of_transformers(name: str, shard: str, tmp_path: Path) -> None:
    make, family, side, n_prefix = CASES[name]
    model = make()
    folder = save(model, tmp_path / "model", shard)
    assert (folder / "model.safetensors.index.json").exists() == (shard != "5GB")
    path = parse_weights([f"clip={folder}"], ["clip"])["clip-vit-b16"]
    network = family.build(path)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    taps = TAPS if n_prefix else [Tap()]
    expected = expected_features(model, images, n_prefix)
    with torch.inference_mode():
        features = network.forward_taps(images, taps)
    for own, reference in zip(features, expected, strict=False):
        torch.testing.assert_close(own, reference, rtol=1e-5, atol=1e-5)


def test_a_transformers_file_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = save(dinov2(False), tmp_path / "model")
    family = TimmFamily("dinov2", "vit_base_patch14_dinov2", dinov2_names, {"img_size": 28})
    with pytest.raises(WeightsError, match="holds 3 blocks of width 64; the network has 12 blocks"):
        family.build(folder / "model.safetensors")


@pytest.mark.parametrize("change", ["missing", "left over", "bias that timm has not"])
def test_a_tensor_too_few_or_too_many_is_refused(change: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    make, family, *_ = CASES["dinov3 without biases" if "bias" in change else "clip"]
    path = save(dinov3() if "bias" in change else make(), tmp_path / "m") / "model.safetensors"
    state = load_file(path)
    if change == "missing":
        del state["vision_model.encoder.layers.1.self_attn.q_proj.weight"]
    if change == "left over":
        state["vision_model.encoder.layers.1.mlp.fc3.weight"] = torch.zeros(2)
    save_file(state, path)
    with pytest.raises(WeightsError, match="does not fit"):
        family.build(path)


def test_the_digest_of_a_file_in_parts_covers_every_part(tmp_path: Path) -> None:
    folder = save(clip(), tmp_path / "model", "100KB")
    index = weights_file(folder)
    first = remembered_digest(index)
    part = index_parts(index)[-1]
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    assert remembered_digest(index) != first
    part.unlink()
    with pytest.raises(WeightsError, match="Get all parts"):
        remembered_digest(index)


def test_a_folder_with_several_files_of_their_own_names_is_refused(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=r"holds: a\.pth, b\.pth"):
        parse_weights([str(tmp_path)], ["clip"])
