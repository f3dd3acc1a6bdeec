"""What a backbone is: a frozen network with its weights, tap and preprocessing, known before it is
loaded.

A backbone at another tap: its width and what the key says of it.

Which numeric precision the forward pass runs in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.backbones.names import Tap
from featcache.backbones.preprocess import Preprocessing
from featcache.errors import SettingsError, unknown_name

if TYPE_CHECKING:
    import torch
    from torch import nn

    from featcache.backbones.hub import WeightsSource


@dataclass(frozen=True)
class Taps:
    """Where features can be taken inside a network.

    Parameters
    ----------
    widths : tuple of int
        Width after 0, 1, 2, ... blocks (of tokens) or after the 1st, 2nd, ... stage (of maps).
    tokens : bool
        Whether it carries a class token and patch tokens, or maps, which are averaged.
    projected : bool
        Whether the final feature is a projection, so that ``@pre`` exists.
    """

    widths: tuple[int, ...]
    tokens: bool = True
    projected: bool = False

    @property
    def first(self) -> int:
        """Number of the first layer that can be tapped."""
        return 0 if self.tokens else 1

    @property
    def last(self) -> int:
        """Number of the last layer that can be tapped."""
        return self.first + len(self.widths) - 1


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A backbone as it is registered; making one imports no torch.

    Parameters
    ----------
    name : str
        What the user types.
    summary : str
        One line for a person.
    architecture : str
        Library and model name (``"timm:tf_efficientnet_lite0"``), with all that shapes the network.
    n_features : int
        Length of the feature vector.
    tap : dict
        Where the feature is taken: layer, token, pooling, projection.
    native : Preprocessing
        What the network was trained for.
    find_weights : callable
        Return the weights file, already checked; raise WeightsError saying where it was looked for.
    build : callable
        From the weights file to a module that maps normalised images (N, 3, size, size), float32,
        to features (N, n_features); in evaluation mode, all weights from the file. A module with a
        method ``forward_taps(images, taps: Sequence[Tap]) -> tuple of Tensor`` gives several
        features in one pass.
    licence, page : str
        Of the weights: under what terms, and where they come from.
    network : str
        Specs of equal network and weights share one forward pass. Default: the name.
    create : callable or None
        Return the module of ``build`` with random weights; None where there is no such thing.
    random_init : int or None
        Seed of random weights instead of a file, for tests.
    taps : Taps or None
        Where features can be taken other than at the end; None: nowhere.
    preset : str
        The preset that ``default`` stands for: ``univfd`` for backbones of UnivFD's comparison.
    crop : int, pixels
        Side of the crop of the preset ``univfd``; 0 stands for the native size. 224 wherever the
        network takes it.
    weights : WeightsSource or None
        Where the weights are published; None where ``find_weights`` alone knows.
    state_id : str
        What names the weights in the key where they are a module in memory and not a file; empty
        otherwise. ``build`` then ignores its argument.
    """

    name: str
    summary: str
    architecture: str
    n_features: int
    tap: dict[str, Any]
    native: Preprocessing
    find_weights: Callable[[], Path]
    build: Callable[[Path], nn.Module]
    licence: str
    page: str
    network: str = ""
    create: Callable[[], nn.Module] | None = None
    random_init: int | None = None
    taps: Taps | None = None
    preset: str = "native"
    crop: int = 0
    weights: WeightsSource | None = None
    state_id: str = ""

    def __post_init__(self) -> None:
        if not self.network:
            object.__setattr__(self, "network", self.name)


def with_tap(spec: BackboneSpec, tap: Tap) -> BackboneSpec:
    """Return ``spec`` with its feature taken at ``tap``.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.
    tap : Tap
        Tap to read.

    Returns
    -------
    BackboneSpec
        ``spec`` with its feature taken at ``tap``.

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
    # What stands in the key; the final feature keeps what the spec says.
    tokens = {"cls": "class", "mean": "patches", "cls+mean": "class+patches"}
    pooling = "mean" if "mean" in tap.pooling else "none"
    return replace(
        spec,
        tap={
            "layer": tap.layer if tap.place == "layer" else "final",
            "token": tokens[tap.pooling] if spec.taps.tokens else "none",
            "pooling": pooling if spec.taps.tokens else "average",
            "projection": "none",
            "norm": "none" if tap.place == "layer" else "applied",
        },
        n_features=width * n_parts,
    )


def _refusal(taps: Taps, tap: Tap) -> str:
    """Return why there is no such tap, empty where there is."""
    if tap.place == "layer" and not taps.first <= tap.layer <= taps.last:
        return f"its layers are {taps.first} to {taps.last}"
    if not taps.tokens and tap.pooling != "cls":
        return "it has maps, which are always averaged; write @layerN"
    if tap.place == "pre" and not taps.projected:
        return "its final feature is no projection"
    if tap.place == "final" and taps.projected:
        return (
            "the projection is for the class token only; write @pre:mean for the patch tokens"
            " before it"
        )
    return ""


PRECISIONS = ("fp32", "bf16", "fp16", "auto")

_CPU_INFO = Path("/proc/cpuinfo")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
"""Instructions that multiply bf16; without them a CPU emulates it, slower than fp32."""


def choose_precision(name: str, device: str | torch.device, *, transformer: bool = True) -> str:
    """Return the precision that ``name`` means on a device; only ``auto`` depends on it.

    Parameters
    ----------
    name : {"fp32", "bf16", "fp16", "auto"}
        ``auto`` is bf16 for transformers where the device computes in it natively, else fp32.
    device : str or torch.device
        ``"auto"`` is the GPU if there is one.
    transformer : bool
        False for networks of convolutions: their features suffer in bf16 (docs/performance.md has
        figures).

    Returns
    -------
    {"fp32", "bf16", "fp16"}
        What stands in the feature key.

    Raises
    ------
    UnknownNameError
        If there is no such precision.
    """
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    if name != "auto":
        return name
    return "bf16" if transformer and _computes_bf16(str(device)) else "fp32"


def precision_of(spec: BackboneSpec, name: str, device: str | torch.device) -> str:
    """Return the precision that ``name`` means for a backbone; see :func:`choose_precision`.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.
    name : str
        Name to look up or to show.
    device : str | torch.device
        Device that computes.

    Returns
    -------
    str
        The precision that ``name`` means for a backbone.
    """
    transformer = spec.taps is not None and spec.taps.tokens
    return choose_precision(name, device, transformer=transformer)


def _computes_bf16(device: str) -> bool:
    if device == "cpu":
        return cpu_computes_bf16()
    import torch

    if device == "auto" and not torch.cuda.is_available():
        return cpu_computes_bf16()
    if device == "auto" or device.startswith("cuda"):
        index = None if device == "auto" else torch.device(device)
        return torch.cuda.is_available() and torch.cuda.get_device_capability(index) >= (8, 0)
    return False


def cpu_computes_bf16(info: Path = _CPU_INFO) -> bool:
    """Say whether this CPU has bf16 matrix instructions, as far as Linux tells.

    Parameters
    ----------
    info : Path
        File that lists the flags of the processor.

    Returns
    -------
    bool
    """
    try:
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(_BF16_FLAGS & set(flags.split()))
