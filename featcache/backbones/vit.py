"""SynCLR, StableRep and DINOv2: plain vision transformers, the class token after the last norm."""

from __future__ import annotations

from featcache.backbones.base import BackboneSpec, Taps
from featcache.backbones.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)
from featcache.backbones.timm_family import TimmFamily, Translate, dinov2_names, synclr_names
from featcache.backbones.weights import WeightsSource, finder

CLASS_TOKEN = {"layer": "final", "token": "class", "pooling": "none", "projection": "none"}

SYNCLR_NATIVE = Preprocessing(
    preset="native", resize=224, interpolation="bicubic", size=224, mean=CLIP_MEAN, std=CLIP_STD
)
"""SynCLR's downstream evaluation. Its training statistics are not published and its scripts disagree: CLIP's are
what its evaluation and the paper use; ``native:imagenet`` takes the other."""

STABLEREP_NATIVE = Preprocessing(
    preset="native",
    resize=256,
    interpolation="bilinear",
    size=224,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)
DINOV2_NATIVE = Preprocessing(
    preset="native",
    resize=256,
    interpolation="bicubic",
    size=224,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)

_SHARE = "https://github.com/google-research/syn-rep-learn"


def _vit(
    name: str,
    summary: str,
    family: TimmFamily,
    architecture: str,
    width: int,
    depth: int,
    native: Preprocessing,
    source: WeightsSource,
) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        summary=summary,
        architecture=architecture,
        n_features=width,
        tap=CLASS_TOKEN,
        native=native,
        find_weights=finder(name, source),
        build=family.build,
        create=family.create,
        licence="Apache-2.0",
        page=source.page,
        taps=Taps((width,) * (depth + 1)),
        weights=source,
    )


def _synthetic(
    name: str,
    summary: str,
    model: str,
    width: int,
    depth: int,
    native: Preprocessing,
    source: WeightsSource,
) -> BackboneSpec:
    family = TimmFamily(name, model, synclr_names)
    return _vit(name, summary, family, f"timm:{model}", width, depth, native, source)


SYNCLR_VIT_B16 = _synthetic(
    "synclr-vit-b16",
    "synthetic images and captions only",
    "vit_base_patch16_224",
    768,
    12,
    SYNCLR_NATIVE,
    WeightsSource(
        files=("synclr_vit_b_16.pth",), page=f"{_SHARE}/tree/main/SynCLR (link 'ViT-B/16')"
    ),
)

SYNCLR_VIT_L14 = _synthetic(
    "synclr-vit-l14",
    "synthetic images and captions only",
    "vit_large_patch14_224",
    1024,
    24,
    SYNCLR_NATIVE,
    WeightsSource(
        files=("synclr_vit_l_14.pth",), page=f"{_SHARE}/tree/main/SynCLR (link 'ViT-L/14')"
    ),
)

STABLEREP_VIT_B16 = _synthetic(
    "stablerep-vit-b16",
    "StableRep++: synthetic images of 50 M LAION captions; others by --weights",
    "vit_base_patch16_224",
    768,
    12,
    STABLEREP_NATIVE,
    WeightsSource(
        files=("laion_stablerep_pp_50m.pth",),
        page=f"{_SHARE}/tree/main/StableRep (the folder of checkpoints linked there)",
    ),
)


def _dinov2(size: str, letter: str, width: int, depth: int, registers: bool) -> BackboneSpec:
    reg, hub_reg = ("-reg4", "_reg4") if registers else ("", "")
    name = f"dinov2-vit-{letter}14{reg}"
    model = f"vit_{size}_patch14{hub_reg}_dinov2"
    translate: Translate = dinov2_names
    way = "bicubic-antialiased" if registers else "bicubic-offset0.1"
    file = f"dinov2_vit{letter}14{hub_reg}_pretrain.pth"
    return _vit(
        name,
        f"142 M photographs, at 224{'; 4 registers' if registers else ''}",
        TimmFamily(name, model, translate, {"img_size": 224}),
        # The hub's and timm's ways of resampling the embedding differ by little: the key says which.
        f"timm:{model} img_size=224 pos_embed=hub-{way}",
        width,
        depth,
        DINOV2_NATIVE,
        WeightsSource(
            files=(file,),
            page="https://github.com/facebookresearch/dinov2",
            hub=f"timm/{model}.lvd142m",
            hub_files=("model.safetensors",),
            url=f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{letter}14/{file}",
        ),
    )


_SIZES = {
    "s": ("small", 384, 12),
    "b": ("base", 768, 12),
    "l": ("large", 1024, 24),
    "g": ("giant", 1536, 40),
}


def _all_dinov2(letter: str) -> tuple[BackboneSpec, BackboneSpec]:
    size, width, depth = _SIZES[letter]
    return _dinov2(size, letter, width, depth, False), _dinov2(size, letter, width, depth, True)


DINOV2_VIT_S14, DINOV2_VIT_S14_REG4 = _all_dinov2("s")
DINOV2_VIT_B14, DINOV2_VIT_B14_REG4 = _all_dinov2("b")
DINOV2_VIT_L14, DINOV2_VIT_L14_REG4 = _all_dinov2("l")
DINOV2_VIT_G14, DINOV2_VIT_G14_REG4 = _all_dinov2("g")
