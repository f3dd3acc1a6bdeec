"""Frozen networks by name, with their weights, taps and preprocessing."""

from featcache.backbones.base import BackboneSpec
from featcache.backbones.preprocess import Preprocessing, choose_preset
from featcache.registry import Registry

BACKBONES: Registry[BackboneSpec] = Registry("backbone", "featcache.backbones", BackboneSpec)
"""All backbones: the entry points of the group ``featcache.backbones``, ours and others'."""

__all__ = ["BACKBONES", "BackboneSpec", "Preprocessing", "choose_preset"]
