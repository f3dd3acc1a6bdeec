"""Frozen networks by name, with their weights, taps and preprocessing."""

from typing import Any

from featcache.backbones.base import BackboneSpec, Taps
from featcache.backbones.names import canonical
from featcache.backbones.precision import choose_precision
from featcache.backbones.preprocess import Preprocessing, choose_preset
from featcache.backbones.resolve import (
    BACKBONES,
    build_network,
    feature_fields,
    preprocessing_of,
    resolve,
)
from featcache.errors import WeightsError


def describe_all() -> list[dict[str, Any]]:
    """Return one row per backbone: name, architecture, width, weights (found or missing), licence."""
    return [
        {
            "name": name,
            "architecture": spec.architecture,
            "n_features": spec.n_features,
            "weights": _weights_state(spec),
            "licence": spec.licence,
            "page": spec.page,
            "summary": spec.summary,
        }
        for name, spec in BACKBONES.all().items()
    ]


def _weights_state(spec: BackboneSpec) -> str:
    try:
        spec.find_weights()
    except WeightsError:
        return "missing"
    return "found"


__all__ = [
    "BACKBONES",
    "BackboneSpec",
    "Preprocessing",
    "Taps",
    "build_network",
    "canonical",
    "choose_precision",
    "choose_preset",
    "describe_all",
    "feature_fields",
    "preprocessing_of",
    "resolve",
]
