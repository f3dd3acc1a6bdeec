"""ONNX files give the logits of the network that they were made from, at every batch size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import featcache as fc
from featcache.backbones import BACKBONES, build_network, feature_fields, resolve
from featcache.backbones.openclip_models import ClipFamily
from featcache.detect.export import export_onnx
from featcache.errors import DataError
from featcache.probes import SavedHead
from featcache.views import parse_views

pytest.importorskip("onnx", reason="needs featcache[onnx]")
runtime = pytest.importorskip("onnxruntime", reason="needs featcache[onnx]")


def timm_model(name: str, **options: object) -> nn.Module:
    import timm

    small = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0}
    model: nn.Module = timm.create_model(name, **{**small, **options})
    return model.eval()


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "clip-vit": (lambda: ClipFamily("x", "ViT-B-32-quickgelu").small().create(), 32),
    "clip-rn50": (lambda: ClipFamily("x", "RN50-quickgelu").small().create(), 64),
    "dinov3": (lambda: timm_model("vit_small_patch16_dinov3", global_pool="token"), 32),
    "siglip2": (lambda: timm_model("vit_base_patch16_siglip_224"), 32),
    "clip-vit-b32": (lambda: ClipFamily("x", "ViT-B-32-quickgelu").create(), 224),
}


def make_head(name: str, scale: float = 1.0) -> SavedHead:
    """Return a head with random weights on a backbone of this process."""
    spec = resolve(name)
    fields = feature_fields(spec, "native", "fp32")
    fields |= {"dtype": "float32", "view": parse_views(["clean"])[0].to_key()}
    weight = np.random.default_rng(0).normal(size=spec.n_features) * scale
    return SavedHead(weight=weight, bias=0.5, feature_keys=[fields], meta={})


@pytest.mark.parametrize(
    "name", [*list(NETWORKS)[:4], pytest.param("clip-vit-b32", marks=pytest.mark.slow)]
)
def test_the_file_agrees_on_batches_of_1_2_and_5(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BACKBONES, "_added", {})
    make, size = NETWORKS[name]
    torch.manual_seed(0)
    native = {"size": size, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
    fc.register_backbone("mine", make(), preprocessing=native)
    head = make_head("mine", scale=20.0)
    export_onnx(head, tmp_path / "detector.onnx")
    session = runtime.InferenceSession(
        str(tmp_path / "detector.onnx"), providers=["CPUExecutionProvider"]
    )
    network = build_network([resolve("mine")])
    mean, std = (torch.tensor(native[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    for n in (1, 2, 5):
        pixels = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(n))
        with torch.inference_mode():
            (features,) = network((pixels - mean) / std)
        expected = features.double().numpy() @ head.weight + head.bias
        logit, probability = session.run(None, {"pixels": pixels.numpy()})
        assert logit.shape == (n,)
        bound = 1e-4 * max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(logit, expected, rtol=0, atol=bound)
        np.testing.assert_allclose(probability, 1 / (1 + np.exp(-logit)), atol=1e-6)
    about = json.loads(session.get_modelmeta().custom_metadata_map["featcache"])
    assert about["preprocessing"]["size"] == size
    assert about["features"] == [dict(head.feature_keys[0])]


class Unwritable(nn.Module):
    """What ONNX has no operator for."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.special.erfcx(images.mean(dim=(2, 3)))


def test_what_cannot_be_written_is_one_line_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BACKBONES, "_added", {})
    native = {"size": 32, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    fc.register_backbone("mine", Unwritable(), preprocessing=native)
    before = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(DataError, match="cannot be written as ONNX") as caught:
        export_onnx(make_head("mine"), tmp_path / "detector.onnx")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert not (tmp_path / "detector.onnx").exists()
    assert torch.backends.mha.get_fastpath_enabled() == before
