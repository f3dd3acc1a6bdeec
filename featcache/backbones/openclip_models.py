"""CLIP's image towers, by open_clip: exact activation, projected feature, nothing of the text
tower.

``open_clip:ARCH/TAG``: the image tower of any model of open_clip. Loads torch to ask open_clip
about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.backbones.base import BackboneSpec, Taps
from featcache.backbones.hub import WeightsSource
from featcache.backbones.preprocess import CLIP_MEAN, CLIP_STD, Preprocessing
from featcache.backbones.weights import PLACES, finder, published_config
from featcache.errors import SettingsError, WeightsError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn

SMALL: dict[str, int] = {"layers": 3, "width": 64, "head_width": 32, "image_size": 32}
SMALL_RESNET: dict[str, Any] = {"layers": [1, 1, 1, 1], "width": 8, "image_size": 64}
SMALL_TRUNKS: dict[str, dict[str, Any]] = {
    "vit_pe_core": {"timm_model_name": "vit_pe_core_tiny_patch16_384", "image_size": 32},
    "eva02": {"timm_model_name": "eva02_tiny_patch14_224", "image_size": 28},
    "fastvit": {"timm_model_name": "fastvit_t8", "image_size": 64},
    "vit": {"timm_model_name": "vit_tiny_patch16_224", "image_size": 32},
}
"""Towers of the same kind that run in a moment, for tests."""

HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip's repositories on the hub call the weights."""

PREFIXES = ("module.visual.", "visual.")
"""Where the tower lies in OpenAI's and open_clip's files; all beside it is the text's."""


@dataclass(frozen=True)
class ClipFamily:
    """The image tower of a model of open_clip.

    Parameters
    ----------
    name : str
        The backbone, for messages.
    model : str
        open_clip's name, which decides the activation: ``ViT-B-16-quickgelu`` is OpenAI's.
    overrides : mapping
        Changes of its vision configuration, for tests.
    config : mapping, optional
        The model's configuration, where it is not one of open_clip's own.
    """

    name: str
    model: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None

    def create(self) -> nn.Module:
        """Return the tower with random weights, drawn from torch's generator.

        Returns
        -------
        nn.Module
            The tower with random weights, drawn from torch's generator.
        """
        return wrap(self.make_tower())

    def build(self, path: Path) -> nn.Module:
        """Return the tower with all its weights from ``path``.

        Parameters
        ----------
        path : Path
            File or folder.

        Returns
        -------
        nn.Module
            The tower with all its weights from ``path``.

        Raises
        ------
        WeightsError
            If the file is damaged or does not fit.
        """
        from featcache.backbones.checkpoints import (
            load_translated,
            make_empty,
            read_tensors,
            select_prefix,
        )
        from featcache.backbones.transformers_names import from_transformers

        tower = make_empty(self.make_tower)
        expected = tower.state_dict()

        def translate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return select_prefix(from_transformers(tensors, expected), PREFIXES)

        load_translated(tower, read_tensors(path), translate, path, self.name)
        return wrap(tower).eval()

    def make_tower(self) -> nn.Module:
        """Return open_clip's tower, in evaluation mode.

        Returns
        -------
        nn.Module
            Open_clip's tower, in evaluation mode.
        """
        from open_clip.model import _build_vision_tower

        config = self.config or tower_config(self.model)
        vision = {**config["vision_cfg"], **self.overrides, "timm_model_pretrained": False}
        quick = config.get("quick_gelu", False)
        tower: nn.Module = _build_vision_tower(config["embed_dim"], vision, quick_gelu=quick)
        resize = getattr(getattr(tower, "trunk", None), "set_input_size", None)
        if resize is not None and "image_size" in self.overrides:
            resize(img_size=self.overrides["image_size"])
        return tower.eval()

    def small(self) -> ClipFamily:
        """Return the same kind of tower in a size for tests.

        Returns
        -------
        ClipFamily
            The same kind of tower in a size for tests.
        """
        vision = tower_config(self.model)["vision_cfg"]
        if trunk := vision.get("timm_model_name"):
            kind = next(kind for kind in SMALL_TRUNKS if trunk.startswith(kind))
            return replace(self, overrides=SMALL_TRUNKS[kind])
        resnet = isinstance(vision["layers"], list)
        return replace(self, overrides=SMALL_RESNET if resnet else SMALL)


def wrap(tower: nn.Module) -> nn.Module:
    """Return a tower as a module that gives plain features, and taps where its layout is known.

    Parameters
    ----------
    tower : nn.Module
        Image tower of the model.

    Returns
    -------
    nn.Module
        A tower as a module that gives plain features, and taps where its layout is known.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel

    from featcache.backbones.modules import ClipResNet, ClipTimm, ClipVit

    if isinstance(tower, ModifiedResNet):
        return ClipResNet(tower)
    if isinstance(tower, TimmModel):
        return ClipTimm(tower)
    return ClipVit(tower) if is_plain_vit(tower) else tower


def is_plain_vit(tower: nn.Module) -> bool:
    """Say whether a tower is CLIP's own transformer: class token, norm, projection.

    Parameters
    ----------
    tower : nn.Module
        Image tower of the model.

    Returns
    -------
    bool
    """
    from open_clip.transformer import VisionTransformer

    return (
        isinstance(tower, VisionTransformer)
        and getattr(tower, "attn_pool", None) is None
        and getattr(tower, "pool_type", "tok") == "tok"
        and not getattr(tower, "output_tokens", False)
        and tower.proj is not None
    )


def tower_config(model: str) -> dict[str, Any]:
    """Return open_clip's configuration of a model.

    Parameters
    ----------
    model : str
        Name of the model.

    Returns
    -------
    dict[str, Any]
        Open_clip's configuration of a model.

    Raises
    ------
    UnknownNameError
        If it has none of that name.
    """
    import open_clip

    if model not in open_clip.list_models():
        raise unknown_name("architecture of open_clip", model, open_clip.list_models())
    config: dict[str, Any] = open_clip.get_model_config(model)
    return config


def tag_config(model: str, tag: str) -> dict[str, Any]:
    """Return what open_clip knows of pretrained weights, their activation checked against the
    model's.

    Parameters
    ----------
    model : str
        Name of the model.
    tag : str
        Tag of the pretrained weights.

    Returns
    -------
    dict[str, Any]
        What open_clip knows of pretrained weights, their activation checked against the
        model's.

    Raises
    ------
    SettingsError
        If there is no such tag, or its weights were trained with the other activation: open_clip
        would only warn, and the features would be wrong.
    """
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    config = tower_config(model)
    pretrained_config: dict[str, Any] = get_pretrained_cfg(model, tag)
    if not pretrained_config:
        tags = open_clip.list_pretrained_tags_by_model(model)
        raise unknown_name(f"pretrained tag of open_clip's {model}", tag, tags)
    trained, built = bool(pretrained_config.get("quick_gelu")), bool(config.get("quick_gelu"))
    if trained != built:
        other_model = model.removesuffix("-quickgelu") if built else f"{model}-quickgelu"
        kinds = {True: "QuickGELU", False: "plain GELU"}
        raise SettingsError(
            f"The weights {tag!r} were trained with {kinds[trained]} and {model} computes"
            f" {kinds[built]}: the features would be wrong. Use open_clip:{other_model}/{tag}."
        )
    return pretrained_config


def any_clip(base: str) -> BackboneSpec:
    """Return the backbone of a pretrained model of open_clip.

    Parameters
    ----------
    base : str
        ``open_clip:ARCH/TAG``.

    Returns
    -------
    BackboneSpec
        The backbone of a pretrained model of open_clip.

    Raises
    ------
    SettingsError
        If open_clip has no such model or tag, or their activations differ.
    """
    if base.removeprefix("open_clip:").startswith(PLACES):
        return _published(base)
    model, slash, tag = base.removeprefix("open_clip:").partition("/")
    if not slash:
        raise SettingsError(
            f"{base} names no weights. Write open_clip:ARCH/TAG, e.g."
            " open_clip:ViT-B-16/laion400m_e32."
        )
    cfg = tag_config(model, tag)
    # Where the weights are: owner/repository/file on the hub, or an address.
    owner, _, rest = str(cfg.get("hf_hub") or "").partition("/")
    name, _, file = rest.partition("/")
    hub, url = f"{owner}/{name}" if name else "", str(cfg.get("url") or "")
    source = WeightsSource(
        files=(url.rsplit("/", 1)[-1],) if url else (f"{model}.safetensors",),
        page=f"https://huggingface.co/{hub}" if hub else url,
        hub=hub,
        hub_files=((file,) if file else HUB_FILES) if hub else (),
        url=url,
    )
    return _spec(ClipFamily(base, model), cfg, source, f"{model} of open_clip, weights {tag}")


def _published(base: str) -> BackboneSpec:
    """Return the backbone of a folder or repository that open_clip wrote."""
    place = base.removeprefix("open_clip:")
    config, source = published_config(place, "open_clip_config.json")
    model = config.get("model_cfg")
    if not isinstance(model, dict) or not {"embed_dim", "vision_cfg"} <= model.keys():
        raise WeightsError(
            f"The open_clip_config.json of {place} describes no model: it has no model_cfg with"
            " embed_dim and vision_cfg. Name another folder or repository."
        )
    family = ClipFamily(base, place, config=model)
    return _spec(family, config.get("preprocess_cfg") or {}, source, f"{place}, by open_clip")


def _spec(
    family: ClipFamily, cfg: Mapping[str, Any], source: WeightsSource, summary: str
) -> BackboneSpec:
    """Return the backbone of a family, its sizes asked of a tower without numbers."""
    import torch

    base = family.name
    with torch.device("meta"):
        tower = family.make_tower()
    size = getattr(tower, "image_size", 224)
    side = int(size if isinstance(size, int) else size[0])
    native = Preprocessing(
        preset="native",
        resize=side,
        interpolation=cfg.get("interpolation", "bicubic"),
        size=side,
        mean=tuple(cfg.get("mean", CLIP_MEAN)),
        std=tuple(cfg.get("std", CLIP_STD)),
        squash=cfg.get("resize_mode", "shortest") == "squash",
    )
    architecture = f"open_clip:{family.model}"
    if family.config:  # the place says nothing of the network
        vision = dict(family.config["vision_cfg"])
        quick = bool(family.config.get("quick_gelu"))
        shape = {**vision, "embed_dim": family.config["embed_dim"], "quick_gelu": quick}
        architecture = "open_clip" + "".join(f" {k}={v}" for k, v in sorted(shape.items()))
    return BackboneSpec(
        name=base,
        summary=summary,
        architecture=architecture,
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
        taps=_taps(tower, native.size),
        weights=source,
    )


def _taps(tower: Any, size: int) -> Taps | None:
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel

    from featcache.backbones.modules import taps_of

    if isinstance(tower, TimmModel):
        return taps_of(tower.trunk, size)[0]
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
