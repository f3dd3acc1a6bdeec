"""Networks below the prefixes that training code leaves: recognised, said, never mixed up."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from featcache.backbones.openclip_models import ClipFamily
from featcache.backbones.timm_models import TimmFamily, timm_names
from featcache.errors import WeightsError

FAMILY = TimmFamily("dinov3-vit-s16", "vit_small_patch16_dinov3_qkvb", timm_names).small()
CLIP = ClipFamily("clip-vit-b16", "ViT-B-16-quickgelu").small()


def network(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    trunk = FAMILY.make_trunk()
    return {key: torch.randn_like(value) for key, value in trunk.state_dict().items()}


def below(prefix: str, seed: int = 0) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in network(seed).items()}


def loaded(path: Path) -> dict[str, torch.Tensor]:
    return {k.removeprefix("trunk."): v for k, v in FAMILY.build(path).state_dict().items()}


def assert_same(state: dict[str, torch.Tensor], seed: int) -> None:
    for key, value in network(seed).items():
        torch.testing.assert_close(state[key], value, rtol=0, atol=0)


HEAD = {"projector.weight": torch.zeros(2, 2)}
CASES: dict[str, Any] = {
    "bare": below(""),
    "DistributedDataParallel": below("module."),
    "torch.compile": below("_orig_mod."),
    "both": below("module._orig_mod."),
    "a method in Lightning": {"state_dict": {**below("model.backbone."), **HEAD}, "epoch": 3},
    "self-distillation": {"student": below("module.backbone.", 5), "teacher": below("backbone.")},
    "an exponential mean": {**below("model.", 5), **below("ema_model.")},
    "an encoder beside a decoder": {**below("student.encoder."), "student.decoder.bias": HEAD[
        "projector.weight"]},
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_network_below_a_prefix_is_read(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(CASES[name], path)
    with caplog.at_level(logging.WARNING, logger="featcache"):
        assert_same(loaded(path), 0)
    said = "lies below" in caplog.text
    assert said == (name not in ("bare", "torch.compile", "DistributedDataParallel", "both"))


def test_two_networks_that_both_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({**below("a."), **below("b.", 5)}, path)
    with pytest.raises(WeightsError, match=r"several networks that fit .*: a\., b\."):
        FAMILY.build(path)


def test_a_tensor_too_few_below_a_prefix_is_named(tmp_path: Path) -> None:
    state = below("model.")
    del state["model.norm.weight"]
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"Missing: norm\.weight"):
        FAMILY.build(path)


def test_a_tower_of_clip_below_a_prefix(tmp_path: Path) -> None:
    tower = CLIP.make_tower()
    path = tmp_path / "weights.pth"
    state = {f"model.visual.{k}": v for k, v in tower.state_dict().items()}
    torch.save({"state_dict": {**state, "model.logit_scale": torch.ones(())}}, path)
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(CLIP.build(path)(images), tower(images))


def test_a_network_whose_own_names_need_a_translation(tmp_path: Path) -> None:
    family = TimmFamily("dinov3-convnext-tiny", "convnext_tiny", timm_names).small()
    trunk = family.make_trunk()
    path = tmp_path / "weights.ckpt"
    torch.save({"state_dict": {f"net.{k}": v for k, v in trunk.state_dict().items()}}, path)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(family.build(path)(images), trunk(images))
