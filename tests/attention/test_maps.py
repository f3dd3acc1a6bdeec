"""Maps of attention: rows sum to 1, known cases, and every kind of network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcache.attention import AttendOptions, attend
from featcache.attention.maps import class_attention, rollout, split_tokens
from featcache.attention.run import recording
from featcache.backbones import resolve
from featcache.errors import DataError
from featcache.probes import SavedHead
from featcache.reports.exhibits import save_exhibit
from featcache.reports.tables.base import Exhibit
from featcache.testing import make_images


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("attend") / "picture.png"
    make_images(1, seed=0, size=256)[0].save(path)
    return path


@pytest.mark.parametrize(
    ("name", "n_heads", "side"),
    [
        ("timm:vit_tiny_patch16_224#random0", 3, 14),
        ("open_clip:ViT-B-32-quickgelu/openai#random0", 12, 7),
        ("dinov2-vit-s14-reg4#random0", 6, 16),
    ],
)
def test_transformers_have_attention_whose_rows_sum_to_1(
    picture: Path, name: str, n_heads: int, side: int
) -> None:
    (result,) = attend([resolve(name)], [picture], AttendOptions())
    assert (result.n_layers, result.n_heads) == (12, n_heads)
    assert result.row_error < 1e-6
    by_head = [m for m in result.maps if m.head is not None]
    assert [m.head for m in by_head] == list(range(n_heads))
    for one in (*by_head, result.find("attention"), result.find("rollout")):
        assert one is not None
        assert one.values.shape == (side, side)
        assert 0 < one.mass < 1
        assert (one.values >= 0).all()
    assert result.find("energy") is not None


@pytest.mark.parametrize("name", ["resnet50#random0", "efficientnet-lite0"])
def test_convolutional_networks_have_a_map_of_what_the_feature_is_made_of(
    picture: Path, name: str
) -> None:
    (result,) = attend([resolve(name)], [picture], AttendOptions())
    assert result.n_layers == 0
    assert [m.kind for m in result.maps] == ["energy"]
    assert result.maps[0].values.shape == (7, 7)


def test_response_of_a_pooled_map_sums_to_the_logit(picture: Path) -> None:
    spec = resolve("efficientnet-lite0")
    weight = np.random.default_rng(0).normal(size=spec.n_features)
    key = {"backbone": "efficientnet-lite0"}
    head = SavedHead(weight=weight, bias=0.7, feature_keys=[key], widths=[spec.n_features])
    (result,) = attend([spec], [picture], AttendOptions(head=head))
    response = result.find("response")
    assert response is not None
    # The last activation (ReLU6) keeps its sign, so that gradient times activation is exact.
    assert response.values.sum() + 0.7 == pytest.approx(result.logit, rel=1e-3, abs=1e-3)
    assert np.ptp(response.values) > 0


def test_head_of_other_features_is_refused(picture: Path) -> None:
    head = SavedHead(weight=np.ones(3), bias=0.0, feature_keys=[{"backbone": "clip"}], widths=[3])
    with pytest.raises(DataError, match="trained on clip, not on efficientnet-lite0"):
        attend([resolve("efficientnet-lite0")], [picture], AttendOptions(head=head))


def test_recorded_attention_is_the_one_that_was_used() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval().requires_grad_(False)
    tokens = torch.rand(1, 5, 8)
    _, expected = layer(tokens, tokens, tokens, need_weights=True, average_attn_weights=False)
    before = torch.nn.functional.scaled_dot_product_attention
    with recording(layer) as heard:
        layer(tokens, tokens, tokens, need_weights=False)
    torch.testing.assert_close(heard.attention[0], expected)
    assert torch.nn.functional.scaled_dot_product_attention is before


def test_rollout_of_known_layers() -> None:
    uniform = np.full((2, 5, 5), 0.2)
    np.testing.assert_allclose(rollout([uniform]), np.full((2, 2), 0.1))
    to_last = np.zeros((1, 5, 5))
    to_last[..., 4] = 1.0
    np.testing.assert_allclose(rollout([to_last, to_last]), [[0, 0], [0, 0.75]])
    np.testing.assert_allclose(class_attention(uniform), np.full((2, 2, 2), 0.2))


def test_tokens_that_are_no_grid_are_refused() -> None:
    with pytest.raises(DataError, match="no square grid"):
        split_tokens(24 * 24 + 24)


def test_command_writes_pictures_and_numbers(
    featcache: Callable[..., Any], picture: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="needs featcache[viz]")
    second = tmp_path / "other.png"
    make_images(1, seed=3, size=256)[0].save(second)
    names = "timm:vit_tiny_patch16_224#random0,efficientnet-lite0"
    ran = featcache("attend", picture, second, "--backbone", names, "--out", tmp_path / "a", "-q")
    assert ran.code == 0, ran.err
    result = json.loads((tmp_path / "a" / "attend.json").read_text())["images"]
    assert [one["backbone"] for one in result] == [*names.split(",")] * 2
    pictures = sorted((tmp_path / "a").glob("*.png"))
    assert len(pictures) == 2
    for path in pictures:
        with Image.open(path) as drawn:
            assert drawn.width > 300


def test_a_head_knows_its_backbone(
    extracted: tuple[Path, Path], picture: Path, tmp_path: Path, featcache: Callable[..., Any]
) -> None:
    head, out = tmp_path / "head.safetensors", tmp_path / "out"
    store = extracted[1]
    ran = featcache("probe", "--features", "efficientnet-lite0", "--cache", store, "--save", head)
    assert ran.code == 0, ran.err
    ran = featcache("attend", picture, "--head", head, "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert {one["backbone"] for one in ran.json["images"]} == {"efficientnet-lite0"}
    assert all(np.isfinite(one["logit"]) for one in ran.json["images"])


def test_an_exhibit_replaces_the_pictures_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "7-own.txt").write_text("the user's own")
    first = save_exhibit(
        tmp_path, Exhibit(title="t", text="", pictures=(("One", b"1"), ("Two", b"2")))
    )
    second = save_exhibit(tmp_path, Exhibit(title="t", text="", pictures=(("One", b"3"),)))
    assert [path.exists() for path in first] == [True, False]
    assert second[0].read_bytes() == b"3"
    assert (tmp_path / "7-own.txt").exists()
