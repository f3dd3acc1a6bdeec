"""SynCLR, StableRep and DINOv2: plain vision transformers, the class token after the last norm.

CLIP by OpenAI and by LAION: the projected class token, not normalised.

ResNet-50 on ImageNet, the question that the paper left open.
"""

from __future__ import annotations

from featcache.backbones.base import BackboneSpec, Taps
from featcache.backbones.hub import WeightsSource
from featcache.backbones.openclip_models import HUB_FILES, ClipFamily
from featcache.backbones.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)
from featcache.backbones.timm_models import (
    TimmFamily,
    Translate,
    dinov2_names,
    synclr_names,
    timm_names,
)
from featcache.backbones.weights import finder

NATIVE = Preprocessing(
    preset="native", resize=224, interpolation="bicubic", size=224, mean=CLIP_MEAN, std=CLIP_STD
)
"""OpenAI's: resize 224 bicubic, centre crop 224."""

_OPENAI = "https://openaipublic.azureedge.net/clip/models"


def _openai(file: str, sha256: str, hub: str) -> WeightsSource:
    return WeightsSource(
        files=(file,),
        page="https://github.com/openai/CLIP",
        hub=hub,
        hub_files=HUB_FILES,
        url=f"{_OPENAI}/{sha256}/{file}",
        sha256=sha256,
    )


def _clip(
    name: str, summary: str, model: str, n_features: int, taps: Taps, source: WeightsSource
) -> BackboneSpec:
    family = ClipFamily(name, model)
    pooling = "attention" if not taps.tokens else "none"
    return BackboneSpec(
        name=name,
        summary=summary,
        architecture=f"open_clip:{model}",
        n_features=n_features,
        tap={
            "layer": "final",
            "token": "class" if taps.tokens else "none",
            "pooling": pooling,
            "projection": "applied",
        },
        native=NATIVE,
        find_weights=finder(name, source),
        build=family.build,
        create=family.create,
        licence="MIT",
        page=source.page,
        taps=taps,
        preset="univfd",
        weights=source,
    )


CLIP_VIT_B16 = _clip(
    "clip-vit-b16",
    "OpenAI's CLIP; QuickGELU",
    "ViT-B-16-quickgelu",
    512,
    Taps((768,) * 13, projected=True),
    _openai(
        "ViT-B-16.pt",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        "timm/vit_base_patch16_clip_224.openai",
    ),
)

CLIP_VIT_L14 = _clip(
    "clip-vit-l14",
    "OpenAI's CLIP, as in UnivFD; QuickGELU",
    "ViT-L-14-quickgelu",
    768,
    Taps((1024,) * 25, projected=True),
    _openai(
        "ViT-L-14.pt",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        "timm/vit_large_patch14_clip_224.openai",
    ),
)

CLIP_RN50 = _clip(
    "clip-rn50",
    "OpenAI's CLIP, attention pool",
    "RN50-quickgelu",
    1024,
    Taps((256, 512, 1024, 2048), tokens=False),
    _openai(
        "RN50.pt",
        "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
        "timm/resnet50_clip.openai",
    ),
)

CLIP_VIT_B16_LAION400M = _clip(
    "clip-vit-b16-laion400m",
    "open_clip on LAION-400M, epoch 32; GELU",
    "ViT-B-16",
    512,
    Taps((768,) * 13, projected=True),
    WeightsSource(
        files=("vit_b_16-laion400m_e32-55e67d44.pt",),
        page="https://github.com/mlfoundations/open_clip",
        hub="timm/vit_base_patch16_clip_224.laion400m_e32",
        hub_files=HUB_FILES,
        url="https://github.com/mlfoundations/open_clip/releases/download/v0.2-weights/"
        "vit_b_16-laion400m_e32-55e67d44.pt",
        sha256="55e67d44",
    ),
)


CLASS_TOKEN = {"layer": "final", "token": "class", "pooling": "none", "projection": "none"}

SYNCLR_NATIVE = Preprocessing(
    preset="native", resize=224, interpolation="bicubic", size=224, mean=CLIP_MEAN, std=CLIP_STD
)
"""SynCLR's downstream evaluation. Its training statistics are not published and its scripts
disagree: CLIP's are what its evaluation and the paper use; ``native:imagenet`` takes the other.
"""

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
        preset="univfd",
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
        # The hub's and timm's ways of resampling the embedding differ by little: the key says
        # which.
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


_SOURCE = WeightsSource(
    files=("resnet50-0676ba61.pth",),
    page="https://download.pytorch.org/models/resnet50-0676ba61.pth",
    hub="timm/resnet50.tv_in1k",
    hub_files=("model.safetensors",),
    url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
    sha256="0676ba61",
)
_FAMILY = TimmFamily("resnet50", "resnet50", timm_names)

RESNET50 = BackboneSpec(
    name="resnet50",
    summary="ImageNet-1k, supervised (torchvision v1)",
    architecture="timm:resnet50",
    n_features=2048,
    tap={"layer": "final", "token": "none", "pooling": "average", "projection": "none"},
    native=Preprocessing(
        preset="native",
        resize=256,
        interpolation="bilinear",
        size=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    ),
    find_weights=finder("resnet50", _SOURCE),
    build=_FAMILY.build,
    create=_FAMILY.create,
    licence="BSD-3-Clause",
    page=_SOURCE.page,
    taps=Taps((256, 512, 1024, 2048), tokens=False),
    preset="univfd",
    weights=_SOURCE,
)
