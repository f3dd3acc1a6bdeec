"""The backbones of :file:`named.toml`: DINOv3, SigLIP 2, PE, MetaCLIP 2 and others, by name.

The table holds what timm and open_clip know of them, so that naming one imports no torch. Its
preset is ``native``: UnivFD's crop and statistics belong to UnivFD's comparison.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from featcache.backbones.base import BackboneSpec, Taps
from featcache.backbones.hub import WeightsSource
from featcache.backbones.openclip_models import HUB_FILES, ClipFamily
from featcache.backbones.preprocess import STATISTICS, Preprocessing
from featcache.backbones.timm_models import TimmFamily, timm_names
from featcache.backbones.weights import finder


@cache
def named_rows() -> dict[str, dict[str, Any]]:
    """Return the table by name of the backbone.

    Returns
    -------
    dict of str to dict
    """
    table = files("featcache.backbones").joinpath("named.toml")
    return tomllib.loads(table.read_text(encoding="utf-8"))


def named_spec(name: str) -> BackboneSpec:
    """Return the backbone of a row of the table.

    Parameters
    ----------
    name : str
        A name of the table.

    Returns
    -------
    BackboneSpec
    """
    row = named_rows()[name]
    of_timm = row.get("library", "timm") == "timm"
    model, options = row["model"], row.get("options", {})
    family = TimmFamily(name, model, timm_names, options) if of_timm else ClipFamily(name, model)
    mean, std = STATISTICS[row["statistics"]]
    hub_files = ("model.safetensors", "pytorch_model.bin") if of_timm else HUB_FILES
    url = row.get("url", "")
    source = WeightsSource(
        files=(url.rsplit("/", 1)[-1] if url else f"{model}.{row['tag']}.safetensors",),
        page=row["page"],
        hub=row["hub"],
        hub_files=hub_files,
        url=url,
    )
    return BackboneSpec(
        name=name,
        summary=row["summary"],
        architecture=f"{'timm' if of_timm else 'open_clip'}:{model}"
        + "".join(f" {key}={value}" for key, value in sorted(options.items())),
        n_features=row["width"],
        tap={
            "layer": "final",
            "token": row.get("token", "open_clip"),
            "pooling": row.get("pooling", "open_clip"),
            "projection": "none" if of_timm else "applied",
        },
        native=Preprocessing(
            preset="native",
            resize=row.get("resize", row["size"]),
            interpolation=row.get("interpolation", "bicubic"),
            size=row["size"],
            mean=mean,
            std=std,
            squash=row.get("squash", False),
        ),
        find_weights=finder(name, source),
        build=family.build,
        create=family.create,
        licence=row["licence"],
        page=row["page"],
        taps=_taps(row),
        crop=row.get("crop", 0),
        weights=source,
    )


def _taps(row: dict[str, Any]) -> Taps | None:
    if "stages" in row:
        return Taps(tuple(row["stages"]), tokens=False)
    if "depth" not in row:
        return None
    width = row.get("block_width", row["width"])
    return Taps((width,) * (row["depth"] + 1), projected=row.get("projected", False))


def __getattr__(attribute: str) -> BackboneSpec:
    """Return a backbone under the name of a constant, as entry points ask for it."""
    name = attribute.lower().replace("_", "-")
    if attribute != attribute.upper() or name not in named_rows():
        raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
    return named_spec(name)
