"""Networks of timm: how a published file becomes timm's tensors, and how a network is made from
them.

``timm:NAME``: any model of timm, with its own preprocessing. Loads torch to ask timm about it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.backbones.base import BackboneSpec
from featcache.backbones.hub import WeightsSource
from featcache.backbones.preprocess import Preprocessing
from featcache.backbones.weights import PLACES, find, published_config
from featcache.errors import SettingsError, WeightsError
from featcache.images import FILTERS

if TYPE_CHECKING:
    from torch import Tensor, nn

Tensors = dict[str, "Tensor"]
Translate = Callable[["Tensors", "nn.Module"], "Tensors"]

SMALL: dict[str, int] = {"embed_dim": 32, "depth": 3, "num_heads": 2, "img_size": 28}
SMALL_CONVNEXT: dict[str, Any] = {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}
"""Networks of the same kind that run in a moment, for tests."""


@dataclass(frozen=True)
class TimmFamily:
    """A network of timm with the structure of its published weights.

    Parameters
    ----------
    name : str
        The backbone, for messages.
    model : str
        timm's name of the architecture.
    translate : callable
        From a file's tensors, and the trunk that they are for, to the trunk's own names and shapes.
    options : mapping
        For ``timm.create_model``.
    """

    name: str
    model: str
    translate: Translate
    options: Mapping[str, Any] = field(default_factory=dict)

    def create(self) -> nn.Module:
        """Return the network with random weights, drawn from torch's generator.

        Returns
        -------
        nn.Module
            The network with random weights, drawn from torch's generator.
        """
        from featcache.backbones.modules import TimmNet

        return TimmNet(self.make_trunk())

    def build(self, path: Path) -> nn.Module:
        """Return the network with all its weights from ``path``.

        Parameters
        ----------
        path : Path
            File or folder.

        Returns
        -------
        nn.Module
            The network with all its weights from ``path``.

        Raises
        ------
        WeightsError
            If the file is damaged or does not fit.
        """
        from featcache.backbones.checkpoints import load_translated, make_empty, read_tensors
        from featcache.backbones.modules import TimmNet
        from featcache.backbones.transformers_names import from_transformers

        trunk = make_empty(self.make_trunk)
        expected = trunk.state_dict()

        def translate(tensors: Tensors) -> Tensors:
            return self.translate(from_transformers(tensors, expected), trunk)

        load_translated(trunk, read_tensors(path), translate, path, self.name)
        return TimmNet(trunk).eval()

    def make_trunk(self) -> nn.Module:
        """Return timm's model without classifier.

        Returns
        -------
        nn.Module
            Timm's model without classifier.
        """
        import timm

        options = {"num_classes": 0, **self.options}
        trunk: nn.Module = timm.create_model(self.model, pretrained=False, **options)
        return trunk.eval()

    def small(self) -> TimmFamily:
        """Return the same kind of network in a size for tests.

        Returns
        -------
        TimmFamily
            The same kind of network in a size for tests.
        """
        if self.model.startswith("convnext"):
            return replace(self, options={**self.options, **SMALL_CONVNEXT})
        if not self.model.startswith(("vit_", "eva02", "aimv2")):
            return self
        # Those that take any size take whole patches only.
        side = 32 if "patch16_dinov3" in self.model else SMALL["img_size"]
        return replace(self, options={**self.options, **SMALL, "img_size": side})


def synclr_names(tensors: Tensors, trunk: nn.Module) -> Tensors:
    """Return the visual tower of SynCLR or StableRep: ``module.visual.*``, ``visual.*`` or bare
    names.

    Heads, text towers and optimisers beside the tower are left away; nothing inside it is.

    Parameters
    ----------
    tensors : Tensors
        Tensors of the file by name.
    trunk : nn.Module
        Network without its head.

    Returns
    -------
    Tensors
        The visual tower of SynCLR or StableRep.
    """
    from featcache.backbones.checkpoints import select_prefix

    return select_prefix(tensors, ("module.visual.", "visual.", "module."))


def dinov2_names(tensors: Tensors, trunk: nn.Module) -> Tensors:
    """Return DINOv2's tensors, the hub's or timm's, with the position embedding for the trunk's
    grid.

    The hub's models resample the embedding in every pass; for one input size once is the same.

    Parameters
    ----------
    tensors : Tensors
        Tensors of the file by name.
    trunk : nn.Module
        Network without its head.

    Returns
    -------
    Tensors
        DINOv2's tensors, the hub's or timm's, with the position embedding for the trunk's grid.
    """
    state = {_swiglu(key): value for key, value in tensors.items() if key != "mask_token"}
    registers = state.pop("register_tokens", None)
    if registers is not None and "pos_embed" in state and "cls_token" in state:
        # timm gives the class token no place in the embedding: the hub's place is added to it here.
        state["reg_token"] = registers
        state["cls_token"] = state["cls_token"].float() + state["pos_embed"][:, :1].float()
        state["pos_embed"] = state["pos_embed"][:, 1:]
    if "pos_embed" in state:
        position_embedding: Any = trunk.pos_embed
        state["pos_embed"] = resample_as_hub(state["pos_embed"], position_embedding.shape[1])
    return state


def _swiglu(key: str) -> str:
    key = re.sub(r"(blocks\.\d+\.mlp)\.w12\.", r"\1.fc1.", key)
    return re.sub(r"(blocks\.\d+\.mlp)\.w3\.", r"\1.fc2.", key)


def resample_as_hub(embedding: Tensor, n_wanted: int) -> Tensor:
    """Return a position embedding for another square grid, as the code of DINOv2's hub does it.

    Parameters
    ----------
    embedding : Tensor of shape (1, [1 +] M * M, D)
        With a class token: bicubic by the scale (m + 0.1) / M, not antialiased, as the models
        without registers. Without: bicubic to the size m, antialiased, as those with registers.
    n_wanted : int
        Tokens of the result, the class token included where there is one.

    Returns
    -------
    Tensor of shape (1, n_wanted, D)
        Untouched where no resampling is needed or the shapes make no sense (the fit then says so).
    """
    import torch
    from torch.nn.functional import interpolate

    n = embedding.shape[1]
    n_class = 1 if round((n - 1) ** 0.5) ** 2 == n - 1 else 0
    old, new = round((n - n_class) ** 0.5), round((n_wanted - n_class) ** 0.5)
    if n == n_wanted or old**2 != n - n_class or new**2 != n_wanted - n_class:
        return embedding
    grid = embedding[:, n_class:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    if n_class:
        scale = (new + 0.1) / old
        grid = interpolate(grid, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    else:
        grid = interpolate(grid, size=(new, new), mode="bicubic", antialias=True)
    patches = grid.permute(0, 2, 3, 1).reshape(1, new * new, -1)
    return torch.cat([embedding[:, :n_class].float(), patches], dim=1)


def timm_names(tensors: Tensors, trunk: nn.Module) -> Tensors:
    """Return the tensors of a file for a model of timm, without its classifier.

    timm's own filter of the architecture translates what its authors published.

    Parameters
    ----------
    tensors : Tensors
        Tensors of the file by name.
    trunk : nn.Module
        Network without its head.

    Returns
    -------
    Tensors
        The tensors of a file for a model of timm, without its classifier.
    """
    import sys

    from featcache.backbones.checkpoints import select_prefix

    filter_ = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    state = select_prefix(tensors, ("module.",))
    state = filter_(state, trunk) if filter_ else state
    cfg = getattr(trunk, "pretrained_cfg", {})
    named = cfg.get("classifier") or ()
    heads = (named,) if isinstance(named, str) else tuple(named)
    own = trunk.state_dict()
    return {
        key: value
        for key, value in state.items()
        if key in own or not key.startswith(tuple(f"{head}." for head in heads))
    }


def timm_config(name: str) -> tuple[str, Any]:
    """Return the full name and the configuration that timm has for a model.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Returns
    -------
    tuple[str, Any]
        The full name and the configuration that timm has for a model.

    Raises
    ------
    SettingsError
        If timm has no such model or pretrained tag: says the near ones.
    """
    import timm

    from featcache.errors import unknown_name

    architecture = name.split(".", 1)[0]
    if not timm.is_model(architecture):
        near = timm.list_models(f"*{architecture}*") or timm.list_models()
        raise unknown_name("model of timm", architecture, near[:40])
    try:
        cfg = timm.get_pretrained_cfg(name)
    except RuntimeError:  # what timm raises for a tag that it does not have
        cfg = None
    if cfg is None:
        tags = timm.list_pretrained(f"{architecture}.*")
        raise SettingsError(f"timm has no weights {name!r}. It has: {', '.join(tags) or 'none'}.")
    tag = f".{cfg.tag}" if cfg.tag else ""
    return architecture + tag, cfg


def no_weights(name: str) -> WeightsError:
    """Return the error for a model that was never published with weights.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Returns
    -------
    WeightsError
        The error for a model that was never published with weights.
    """
    return WeightsError(
        f"{name} has no published weights. Give a file with --weights {name}=FILE, "
        "or take random weights with --random-init SEED."
    )


def any_timm(base: str) -> BackboneSpec:
    """Return the backbone of a model of timm.

    Parameters
    ----------
    base : str
        ``timm:ARCHITECTURE[.TAG]``.

    Returns
    -------
    BackboneSpec
        The backbone of a model of timm.

    Raises
    ------
    SettingsError
        If timm has no such model.
    """
    import torch

    from featcache.backbones.modules import taps_of

    model = base.removeprefix("timm:")
    options: dict[str, Any] = {}
    source: WeightsSource | None
    if model.startswith(PLACES):
        model, cfg, options, source = _published(model)
    else:
        _, cfg = timm_config(model)
        source = _source(base, model, cfg)
    family = TimmFamily(base, model, timm_names, options)
    size = int(cfg.input_size[-1])
    if cfg.crop_mode not in ("center", "squash"):
        raise SettingsError(f"timm's crop mode {cfg.crop_mode!r} is not supported.")
    native = Preprocessing(
        preset="native",
        resize=math.floor(size / cfg.crop_pct),
        interpolation=cfg.interpolation if cfg.interpolation in FILTERS else "bilinear",
        size=size,
        mean=tuple(cfg.mean),
        std=tuple(cfg.std),
        squash=cfg.crop_mode == "squash",
    )
    with torch.device("meta"):
        trunk = family.make_trunk()
    taps, width = taps_of(trunk, native.size)
    return BackboneSpec(
        name=base,
        summary=f"{model} of timm",
        architecture=f"timm:{model}" + "".join(f" {k}={v}" for k, v in sorted(options.items())),
        n_features=width,
        tap={"layer": "final", "token": "timm", "pooling": "timm", "projection": "none"},
        native=native,
        find_weights=partial(_find, base, source),
        build=family.build,
        create=family.create,
        licence=cfg.license or "see the page",
        page=source.page if source else "timm",
        taps=taps,
        crop=native.size if (bool(cfg.fixed_input_size) or hasattr(trunk, "pos_embed")) else 224,
        weights=source,
    )


def _published(place: str) -> tuple[str, Any, dict[str, Any], WeightsSource]:
    """Return model, configuration, options and weights of ``hf-hub:`` and ``local-dir:`` names."""
    import timm
    from timm.models import PretrainedCfg

    config, source = published_config(place, "config.json")
    values = config.get("pretrained_cfg", config)
    model, options = config.get("architecture"), config.get("model_args") or {}
    if not isinstance(model, str) or not timm.is_model(model):
        raise WeightsError(
            f"{place} is no model of timm: its config.json names the architecture {model!r}. Give"
            " its weights to the backbone of its architecture: --weights NAME=FOLDER."
        )
    known = {field.name for field in fields(PretrainedCfg)}
    cfg = PretrainedCfg(**{key: value for key, value in values.items() if key in known})
    return model, cfg, {k: v for k, v in options.items() if k != "num_classes"}, source


def _find(base: str, source: WeightsSource | None) -> Path:
    if source is None:
        raise no_weights(base)
    return find(base, source)


def _source(base: str, model: str, cfg: Any) -> WeightsSource | None:
    repository = str(cfg.hf_hub_id or "").rstrip("/")
    url = str(cfg.url or "")
    if not repository and not url:
        return None
    files = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else ()
    return WeightsSource(
        files=(url.rsplit("/", 1)[-1],) if url else (f"{model}.safetensors",),
        page=f"https://huggingface.co/{repository}" if repository else url,
        hub=repository,
        hub_files=(*files, "model.safetensors", "pytorch_model.bin") if repository else (),
        url=url,
    )
