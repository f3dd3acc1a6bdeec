"""The grammar of feature names: one canonical spelling, and refusals that say the forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.backbones import resolve
from featcache.backbones.names import POOLINGS, FeatureName, Tap, canonical_name, parse_name
from featcache.errors import SettingsError, UnknownNameError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clip", "clip-vit-b16"),
        ("clip-vit-b16", "clip-vit-b16"),
        ("clip@final", "clip-vit-b16"),
        ("clip@final:cls", "clip-vit-b16"),
        ("synclr@layer011", "synclr-vit-b16@layer11"),
        ("dinov2@layer11:cls", "dinov2-vit-b14@layer11"),
        ("dinov2@final:cls+mean", "dinov2-vit-b14@final:cls+mean"),
        ("clip@pre", "clip-vit-b16@pre"),
        ("clip@layer0#random007", "clip-vit-b16@layer0#random7"),
        ("timm:resnet50.tv_in1k", "timm:resnet50.tv_in1k"),
        ("open_clip:ViT-B-16/laion400m_e32@layer8:mean",) * 2,
    ],
)
def test_one_spelling(text: str, expected: str) -> None:
    assert canonical_name(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "@layer1", "clip@", "clip@last", "clip@layer", "clip@layer1:max", "clip#7", "a@b@c"],
)
def test_what_is_no_name_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(SettingsError, match=r"form is NAME|Taps: final, pre, layerN"):
        canonical_name(text)


@given(
    base=st.sampled_from(["clip-vit-b16", "timm:vit_tiny", "open_clip:RN50/openai"]),
    place=st.sampled_from(["final", "pre", "layer"]),
    layer=st.integers(0, 48),
    pooling=st.sampled_from(POOLINGS),
    seed=st.none() | st.integers(0, 10**9),
)
def test_a_canonical_name_reads_back(
    base: str, place: str, layer: int, pooling: str, seed: int | None
) -> None:
    tap = Tap(place, layer if place == "layer" else 0, pooling)
    name = FeatureName(base, tap, seed)
    assert parse_name(str(name)) == name
    assert canonical_name(str(name)) == str(name)


def test_an_unknown_backbone_lists_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'efficientnet-lite"):
        resolve("efficientnet-lite")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("vit_base_patch16_224", "timm:vit_base_patch16_224"),
        ("resnet18d.ra2_in1k", "timm:resnet18d.ra2_in1k"),
        ("facebook/dinov2-base", "hf://facebook/dinov2-base"),
    ],
)
def test_a_name_of_a_library_gets_its_spelling(typed: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean '{meant}'"):
        resolve(typed)
