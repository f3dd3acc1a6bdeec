"""A backbone at another tap: its width and what the key says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from featcache.backbones.base import BackboneSpec, Taps
from featcache.backbones.names import Tap
from featcache.errors import SettingsError


def tapped(spec: BackboneSpec, tap: Tap) -> BackboneSpec:
    """Return ``spec`` with its feature taken at ``tap``.

    Raises
    ------
    SettingsError
        If the network has no such tap: says which it has.
    """
    if tap == Tap():
        return spec
    if spec.taps is None:
        raise SettingsError(
            f"{spec.name} has no tap {str(tap)!r}; it gives its final feature only."
        )
    if reason := _refusal(spec.taps, tap):
        raise SettingsError(f"{spec.name} has no tap {str(tap)!r}: {reason}.")
    width = spec.taps.widths[-1 if tap.place != "layer" else tap.layer - spec.taps.first]
    n_parts = len(tap.pooling.split("+"))
    return replace(spec, tap=_to_key(spec.taps, tap), n_features=width * n_parts)


def _refusal(taps: Taps, tap: Tap) -> str:
    """Return why there is no such tap, empty where there is."""
    if tap.place == "layer" and not taps.first <= tap.layer <= taps.last:
        return f"its layers are {taps.first} to {taps.last}"
    if not taps.tokens and tap.pooling != "cls":
        return "it has maps, which are always averaged; write @layerN"
    if tap.place == "pre" and not taps.projected:
        return "its final feature is no projection"
    if tap.place == "final" and taps.projected:
        return "the projection is for the class token only; write @pre:mean for the patch tokens before it"
    return ""


def _to_key(taps: Taps, tap: Tap) -> dict[str, Any]:
    """Return what stands in the key; the final feature keeps what the spec says."""
    tokens = {"cls": "class", "mean": "patches", "cls+mean": "class+patches"}
    pooling = "mean" if "mean" in tap.pooling else "none"
    return {
        "layer": tap.layer if tap.place == "layer" else "final",
        "token": tokens[tap.pooling] if taps.tokens else "none",
        "pooling": pooling if taps.tokens else "average",
        "projection": "none",
        "norm": "none" if tap.place == "layer" else "applied",
    }
