"""The grammar of feature names, ``NAME[@TAP][#randomSEED|#foreign]``, and their one canonical
spelling; no torch.

A feature's canonical name stands in its key, so ``clip`` and ``clip-vit-b16`` find the same
features.

============================  =====================================================================
``clip``                      the final feature of ``clip-vit-b16``
``clip@pre``                  before CLIP's projection
``clip@layer11``              the class token after the 11th block (0: what enters the first)
``clip@layer11:mean``         the mean of the patch tokens there; ``:cls+mean`` both, side by side
``timm:resnet50@layer3``      the mean over the map after the third stage
``clip#random7``              the same network with random weights drawn with seed 7, for tests
``open_clip:ARCH/TAG``        any model of open_clip; ``timm:NAME`` any of timm
``timm:local-dir:FOLDER``     a folder that timm wrote; ``hf-hub:OWNER/NAME`` a repository; the same
                              after ``open_clip:``; ``hf://OWNER/NAME`` a repository of either
``NAME#foreign``              features that another program made (``cache import-features``)
============================  =====================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from featcache.errors import SettingsError

ALIASES = {
    "clip": "clip-vit-b16",
    "synclr": "synclr-vit-b16",
    "stablerep": "stablerep-vit-b16",
    "dinov2": "dinov2-vit-b14",
    "dinov3": "dinov3-vit-b16",
    "dinov3-vit-h+16": "dinov3-vit-hplus16",
}
"""Short names and what they stand for."""

FINAL = "final"
FOREIGN = "#foreign"
"""End of the names of features that another program computed."""
POOLINGS = ("cls", "mean", "cls+mean")
TAP_FORMS = "final, pre, layerN (N from 0), each also with :mean or :cls+mean"

_NAME = re.compile(
    r"(?P<base>[^@#]+)(?:@(?P<tap>[^@#]+))?(?:#random(?P<seed>\d+)|(?P<foreign>#foreign))?"
)
_TAP = re.compile(r"(?P<place>final|pre|layer(?P<layer>\d+))(?::(?P<pooling>[a-z+]+))?")


@dataclass(frozen=True)
class Tap:
    """Where in a network the feature is taken.

    Parameters
    ----------
    place : {"final", "pre", "layer"}
        After everything; before the projection; after a block.
    layer : int
        Number of blocks before it, for ``"layer"``.
    pooling : {"cls", "mean", "cls+mean"}
        Which tokens.
    """

    place: str = FINAL
    layer: int = 0
    pooling: str = "cls"

    def __str__(self) -> str:
        place = f"layer{self.layer}" if self.place == "layer" else self.place
        return place if self.pooling == "cls" else f"{place}:{self.pooling}"


@dataclass(frozen=True)
class FeatureName:
    """A feature name taken apart.

    Parameters
    ----------
    base : str
        The backbone, its alias resolved.
    tap : Tap
    seed : int or None
        Seed of random weights; None for real ones.
    foreign : bool
        Whether another program made the features.
    """

    base: str
    tap: Tap = Tap()
    seed: int | None = None
    foreign: bool = False

    def __str__(self) -> str:
        tap = "" if str(self.tap) == FINAL else f"@{self.tap}"
        end = FOREIGN if self.foreign else ""
        return self.base + tap + ("" if self.seed is None else f"#random{self.seed}") + end


def parse_name(text: str) -> FeatureName:
    """Take a feature name apart; whether such a backbone exists is not asked.

    Parameters
    ----------
    text : str
        Text to read.

    Returns
    -------
    FeatureName

    Raises
    ------
    SettingsError
        If the text is no feature name: says the forms.

    Examples
    --------
    >>> parse_name("clip@layer11:mean").tap
    Tap(place='layer', layer=11, pooling='mean')
    """
    match = _NAME.fullmatch(text.strip())
    if match is None:
        raise SettingsError(
            f"{text!r} is no feature name. The form is NAME, NAME@TAP or NAME#randomSEED, "
            "for instance clip@layer11."
        )
    tap = parse_tap(match["tap"]) if match["tap"] else Tap()
    seed = int(match["seed"]) if match["seed"] else None
    foreign = bool(match["foreign"])
    base = match["base"] if foreign else ALIASES.get(match["base"], match["base"])
    return FeatureName(base, tap, seed, foreign)


def parse_tap(text: str) -> Tap:
    """Return the tap that ``text`` means.

    Parameters
    ----------
    text : str
        Text to read.

    Returns
    -------
    Tap
        The tap that ``text`` means.

    Raises
    ------
    SettingsError
        If there is no such tap: says the forms.
    """
    match = _TAP.fullmatch(text)
    if match is None or (match["pooling"] or "cls") not in POOLINGS:
        raise SettingsError(f"There is no tap {text!r}. Taps: {TAP_FORMS}.")
    place = "layer" if match["layer"] else match["place"]
    return Tap(place, int(match["layer"] or 0), match["pooling"] or "cls")


def canonical_name(name: str) -> str:
    """Return the one spelling of a feature name, which its key has.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Returns
    -------
    str
        The one spelling of a feature name, which its key has.

    Raises
    ------
    SettingsError
        If the text is no feature name.

    Examples
    --------
    >>> canonical_name("clip@layer11:cls")
    'clip-vit-b16@layer11'
    >>> canonical_name("synclr@final")
    'synclr-vit-b16'
    """
    return str(parse_name(name))


def is_foreign(name: str) -> bool:
    """Say whether a feature name is one of features that another program computed.

    Parameters
    ----------
    name : str
        Name of the feature, as its key has it.

    Returns
    -------
    bool
    """
    return name.endswith(FOREIGN)
