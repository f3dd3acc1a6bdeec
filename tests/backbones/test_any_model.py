"""``timm:NAME`` and ``open_clip:ARCH/TAG``: any model, its own activation, strict, or a clear
refusal.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from featcache.backbones import build_network, choose_precision, resolve
from featcache.backbones.base import cpu_computes_bf16
from featcache.errors import SettingsError, UnknownNameError, WeightsError
from featcache.extract import ExtractOptions
from featcache.extract.plan import make_requests
from featcache.testing import fixtures as files

TIMM = [
    "vit_tiny_patch16_224",
    "convnext_atto",
    "resnet18.tv_in1k",
    "eva02_tiny_patch14_224",
    "swin_tiny_patch4_window7_224",
    "vit_base_patch16_siglip_224",
    "mobilenetv3_small_050",
]


@pytest.mark.parametrize("name", TIMM[:4])
def test_a_model_of_timm_gives_its_own_features_and_taps(name: str, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10).eval()  # a file with a classifier
    path = files.save_safetensors(model.state_dict(), tmp_path / "model.safetensors")
    full = f"timm:{name}"
    specs = [resolve(text, weights={full: path}) for text in (full, f"{full}@layer2")]
    images = torch.randn(2, 3, specs[0].native.size, specs[0].native.size)
    with torch.inference_mode():
        final, second = build_network(specs)(images)
        expected = model.forward_head(model.forward_features(images), pre_logits=True)
        inside = (
            model.forward_intermediates(
                images,
                indices=[1] if specs[0].taps.tokens else [2 if "resnet" in name else 1],  # type: ignore[union-attr]
                return_prefix_tokens=True,
                intermediates_only=True,
                norm=False,
            )
            if specs[0].taps.tokens
            else model.forward_intermediates(  # type: ignore[union-attr]
                images, indices=[2 if "resnet" in name else 1], intermediates_only=True, norm=False
            )
        )
    torch.testing.assert_close(final, expected, rtol=1e-5, atol=1e-5)
    layer = inside[0][1][:, 0] if specs[0].taps.tokens else inside[0].mean(dim=(2, 3))  # type: ignore[union-attr]
    torch.testing.assert_close(second, layer, rtol=1e-5, atol=1e-5)
    assert [spec.n_features for spec in specs] == [final.shape[1], second.shape[1]]


@pytest.mark.parametrize("name", TIMM[4:])
def test_families_without_taps_still_give_their_feature(name: str) -> None:
    spec = resolve(f"timm:{name}#random1")
    side = spec.native.size
    with torch.inference_mode():
        (features,) = build_network([spec])(torch.randn(1, 3, side, side))
    assert features.shape == (1, spec.n_features)


def test_transformers_keep_their_input_size_under_univfd() -> None:
    from featcache.backbones import preprocessing_of

    assert preprocessing_of(resolve("timm:vit_small_patch14_dinov2.lvd142m"), "univfd").size == 518
    assert (
        preprocessing_of(resolve("timm:convnext_base.fb_in22k_ft_in1k_384"), "univfd").size == 224
    )


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("timm:resnet5O", UnknownNameError, "No model of timm is called 'resnet5O'"),
        (
            "timm:resnet50.nope",
            SettingsError,
            "timm has no weights 'resnet50.nope'. It has: .*resnet50.tv_in1k",
        ),
        ("open_clip:ViT-B-16", SettingsError, "names no weights"),
        ("open_clip:ViT-B-17/openai", UnknownNameError, "Did you mean 'ViT-B-16"),
        ("open_clip:ViT-B-16/nope", UnknownNameError, "Known: .*laion400m_e32"),
        ("open_clip:ViT-B-16/openai", SettingsError, "Use open_clip:ViT-B-16-quickgelu/openai"),
        ("open_clip:ViT-B-16-quickgelu/laion400m_e32", UnknownNameError, "Known: .*openai"),
        ("clip@layer13", SettingsError, "its layers are 0 to 12"),
        ("clip@final:mean", SettingsError, "write @pre:mean"),
        ("synclr@pre", SettingsError, "is no projection"),
        ("resnet50@layer1:mean", SettingsError, "always averaged"),
        ("timm:swin_tiny_patch4_window7_224@layer1", SettingsError, "final feature only"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(
    name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        resolve(name)


def test_a_model_that_was_never_trained_has_no_weights_to_find() -> None:
    with pytest.raises(WeightsError, match="no published weights"):
        resolve("timm:vit_large_patch14_224").find_weights()


def test_taps_of_clip_by_hand(tmp_path: Path) -> None:
    """Block by block through open_clip's own modules."""
    from dataclasses import replace

    from featcache.backbones.base import with_tap
    from featcache.backbones.names import parse_name
    from featcache.testing import small

    spec = replace(small("clip"), random_init=2)
    names = ["@layer0", "@layer2", "@layer2:mean", "@layer3:cls+mean", "@pre", "@pre:mean", ""]
    specs = [replace(with_tap(spec, parse_name(f"clip{n}").tap), name=f"clip{n}") for n in names]
    network = build_network(specs)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        out = network(images)
        visual, proj = network.model.visual, network.model.proj
        patches = visual.conv1(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([visual.class_embedding.expand(2, 1, -1), patches], dim=1)
        states = [visual.ln_pre(tokens + visual.positional_embedding)]
        for block in visual.transformer.resblocks:
            states.append(block(states[-1]))
        end = visual.ln_post(states[3])
        expected = [states[0][:, 0], states[2][:, 0], states[2][:, 1:].mean(1),
                    torch.cat([states[3][:, 0], states[3][:, 1:].mean(1)], 1),
                    end[:, 0], end[:, 1:].mean(1), end[:, 0] @ proj]  # fmt: skip
    for name, own, hand in zip(names, out, expected, strict=True):
        torch.testing.assert_close(
            own, hand, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert len({str(spec.tap) for spec in specs}) == len(specs)


def test_auto_is_bf16_only_where_the_cpu_has_instructions_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name : x\nflags\t\t: sse2 avx512f avx512_bf16 fma\n")
    assert cpu_computes_bf16(info)
    info.write_text("flags : sse2 avx512f\n")
    assert not cpu_computes_bf16(info)
    assert not cpu_computes_bf16(tmp_path / "no such file")
    monkeypatch.setattr("featcache.backbones.base.cpu_computes_bf16", lambda: True)
    assert choose_precision("auto", "cpu") == "bf16"
    assert choose_precision("fp32", "cpu") == "fp32"
    options = ExtractOptions(precision="auto", device="cpu")
    specs = [resolve(f"{name}#random0") for name in ("resnet50", "synclr", "synclr@layer3")]
    made = [request.precision for request in make_requests(specs, options)]
    assert made == ["fp32", "bf16", "bf16"]  # convolutions lose too much
    with pytest.raises(UnknownNameError, match="Known: auto, bf16, fp16, fp32"):
        choose_precision("fp8", "cpu")
