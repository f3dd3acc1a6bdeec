"""From the file to the network's input: equal to torchvision's, timm's and open_clip's own
transforms.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from featcache.backbones import BACKBONES, BackboneSpec, choose_preset, resolve
from featcache.backbones.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    STATISTICS,
)
from featcache.backbones.pretrained import SYNCLR_NATIVE
from featcache.errors import UnknownNameError
from featcache.images import DECODING, decode

SIZES = [(224, 224), (500, 333), (333, 500), (60, 400), (1, 1), (257, 256), (225, 223)]
MODES = {
    "bilinear": transforms.InterpolationMode.BILINEAR,
    "bicubic": transforms.InterpolationMode.BICUBIC,
}


def picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def network_input(spec: BackboneSpec, preset: str, image: Image.Image) -> Tensor:
    """Return what reaches the network: the whole way of an extraction, with a network that lets
    all through.
    """
    from featcache.extract import ExtractOptions
    from featcache.extract.forward import Forward
    from featcache.extract.plan import make_requests

    size = choose_preset(preset, spec.native, spec.crop).size
    spec = replace(spec, create=nn.Flatten, random_init=0, taps=None, n_features=3 * size * size)
    (request,) = make_requests([spec], ExtractOptions(preset=preset, device="cpu"))
    pixels, _ = request.prepare(image, "0" * 32)
    forward = Forward([request], torch.device("cpu"))
    (features,), _ = forward(torch.from_numpy(pixels[None].copy()), request.preprocessing).result()
    return torch.from_numpy(features).reshape(3, size, size)


def steps(
    resize: int | None, mode: str, crop: int, mean: Any, std: Any
) -> Callable[[Image.Image], Tensor]:
    scale = [] if resize is None else [transforms.Resize(resize, MODES[mode], antialias=True)]
    return transforms.Compose(
        [
            *scale,
            transforms.CenterCrop(crop),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )


CLIP, IMAGENET, HALF = (CLIP_MEAN, CLIP_STD), (IMAGENET_MEAN, IMAGENET_STD), STATISTICS["half"]
EXPECTED = [
    *(
        (name, "univfd", steps(None, "", 224, *CLIP))
        for name in ("clip", "synclr", "dinov2", "resnet50", "efficientnet-lite2")
    ),
    ("resnet50", "univfd:imagenet", steps(None, "", 224, *IMAGENET)),
    *(
        (name, "native", steps(224, "bicubic", 224, *CLIP))
        for name in ("clip", "clip-rn50", "synclr", "clip-vit-b16-laion400m")
    ),
    ("synclr", "native:imagenet", steps(224, "bicubic", 224, *IMAGENET)),
    ("stablerep", "native", steps(256, "bilinear", 224, *IMAGENET)),
    ("dinov2", "native", steps(256, "bicubic", 224, *IMAGENET)),
    ("resnet50", "native", steps(256, "bilinear", 224, *IMAGENET)),
    ("efficientnet-lite0", "native", steps(256, "bicubic", 224, *HALF)),
    ("efficientnet-lite1", "native", steps(272, "bicubic", 240, *HALF)),
    ("efficientnet-lite2", "native", steps(292, "bicubic", 260, *HALF)),
    ("stablerep", "resize", steps(224, "bilinear", 224, *IMAGENET)),
    ("efficientnet-lite2", "resize", steps(260, "bicubic", 260, *HALF)),
]


@pytest.mark.parametrize(
    ("name", "preset", "expected"),
    EXPECTED,
    ids=[f"{name} {preset}" for name, preset, _ in EXPECTED],
)
def test_presets_equal_torchvisions_transforms(
    name: str, preset: str, expected: Callable[[Image.Image], Tensor]
) -> None:
    for size in SIZES:
        image = picture(*size)
        torch.testing.assert_close(
            network_input(resolve(name), preset, image), expected(image), rtol=0, atol=1e-6
        )


@pytest.mark.parametrize(
    "name",
    [
        "resnet50.tv_in1k",
        "tf_efficientnet_lite2",
        "vit_small_patch14_dinov2.lvd142m",
        "vit_base_patch16_siglip_224",
    ],
)
def test_native_of_timm_is_timms_own(name: str) -> None:
    from timm import get_pretrained_cfg
    from timm.data import create_transform, resolve_data_config

    own = create_transform(**resolve_data_config(pretrained_cfg=get_pretrained_cfg(name).to_dict()))
    image = picture(300, 200)
    ours = network_input(resolve(f"timm:{name}"), "native", image)
    torch.testing.assert_close(ours, own(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["ViT-B-16/laion400m_e32", "ViT-L-14/laion2b_s32b_b82k", "ViT-B-16-SigLIP/webli"]
)
def test_native_of_open_clip_is_open_clips_own(name: str) -> None:
    from open_clip.pretrained import get_pretrained_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2

    model, tag = name.split("/")
    cfg = get_pretrained_cfg(model, tag)
    fields = {key: cfg[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    own = image_transform_v2(PreprocessCfg(size=224, **fields), is_train=False)
    image = picture(300, 200)
    ours = network_input(resolve(f"open_clip:{name}"), "native", image)
    torch.testing.assert_close(ours, own(image), rtol=0, atol=1e-6)


def test_every_setting_is_in_the_key() -> None:
    for name in BACKBONES.names():
        key = resolve(name).native.to_key()
        assert {"resize", "interpolation", "antialias", "aspect", "crop", "size", "mean", "std",
                "padding", "decoding", "preset"} == set(key)  # fmt: skip
    native = resolve("synclr").native
    texts = ["univfd", "native", "resize", "univfd:imagenet", "native:imagenet", "native:half"]
    assert len({str(choose_preset(text, native).to_key()) for text in texts}) == len(texts)


@pytest.mark.parametrize("text", ["other", "native:other", "native:", ":clip"])
def test_there_are_no_other_presets(text: str) -> None:
    with pytest.raises(
        UnknownNameError, match=r"Known: (native, resize, univfd|clip, half, imagenet)"
    ):
        choose_preset(text, resolve("clip").native)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_where_the_preset_asks(
    orientation: int, file_format: str
) -> None:
    """A file with an orientation gives the pixels of the image as a viewer shows it."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, exif=exif)
    image = decode(buffer.getvalue())
    plain, rotated = (choose_preset(name, SYNCLR_NATIVE, 32) for name in ("univfd", "univfd+exif"))
    stored = np.asarray(image)
    shown = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored[::-1].transpose(1, 0, 2),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: stored[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    expected = plain(Image.fromarray(np.ascontiguousarray(shown)))
    np.testing.assert_array_equal(rotated(rotated.orient(image)), expected)
    np.testing.assert_array_equal(plain(plain.orient(image)), plain(Image.fromarray(stored)))


def test_exif_rotation_is_part_of_the_key() -> None:
    plain = choose_preset("univfd", SYNCLR_NATIVE).to_key()
    rotated = choose_preset("univfd:imagenet+exif", SYNCLR_NATIVE).to_key()
    assert plain["decoding"] == DECODING
    assert rotated["decoding"] == {**DECODING, "exif": "rotate"}
    assert "exif" not in plain
    with pytest.raises(UnknownNameError, match=r"\+exif"):
        choose_preset("univfd+rotate", SYNCLR_NATIVE)
