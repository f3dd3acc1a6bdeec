"""Flags and settings that ``probe`` and ``ablate`` share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.errors import SettingsError

if TYPE_CHECKING:
    from featcache.evaluate import ProbeOptions
    from featcache.settings import Settings

Train = Annotated[
    list[str] | None,
    typer.Option("--train", metavar="GEN[,...]", help="Generators to train on. [default: all]"),
]
C = Annotated[
    str | None,
    typer.Option(
        "--C",
        metavar="X|grid|X,Y,...",
        help="Inverse strength of the penalty; several are chosen from on validation data. [default: 1.0]",
    ),
]
Head = Annotated[
    str,
    typer.Option("--head", help="logistic, knn, ridge, lda, prototype, univfd-sgd or oneclass."),
]
Scaling = Annotated[
    str, typer.Option("--scaling", help="standardise, none, block-rms or l2 (logistic head).")
]
Fusion = Annotated[
    str, typer.Option("--fusion", help="concat, mean-logit or stacking of several features.")
]
TrainView = Annotated[
    list[str] | None,
    typer.Option("--train-view", metavar="V[,...]", help="Views to train on. [default: clean]"),
]
Memory = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help="Stream features that need more, e.g. 2G."),
]
Intersection = Annotated[
    bool, typer.Option("--intersection", help="Leave out samples that lack one of the features.")
]


def options(
    settings: Settings,
    *,
    C: str | None,
    head: str,
    scaling: str,
    fusion: str,
    train_views: list[str],
    memory: str | None,
    intersection: bool,
    wanted: Mapping[str, str | None],
    test_views: list[str] | None = None,
    k: int = 1,
) -> ProbeOptions:
    """Return the options of a probe from flags and settings."""
    from featcache.evaluate import ProbeOptions

    values = parse_C(C) if C is not None else [settings.C]
    return ProbeOptions(
        features=settings.features or settings.backbone,
        train=settings.train,
        C=values[0],
        grid=values if len(values) > 1 else [],
        head=head,
        scaling=scaling,
        fusion=fusion,
        train_views=train_views or ["clean"],
        test_views=test_views or ["clean"],
        intersection=intersection,
        memory=parse_size(memory),
        wanted=wanted,
        k=k,
    )


def parse_C(text: str) -> list[float]:
    """Return the values that ``--C`` means: one, several, or the grid."""
    from featcache.evaluate import GRID

    if text == "grid":
        return list(GRID)
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise SettingsError(
            f"C = {text!r} is not a number, several with commas, or 'grid'."
        ) from error
    if not all(0 < value < float("inf") for value in values):
        raise SettingsError(f"C = {text} is not allowed: it must be positive.")
    return values


def parse_size(text: str | None) -> int | None:
    """Return a size in bytes: ``"500M"``, ``"2G"`` or a number of bytes."""
    if text is None:
        return None
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = (text[:-1], units[text[-1].upper()]) if text[-1:].upper() in units else (text, 1)
    try:
        size = int(float(number) * unit)
    except ValueError as error:
        raise SettingsError(f"memory = {text!r} is not a size such as 500M or 2G.") from error
    if size <= 0:
        raise SettingsError(f"memory = {text!r} is not allowed: it must be positive.")
    return size
