"""``open_clip:ARCH/TAG``: the image tower of any model of open_clip. Loads torch to ask open_clip about it."""

from __future__ import annotations

from typing import Any

from featcache.backbones.base import BackboneSpec, Taps
from featcache.backbones.clip_family import ClipFamily, is_plain_vit, tag_config
from featcache.backbones.preprocess import CLIP_MEAN, CLIP_STD, Preprocessing
from featcache.backbones.weights import WeightsSource, finder
from featcache.errors import SettingsError


def any_clip(base: str) -> BackboneSpec:
    """Return the backbone of a pretrained model of open_clip.

    Parameters
    ----------
    base : str
        ``open_clip:ARCH/TAG``.

    Raises
    ------
    SettingsError
        If open_clip has no such model or tag, or their activations differ.
    """
    import torch

    model, slash, tag = base.removeprefix("open_clip:").partition("/")
    if not slash:
        raise SettingsError(
            f"{base} names no weights. Write open_clip:ARCH/TAG, e.g. open_clip:ViT-B-16/laion400m_e32."
        )
    cfg = tag_config(model, tag)
    family = ClipFamily(base, model)
    with torch.device("meta"):
        tower = family.make_tower()
    native = _native(cfg, tower)
    source = _source(cfg, model)
    return BackboneSpec(
        name=base,
        summary=f"{model} of open_clip, weights {tag}",
        architecture=f"open_clip:{model}",
        n_features=_width(tower, native.size),
        tap={
            "layer": "final",
            "token": "open_clip",
            "pooling": "open_clip",
            "projection": "applied",
        },
        native=native,
        find_weights=finder(base, source),
        build=family.build,
        create=family.create,
        licence="see the page",
        page=source.page,
        taps=_taps(tower),
        weights=source,
    )


def _taps(tower: Any) -> Taps | None:
    from open_clip.modified_resnet import ModifiedResNet

    if isinstance(tower, ModifiedResNet):
        width = tower.layer1[-1].conv3.out_channels
        return Taps(tuple(width * 2**i for i in range(4)), tokens=False)
    if not is_plain_vit(tower):
        return None
    return Taps(
        (int(tower.conv1.out_channels),) * (len(tower.transformer.resblocks) + 1), projected=True
    )


def _width(tower: Any, size: int) -> int:
    import torch

    with torch.inference_mode():
        return int(tower(torch.zeros(1, 3, size, size, device="meta")).shape[1])


def _native(cfg: dict[str, Any], tower: Any) -> Preprocessing:
    size = getattr(tower, "image_size", 224)
    side = int(size if isinstance(size, int) else size[0])
    return Preprocessing(
        preset="native",
        resize=side,
        interpolation=cfg.get("interpolation", "bicubic"),
        size=side,
        mean=tuple(cfg.get("mean", CLIP_MEAN)),
        std=tuple(cfg.get("std", CLIP_STD)),
        squash=cfg.get("resize_mode", "shortest") == "squash",
    )


def _source(cfg: dict[str, Any], model: str) -> WeightsSource:
    """Return where the weights are: ``owner/repository/file`` on the hub, or an address."""
    owner, _, rest = str(cfg.get("hf_hub") or "").partition("/")
    name, _, file = rest.partition("/")
    hub, url = f"{owner}/{name}" if name else "", str(cfg.get("url") or "")
    defaults = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return WeightsSource(
        files=(url.rsplit("/", 1)[-1],) if url else (f"{model}.safetensors",),
        page=f"https://huggingface.co/{hub}" if hub else url,
        hub=hub,
        hub_files=((file,) if file else defaults) if hub else (),
        url=url,
    )
