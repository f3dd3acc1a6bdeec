"""CLIP by OpenAI and by LAION: the projected class token, not normalised."""

from __future__ import annotations

from featcache.backbones.base import BackboneSpec, Taps
from featcache.backbones.clip_family import ClipFamily
from featcache.backbones.preprocess import CLIP_MEAN, CLIP_STD, Preprocessing
from featcache.backbones.weights import WeightsSource, finder

NATIVE = Preprocessing(
    preset="native", resize=224, interpolation="bicubic", size=224, mean=CLIP_MEAN, std=CLIP_STD
)
"""OpenAI's: resize 224 bicubic, centre crop 224."""

_OPENAI = "https://openaipublic.azureedge.net/clip/models"
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def _openai(file: str, sha256: str, hub: str) -> WeightsSource:
    return WeightsSource(
        files=(file,),
        page="https://github.com/openai/CLIP",
        hub=hub,
        hub_files=_HUB_FILES,
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
        hub_files=_HUB_FILES,
        url="https://github.com/mlfoundations/open_clip/releases/download/v0.2-weights/"
        "vit_b_16-laion400m_e32-55e67d44.pt",
        sha256="55e67d44",
    ),
)
