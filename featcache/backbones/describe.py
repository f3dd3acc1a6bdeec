"""What there is to say about a backbone: plain data for tables and programs. Asks no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featcache.backbones.base import BackboneSpec
from featcache.backbones.hub import remembered_digest, weights_bytes
from featcache.backbones.names import ALIASES, parse_name
from featcache.backbones.resolve import BACKBONES, build_network, resolve
from featcache.backbones.weights import ORDER, given, looked_at
from featcache.backbones.weights import locate as locate_published
from featcache.errors import WeightsError


def describe_all() -> list[dict[str, Any]]:
    """Return one row per registered backbone: name, aliases, width, weights (found or missing),
    licence.

    Returns
    -------
    list[dict[str, Any]]
        One row per registered backbone.
    """
    return [
        {
            "name": name,
            "aliases": _aliases(name),
            "architecture": spec.architecture,
            "n_features": spec.n_features,
            "preset": spec.preset,
            "weights": _status(spec),
            "licence": spec.licence,
            "page": spec.page,
            "summary": spec.summary,
        }
        for name, spec in BACKBONES.all().items()
    ]


def locate(spec: BackboneSpec) -> tuple[Path, str] | None:
    """Return the weights file on this machine and the place where it was found; None where it is
    missing.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.

    Returns
    -------
    tuple[Path, str] | None
        The weights file on this machine and the place where it was found.

    Raises
    ------
    WeightsError
        If the user named a file that does not exist.
    """
    if spec.state_id:
        return None
    base = parse_name(spec.name).base
    if named := given(base, {}):
        return named
    if spec.weights is not None:
        return locate_published(base, spec.weights)
    try:
        return spec.find_weights(), spec.page
    except WeightsError:
        return None


def describe(name: str) -> dict[str, Any]:
    """Return all about one backbone: network, taps, preprocessing, and its weights with where to
    get them.

    Parameters
    ----------
    name : str
        A feature name.

    Returns
    -------
    dict[str, Any]
        All about one backbone.
    """
    spec = resolve(name)
    base, source = parse_name(spec.name).base, spec.weights
    location = locate(spec)
    return {
        "name": spec.name,
        "base": base,
        "aliases": _aliases(base),
        "summary": spec.summary,
        "architecture": spec.architecture,
        "n_features": spec.n_features,
        "tap": spec.tap,
        "taps": format_taps(spec),
        "native": spec.native.to_key(),
        "preset": spec.preset,
        "weights": _status(spec),
        "file": str(location[0]) if location else None,
        "place": location[1] if location else None,
        "bytes": weights_bytes(location[0]) if location else None,
        "digest": f"blake2b:{remembered_digest(location[0])}"
        if location
        else spec.state_id or None,
        "licence": spec.licence,
        "page": spec.page,
        "published_as": list(source.files) if source else [],
        "hub": source.hub if source else "",
        "url": source.url if source else "",
        "fetch": bool(source and source.can_fetch),
        "order": ORDER,
        "looked_at": looked_at(base, source) if source else [],
    }


def format_taps(spec: BackboneSpec) -> str:
    """Return the taps of a backbone in a few words.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.

    Returns
    -------
    str
        The taps of a backbone in a few words.
    """
    taps = spec.taps
    if taps is None:
        return "final"
    pooled = ", each also :mean or :cls+mean" if taps.tokens else ", averaged over the map"
    pre = ", pre" if taps.projected else ""
    return f"final{pre}, layer{taps.first} to layer{taps.last}{pooled}"


def check_weights(spec: BackboneSpec) -> dict[str, Any]:
    """Load the weights strictly and return which they are.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.

    Returns
    -------
    dict
        ``name``, ``file``, ``bytes``, ``digest`` and ``n_parameters``.

    Raises
    ------
    WeightsError
        If they are missing, damaged or of another network.
    """
    path = spec.find_weights()
    network = build_network([spec])
    return {
        "name": spec.name,
        "file": str(path),
        "bytes": weights_bytes(path),
        "digest": f"blake2b:{remembered_digest(path)}",
        "n_parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def _status(spec: BackboneSpec) -> str:
    if spec.state_id:
        return "in memory"
    return "missing" if locate(spec) is None else "found"


def _aliases(base: str) -> list[str]:
    return [alias for alias, name in ALIASES.items() if name == base]
