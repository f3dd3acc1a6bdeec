"""From a feature name to a backbone that can be run, and to its part of the feature key.

A backbone as a plain module, for notebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.backbones.base import BackboneSpec, with_tap
from featcache.backbones.hub import remembered_digest
from featcache.backbones.names import ALIASES, canonical_name, parse_name
from featcache.backbones.preprocess import Preprocessing, choose_preset
from featcache.backbones.weights import given, parse_weights
from featcache.errors import SettingsError, unknown_name
from featcache.registry import Registry

if TYPE_CHECKING:
    from torch import nn

BACKBONES: Registry[BackboneSpec] = Registry("backbone", "featcache.backbones", BackboneSpec)
"""All backbones: the entry points of the group ``featcache.backbones``, ours and others'."""


def resolve(
    name: str, *, weights: Mapping[str, Path] | None = None, random_init: int | None = None
) -> BackboneSpec:
    """Return the backbone of a feature name; no torch is imported for the named ones.

    Parameters
    ----------
    name : str
        ``NAME[@TAP][#randomSEED]``, see :mod:`featcache.backbones.names`.
    weights : mapping of str to Path, optional
        Weights files by backbone name, before all other places.
    random_init : int, optional
        Random weights of this seed instead of a file; the name then says so.

    Returns
    -------
    BackboneSpec
        Its ``name`` is canonical.

    Raises
    ------
    UnknownNameError
        If there is no such backbone: says the near ones.
    SettingsError
        If the backbone has no such tap.
    """
    parsed = parse_name(name)
    if parsed.foreign:
        raise SettingsError(
            f"The features {name!r} were made by another program ('featcache cache "
            "import-features'): featcache cannot compute them for other images."
        )
    if random_init is not None:
        parsed = replace(parsed, seed=random_init)
    spec = with_tap(_find(parsed.base), parsed.tap)
    files = {canonical_name(key): path for key, path in (weights or {}).items()}
    return replace(
        spec,
        name=str(parsed),
        network=parsed.base,
        random_init=parsed.seed,
        find_weights=partial(_find_weights, parsed.base, files, spec.find_weights),
    )


def resolve_all(
    names: Sequence[str], weights: Sequence[str] = (), random_init: int | None = None
) -> list[BackboneSpec]:
    """Return the backbones that a command line names.

    Parameters
    ----------
    names : sequence of str
    weights : sequence of str
        ``NAME=FILE``, or ``FILE`` where there is one backbone only.
    random_init : int, optional

    Returns
    -------
    list[BackboneSpec]
        The backbones that a command line names.

    Raises
    ------
    SettingsError
        If none is named, a file is given for none of them, or weights are both given and random.
    """
    if not names:
        raise SettingsError("No backbone was named. Say which: featcache extract --backbone NAME")
    if weights and random_init is not None:
        raise SettingsError("--weights and --random-init exclude each other. Give one of them.")
    files = parse_weights(weights, names)
    return [resolve(name, weights=files, random_init=random_init) for name in names]


def _find(base: str) -> BackboneSpec:
    """Return the registered backbone, or make the one that ``timm:`` or ``open_clip:`` names."""
    if base.startswith("timm:"):
        from featcache.backbones.timm_models import any_timm

        return any_timm(base)
    if base.startswith("open_clip:"):
        from featcache.backbones.openclip_models import any_clip

        return any_clip(base)
    known = BACKBONES.names()
    if base not in known:
        raise unknown_name("backbone", base, [*known, *ALIASES, "timm:NAME", "open_clip:ARCH/TAG"])
    return BACKBONES.get(base)


def _find_weights(base: str, flags: Mapping[str, Path], otherwise: Callable[[], Path]) -> Path:
    named = given(base, flags)
    return named[0] if named else otherwise()


def require_weights(specs: Sequence[BackboneSpec]) -> None:
    """Find the weights of every backbone, or say so before any other work is done.

    Parameters
    ----------
    specs : Sequence[BackboneSpec]
        Specifications of the backbones.

    Raises
    ------
    WeightsError
        For the first whose weights are nowhere.
    """
    for spec in specs:
        if spec.random_init is None:
            spec.find_weights()


def preprocessing_of(spec: BackboneSpec, preset: str) -> Preprocessing:
    """Return the preprocessing that a preset means for a backbone.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.
    preset : str
        Name of the preset.

    Returns
    -------
    Preprocessing
        The preprocessing that a preset means for a backbone.
    """
    return choose_preset(preset, spec.native, spec.crop)


def feature_fields(spec: BackboneSpec, preset: str, precision: str) -> dict[str, Any]:
    """Return the backbone's part of the feature key; ``dtype`` and ``view`` are the extraction's.

    Parameters
    ----------
    spec : BackboneSpec
    preset : str
    precision : {"fp32", "bf16", "fp16"}

    Returns
    -------
    dict
        ``backbone, architecture, weights, tap, preprocessing, precision``.

    Raises
    ------
    WeightsError
        If the weights are missing: features of unknown origin have no key.
    UnknownNameError
        If there is no such preset.
    """
    return {
        "backbone": canonical_name(spec.name),
        "architecture": spec.architecture,
        "weights": weights_id(spec),
        "tap": spec.tap,
        "preprocessing": preprocessing_of(spec, preset).to_key(),
        "precision": precision,
    }


def weights_id(spec: BackboneSpec) -> str:
    """Return what names the weights in a key: the digest of their file, or the seed of random ones.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.

    Returns
    -------
    str
        What names the weights in a key.
    """
    if spec.random_init is not None:
        return f"random:{spec.random_init}"
    return f"blake2b:{remembered_digest(spec.find_weights())}"


def build_network(specs: Sequence[BackboneSpec]) -> nn.Module:
    """Return one module that gives the features of all ``specs`` in one pass.

    Parameters
    ----------
    specs : sequence of BackboneSpec
        Of one network and the same weights, with other taps.

    Returns
    -------
    nn.Module
        In evaluation mode, without gradients. Maps normalised images (N, 3, S, S), float32, to a
        tuple of one tensor (N, n_features) for each spec.

    Raises
    ------
    WeightsError
        If the weights are missing or do not fit.
    """
    from featcache.backbones.modules import FeatureNetwork, load_model

    if len({(spec.network, spec.random_init) for spec in specs}) != 1:
        raise ValueError(f"not one network: {', '.join(spec.name for spec in specs)}")
    taps = [parse_name(spec.name).tap for spec in specs]
    return FeatureNetwork(load_model(specs[0]), taps).eval().requires_grad_(False)


__all__ = ["BACKBONES", "build_network", "feature_fields", "resolve", "weights_id"]


def load_backbone(
    name: str, *, weights: Mapping[str, Path] | None = None, random_init: int | None = None
) -> nn.Module:
    """Return a frozen backbone that maps normalised images to features.

    Parameters
    ----------
    name : str
        Feature name, tap included: ``"clip"``, ``"clip@layer6"``, ``"timm:resnet50.tv_in1k"``.
    weights : mapping of str to Path, optional
        Weights files by backbone name, before all other places.
    random_init : int, optional
        Random weights of this seed instead of a file.

    Returns
    -------
    torch.nn.Module
        From images (N, 3, S, S), float32, with the preset's mean and deviation taken out, to
        features (N, D), float32; in evaluation mode, no gradients.

    Raises
    ------
    UnknownNameError
        If there is no such backbone.
    WeightsError
        If its weights are missing or are not the ones they should be.
    """
    from featcache.backbones.modules import Single

    return Single(build_network([resolve(name, weights=weights, random_init=random_init)]))
