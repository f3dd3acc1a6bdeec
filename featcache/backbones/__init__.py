"""Frozen networks by name, with their weights, taps and preprocessing."""

from featcache.backbones.base import BackboneSpec, Taps, choose_precision, precision_of
from featcache.backbones.describe import check_weights, describe, describe_all
from featcache.backbones.names import canonical_name
from featcache.backbones.preprocess import Preprocessing, choose_preset
from featcache.backbones.resolve import (
    BACKBONES,
    build_network,
    default_preset,
    feature_fields,
    load_backbone,
    preprocessing_of,
    register_backbone,
    require_weights,
    resolve,
    resolve_all,
)
from featcache.backbones.weights import parse_weights

__all__ = [
    "BACKBONES",
    "BackboneSpec",
    "Preprocessing",
    "Taps",
    "build_network",
    "canonical_name",
    "check_weights",
    "choose_precision",
    "choose_preset",
    "default_preset",
    "describe",
    "describe_all",
    "feature_fields",
    "load_backbone",
    "parse_weights",
    "precision_of",
    "preprocessing_of",
    "register_backbone",
    "require_weights",
    "resolve",
    "resolve_all",
]
