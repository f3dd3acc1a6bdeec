"""ResNet-50 on ImageNet, the question that the paper left open."""

from __future__ import annotations

from featcache.backbones.base import BackboneSpec, Taps
from featcache.backbones.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from featcache.backbones.timm_family import TimmFamily, timm_names
from featcache.backbones.weights import WeightsSource, finder

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
    weights=_SOURCE,
)
