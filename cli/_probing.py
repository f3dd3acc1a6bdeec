"""Flags and settings that the commands of the probing engine share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.errors import SettingsError

if TYPE_CHECKING:
    from featcache.evaluate import ProbeForecast, ProbeOptions
    from featcache.evaluate.results_store import Result
    from featcache.settings import Settings

Features = Annotated[
    list[str] | None,
    typer.Option(
        "--features", "--model", metavar="A[,B...]", help="Features, joined side by side."
    ),
]
Fusion = Annotated[
    str,
    typer.Option(
        "--fusion", metavar="concat|mean-logit|stacking", help="How several features are joined."
    ),
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="F.csv", help="Write the table.")]

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say rows, heads, memory and about how long; fit nothing."),
]


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """What is fitted, and on what."""

    names: Annotated[
        list[str] | None, typer.Argument(metavar="FEATURES", help="The same as --features.")
    ] = None
    train: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="GEN[,...]", help="Generators to train on. [default: all]"),
    ] = None
    test: Annotated[
        list[str] | None,
        typer.Option("--test", metavar="GEN[,...]", help="Generators to test on. [default: all]"),
    ] = None
    C: Annotated[
        str | None,
        typer.Option(
            "--C",
            metavar="X|grid|X,Y,...",
            help="Inverse strength of the penalty; several are chosen from on validation data. "
            "[default: 1.0]",
        ),
    ] = None
    head: Annotated[
        str,
        typer.Option(
            "--head",
            metavar="NAME|FILE",
            help=(
                "logistic, knn, ridge, lda, prototype, univfd-sgd or oneclass, with parameters as "
                "in knn:k=5; or a saved head, FILE.safetensors (probe)."
            ),
        ),
    ] = "logistic"
    k: Annotated[
        int, typer.Option("--k", metavar="N", min=1, help="Neighbours of the head knn.")
    ] = 1
    scaling: Annotated[
        str,
        typer.Option(
            "--scaling",
            metavar="standardise|none|block-rms|l2",
            help="Of the features, for the logistic head.",
        ),
    ] = "standardise"
    train_view: Annotated[
        list[str] | None,
        typer.Option("--train-view", metavar="V[,...]", help="Views to train on. [default: clean]"),
    ] = None
    test_view: Annotated[
        list[str] | None,
        typer.Option("--test-view", metavar="V[,...]", help="Views to test on. [default: clean]"),
    ] = None
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Of folds and resampling.")
    ] = 0


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Where features are read from, which of them, and where results are kept."""

    memory: Annotated[
        str | None,
        typer.Option(
            "--memory",
            metavar="SIZE",
            help="Stream features that need more, e.g. 2G. [default: what is free]",
        ),
    ] = None
    engine: Annotated[
        str,  # a flag only: the engine of the settings is meant for extract
        typer.Option(
            "--engine",
            metavar="local|ray",
            help="Ray is for training sets larger than a machine.",
        ),
    ] = "local"
    address: opt.Address = None
    processes: opt.Processes = None
    data: opt.Data = None
    cache: opt.Cache = None
    preset: opt.Preset = None
    precision: opt.Precision = None
    dtype: opt.KeptDtype = None
    weights: opt.KeptWeights = None
    intersection: Annotated[
        bool,
        typer.Option("--intersection", help="Leave out samples that lack one of the features."),
    ] = False
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Name the result, for 'compare' and 'report'."),
    ] = None
    results: Annotated[
        Path | None,
        typer.Option(
            "--results", metavar="DIR", help="Keep results below DIR. [default: the store]"
        ),
    ] = None


def load(
    features: list[str] | None, heads: HeadOptions, samples: opt.SampleOptions, reading: ReadOptions
) -> Settings:
    """Return the settings that hold with these flags."""
    from featcache.evaluate.results_store import check_result_name
    from featcache.settings import load_settings, split_all

    if reading.name:
        check_result_name(reading.name)

    return load_settings(
        cache=reading.cache,
        data=reading.data,
        features=split_all([*(features or ()), *(heads.names or ())]),
        train=split_all(heads.train),
        address=reading.address,
        processes=reading.processes,
        tested=split_all(heads.test),
        **samples.settings(),
    )


def options(
    settings: Settings, heads: HeadOptions, reading: ReadOptions, **more: Any
) -> ProbeOptions:
    """Return the options of a probe from flags and settings; ``more`` are those of one command."""
    from featcache.evaluate import ProbeOptions
    from featcache.settings import split_names

    flags: dict[str, Any] = {  # the options parse them
        "C": settings.C if heads.C is None else heads.C,
        "train_views": heads.train_view,
        "test_views": heads.test_view,
        "memory": reading.memory,
        "weights": reading.weights or {},
    }
    named = [heads.head] if ":" in heads.head else split_names(heads.head)
    if heads.C is not None and not any(map(_uses_c, named)):
        out.print_message(f"--C is ignored: the head {heads.head} has no C.")
    return ProbeOptions(
        features=settings.features or settings.backbone,
        train=settings.train,
        head=heads.head,
        scaling=heads.scaling,
        intersection=reading.intersection,
        engine=reading.engine,
        address=settings.address,
        processes=settings.processes,
        wanted={
            "preset": reading.preset,
            "precision": reading.precision,
            "dtype": reading.dtype,
        },
        k=heads.k,
        seed=heads.seed,
        **flags,
        **more,
    )


def _uses_c(head: str) -> bool:
    from featcache.probes.base import head_kind

    if head.endswith(".safetensors"):
        return False
    kind = head_kind(head)
    return kind is None or "C" in kind.takes


def save_if_possible(
    settings: Settings, reading: ReadOptions, result: Result, *beside: Any
) -> Path | None:
    """Save a result and say where; where that cannot be, say so in one line and go on."""
    from featcache.errors import StoreError
    from featcache.evaluate import save_result
    from featcache.evaluate.results_store import name_result

    place = reading.results or settings.cache
    try:
        folder = save_result(place, result, *beside)
        if reading.name:
            name_result(place, reading.name, folder.name)
    except StoreError as error:
        out.warn(f"The result is not kept: {error} Another place: --results DIR.")
        return None
    out.print_message(f"Result: {folder}")
    return folder


def parse_sizes(text: str) -> list[int]:
    """Return the numbers of training samples that ``--sizes`` names, or the usual ones."""
    from featcache.evaluate.learning_curve import SIZES

    try:
        return [int(part) for part in text.split(",") if part.strip()] or list(SIZES)
    except ValueError as error:
        raise SettingsError(f"sizes = {text!r} are no whole numbers with commas.") from error


def show_forecast(forecasts: Sequence[ProbeForecast], json: bool) -> None:
    """Print what each solve would cost."""
    if json:
        out.print_json({"dry_run": True, "solves": [plan.to_dict() for plan in forecasts]})
        return
    for plan in forecasts:
        title = " + ".join(plan.features) + (
            f", trained on {', '.join(plan.train)}" if plan.train else ""
        )
        out.print_rich(
            f"{title}: {plan.n_heads:,} {plan.head} {'head' if plan.n_heads == 1 else 'heads'} on"
            f" {plan.n_train:,} rows of {plan.n_columns:,} columns; {plan.n_val:,} to validate,"
            f" {plan.n_test:,} to score for {plan.n_generators:,} generators"
        )
        fits = "are read again for every pass" if plan.streamed else "stay in memory"
        out.print_rich(
            f"The fit takes {plan.memory / 1e9:.3g} GB of {plan.available / 1e9:.3g} GB, of which"
            f" training and test features are {plan.n_bytes / 1e9:.3g} GB: they {fits}"
        )
    seconds = sum(plan.seconds for plan in forecasts)
    if isfinite(seconds):
        duration = timedelta(seconds=max(round(seconds), 1))
        out.print_rich(f"About {duration} (h:mm:ss) to read and fit, by a few of the rows.")
