"""``timm:NAME``: any model of timm, with its own preprocessing. Loads torch to ask timm about it."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

from featcache.backbones.base import BackboneSpec
from featcache.backbones.preprocess import Preprocessing
from featcache.backbones.timm_family import TimmFamily, no_weights, timm_config, timm_names
from featcache.backbones.weights import WeightsSource, find
from featcache.errors import SettingsError
from featcache.geometry import FILTERS


def any_timm(base: str) -> BackboneSpec:
    """Return the backbone of a model of timm.

    Parameters
    ----------
    base : str
        ``timm:ARCHITECTURE[.TAG]``.

    Raises
    ------
    SettingsError
        If timm has no such model.
    """
    import torch

    from featcache.backbones.networks import taps_of

    _, cfg = timm_config(base.removeprefix("timm:"))
    model = base.removeprefix("timm:")
    family = TimmFamily(base, model, timm_names)
    native = _native(cfg)
    with torch.device("meta"):
        trunk = family.make_trunk()
    taps, width = taps_of(trunk, native.size)
    source = _source(base, model, cfg)
    return BackboneSpec(
        name=base,
        summary=f"{model} of timm",
        architecture=base,
        n_features=width,
        tap={"layer": "final", "token": "timm", "pooling": "timm", "projection": "none"},
        native=native,
        find_weights=partial(_find, base, source),
        build=family.build,
        create=family.create,
        licence=cfg.license or "see the page",
        page=source.page if source else "timm",
        taps=taps,
        crop=native.size if _fixed_size(trunk, cfg) else 224,
        weights=source,
    )


def _find(base: str, source: WeightsSource | None) -> Path:
    if source is None:
        raise no_weights(base)
    return find(base, source)


def _fixed_size(trunk: Any, cfg: Any) -> bool:
    """Say whether the network takes images of its own size only, as transformers do."""
    return bool(cfg.fixed_input_size) or hasattr(trunk, "pos_embed")


def _native(cfg: Any) -> Preprocessing:
    size = int(cfg.input_size[-1])
    if cfg.crop_mode not in ("center", "squash"):
        raise SettingsError(f"timm's crop mode {cfg.crop_mode!r} is not supported.")
    return Preprocessing(
        preset="native",
        resize=math.floor(size / cfg.crop_pct),
        interpolation=cfg.interpolation if cfg.interpolation in FILTERS else "bilinear",
        size=size,
        mean=tuple(cfg.mean),
        std=tuple(cfg.std),
        squash=cfg.crop_mode == "squash",
    )


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
