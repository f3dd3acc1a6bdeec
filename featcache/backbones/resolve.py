"""From a feature name to a backbone that can be run, and to its part of the feature key.

A backbone as a plain module, and any module as a backbone, for notebooks.
"""

from __future__ import annotations

import re
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
from featcache.errors import SettingsError, UnknownNameError, WeightsError, unknown_name
from featcache.registry import Registry

if TYPE_CHECKING:
    from torch import nn

DEFAULT_PRESET = "default"

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
    if base.startswith("hf://"):
        return _on_hub(base.removeprefix("hf://"))
    known = BACKBONES.names()
    if base not in known:
        if meant := _elsewhere(base):
            raise UnknownNameError(f"No backbone is called {base!r}. Did you mean {meant!r}?")
        raise unknown_name(
            "backbone",
            base,
            [*known, *ALIASES, "timm:NAME", "open_clip:ARCH/TAG", "hf://OWNER/NAME"],
        )
    return BACKBONES.get(base)


def _elsewhere(base: str) -> str:
    """Return the spelling of a model's name in a library or on the hub; empty if it has none."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", base):
        return f"hf://{base}"
    if "_" not in base:
        return ""
    import timm

    return f"timm:{base}" if timm.is_model(base.split(".")[0]) else ""


def _on_hub(repository: str) -> BackboneSpec:
    """Return the backbone of a repository that open_clip or timm wrote."""
    from featcache.backbones.openclip_models import any_clip
    from featcache.backbones.timm_models import any_timm

    try:
        return any_clip(f"open_clip:hf-hub:{repository}")
    except WeightsError:  # it has no open_clip_config.json
        return any_timm(f"timm:hf-hub:{repository}")


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
        if spec.random_init is None and not spec.state_id:
            spec.find_weights()


def preprocessing_of(spec: BackboneSpec, preset: str) -> Preprocessing:
    """Return the preprocessing that a preset means for a backbone.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.
    preset : str
        Name of the preset; ``default`` is the spec's own choice.

    Returns
    -------
    Preprocessing
        The preprocessing that a preset means for a backbone.
    """
    name = spec.preset if preset == DEFAULT_PRESET else preset
    return choose_preset(name, spec.native, spec.crop)


def default_preset(name: str) -> str | None:
    """Return the preset that ``default`` stands for, without loading torch.

    Parameters
    ----------
    name : str
        A feature name.

    Returns
    -------
    str or None
        None for features that are no backbone's, which have none.
    """
    base = parse_name(name).base
    if ":" in base:  # models of timm and open_clip
        return "native"
    return BACKBONES.get(base).preset if base in BACKBONES.names() else None


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
    """Return what names the weights in a key: the digest of their file or of the registered module,
    or the seed of random ones.

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
    if spec.state_id:
        return spec.state_id
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


def register_backbone(
    name: str,
    module: nn.Module,
    *,
    preprocessing: Preprocessing | Mapping[str, Any] | str,
    weights_id: str = "",
    summary: str = "registered in this process",
) -> BackboneSpec:
    """Make any module a backbone of this process, for every function and command in it.

    Features are keyed by the digest of the module's state dict: a module that is trained further is
    another backbone and has to be registered again.

    Parameters
    ----------
    name : str
        New name; one that was registered before is replaced. No ``@``, ``#``, ``,``, ``=``.
    module : torch.nn.Module
        Maps normalised images (N, 3, size, size), float32, to features (N, D). It is not changed;
        passes run on a copy in evaluation mode. A model of timm can also be read at its layers
        (``NAME@layer6``).
    preprocessing : Preprocessing, mapping or str
        What the module was trained for: a :class:`~featcache.backbones.Preprocessing`; its fields
        ``size``, ``mean``, ``std`` and, where images are resized, ``resize``, ``interpolation``
        and ``squash``; or the name of a backbone with the same input, such as ``"dinov2"``.
        The default preset of the backbone is this, ``native``.
    weights_id : str
        What tells the module apart beside its state: give it where ``forward`` computes something
        else with the same weights. It becomes part of the key.
    summary : str
        One line for ``backbones ls``.

    Returns
    -------
    BackboneSpec
        As it is registered.

    Raises
    ------
    SettingsError
        If the name is one of an installed backbone, the preprocessing is incomplete, or the module
        gives something else than one row of features for an image.

    Examples
    --------
    >>> import featcache as fc
    >>> fc.register_backbone("mine", model, preprocessing="dinov2")  # doctest: +SKIP
    >>> fc.extract("mydata", ["mine"])  # doctest: +SKIP
    """
    from featcache.backbones.modules import describe_module, state_digest

    if not re.fullmatch(r"[\w.+-]+", name) or name in ALIASES or BACKBONES.is_installed(name):
        raise SettingsError(
            f"{name!r} cannot be the name of a new backbone: it is an installed one's, or holds"
            " other characters than letters, digits and _ . + -. Choose another name."
        )
    native = _native(preprocessing)
    network, taps, width = describe_module(module, native.size)
    digest = state_digest(module)
    kind = type(module)
    spec = BackboneSpec(
        name=name,
        summary=summary,
        architecture=f"module:{kind.__module__}.{kind.__qualname__}",
        n_features=width,
        tap={"layer": "final", "token": "module", "pooling": "module", "projection": "module"},
        native=native,
        find_weights=partial(_no_file, name),
        build=partial(_copy_registered, name, network, digest),
        licence="your own",
        page="registered in this process",
        taps=taps,
        crop=native.size,
        state_id=f"state:{digest}" + (f"+{weights_id}" if weights_id else ""),
    )
    BACKBONES.add(name, spec)
    return spec


def _native(given: Preprocessing | Mapping[str, Any] | str) -> Preprocessing:
    if isinstance(given, str):
        return resolve(given).native
    try:
        if not isinstance(given, Preprocessing):
            given = Preprocessing(
                **{"preset": "native", "resize": None, "interpolation": "bicubic", **given}
            )
        means = [tuple(float(value) for value in row) for row in (given.mean, given.std)]
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"The preprocessing {given!r} is not complete: {error}. Give size, mean, std and, where"
            " images are resized, resize and interpolation."
        ) from error
    if given.size < 1 or any(len(row) != 3 for row in means) or min(means[1]) <= 0:
        raise SettingsError(
            f"The preprocessing {given!r} makes no sense: size is in pixels, mean and std have a"
            " number for each of three channels, and std is positive."
        )
    return replace(given, preset="native", mean=means[0], std=means[1])  # type: ignore[arg-type]


def _no_file(name: str) -> Path:
    raise WeightsError(
        f"{name} is a module of this process and has no weights file. In another process, register"
        " it again: featcache.register_backbone."
    )


def _copy_registered(name: str, module: nn.Module, digest: str, _: Path) -> nn.Module:
    """Return a copy of a registered module, if it still is what was registered."""
    from copy import deepcopy

    from featcache.backbones.modules import state_digest

    if state_digest(getattr(module, "trunk", module)) != digest:
        raise WeightsError(
            f"The module {name} has changed since it was registered, and its features would bear"
            f" the old name. Register it again: featcache.register_backbone({name!r}, …)."
        )
    return deepcopy(module).cpu().float().eval()
