"""Models in folders and repositories as timm and open_clip write them, by their places."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf

from featcache.backbones import build_network, feature_fields, resolve
from featcache.backbones.openclip_models import ClipFamily
from featcache.errors import WeightsError

ARGUMENTS = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32}
VISION = {"layers": 2, "width": 64, "head_width": 32, "image_size": 32, "patch_size": 16}


@pytest.fixture
def of_timm(tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    model = timm.create_model("vit_base_patch16_224", num_classes=0, **ARGUMENTS).eval()
    folder = tmp_path / "timm"
    save_for_hf(model, str(folder), model_args=ARGUMENTS, safe_serialization=True)
    return folder, model


@pytest.fixture
def of_open_clip(tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    config = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": {}}
    tower = ClipFamily("x", "x", config=config).make_tower()
    folder = tmp_path / "open_clip"
    folder.mkdir()
    state = {f"visual.{key}": value.contiguous() for key, value in tower.state_dict().items()}
    save_file({**state, "logit_scale": torch.ones(1)}, folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash", "size": [32, 32]}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text)
    return folder, tower


def assert_features(name: str, model: torch.nn.Module) -> None:
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        (features,) = build_network([resolve(name)])(images)
        torch.testing.assert_close(features, model(images), rtol=1e-5, atol=1e-5)


def on_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a folder into the cache of the hub, where a client without a network finds it."""
    cache = folder.parent / "hub"
    repository = cache / "models--me--net"
    shutil.copytree(folder, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return "me/net"


def test_a_folder_of_timm(of_timm: Any) -> None:
    folder, model = of_timm
    name = f"timm:local-dir:{folder}"
    assert_features(name, model)
    spec = resolve(name)
    assert (spec.n_features, spec.native.size) == (32, 32)
    assert str(folder) not in feature_fields(spec, "native", "fp32")["architecture"]
    assert resolve(f"{name}@layer1").n_features == 32


def test_a_folder_of_open_clip(of_open_clip: Any) -> None:
    folder, tower = of_open_clip
    name = f"open_clip:local-dir:{folder}"
    assert_features(name, tower)
    native = resolve(name).native
    assert (native.squash, native.mean) == (True, (0.5, 0.5, 0.5))


@pytest.mark.parametrize("library", ["timm", "open_clip"])
def test_a_repository_of_the_hub(
    library: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = request.getfixturevalue(f"of_{library}")
    repository = on_hub(folder, monkeypatch)
    assert_features(f"{library}:hf-hub:{repository}", model)
    assert_features(f"hf://{repository}", model)


def test_what_neither_library_wrote_is_refused_with_what_helps(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"no readable config\.json"):
        resolve(f"timm:local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "dinov2", "hidden_size": 768}')
    with pytest.raises(WeightsError, match=r"architecture None\. Give its weights"):
        resolve(f"timm:local-dir:{tmp_path}")
    (tmp_path / "open_clip_config.json").write_text("[]")
    with pytest.raises(WeightsError, match="is no JSON object"):
        resolve(f"open_clip:local-dir:{tmp_path}")
