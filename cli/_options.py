"""The flags that commands share, each described once; groups of them; and the order of the help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from featcache.cli import _output as out

PANELS: dict[str, tuple[str, ...]] = {
    "Which images": (
        *("--protocol", "--classes", "--generators", "--categories", "--groups"),
        *("--max-per-class", "--layout", "--column", "--label", "--source-pattern"),
        "--strict",
    ),
    "Which features": (
        *("--preset", "--precision", "--weights", "--random-init", "--intersection", "--dtype"),
        *("--train-view", "--test-view"),
    ),
    "Details of the head": ("--sort", "--scaling", "--k", "--fusion", "--prior", "--seed"),
    "Machine and cluster": (
        *("--device", "--batch-size", "--workers", "--memory", "--engine", "--address"),
        *("--processes", "--compile", "--shard"),
    ),
    "Output": (
        *("--scores", "--csv", "--latex", "--results"),
        *("--name", "--log-json", "--watch", "--json", "--verbose", "--quiet", "--help"),
    ),
}
"""Headings of the help, and the flags below each; all other flags come first, without a heading."""


class PanelCommand(TyperCommand):
    """A command whose help begins with its most used flags; the rest stands below headings."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and flags, panel by panel."""
        of_flag = {flag: panel for panel, flags in PANELS.items() for flag in flags}
        records: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Options", *PANELS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panels = [of_flag[flag] for flag in parameter.opts if flag in of_flag]
                records[panels[0] if panels else "Options"].append(record)
        for name, rows in records.items():
            if rows:
                with formatter.section(name):
                    formatter.write_dl(rows)


Cache = Annotated[
    Path | None, typer.Option("--cache", metavar="DIR", help="The store. [default: features/]")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; messages go to stderr.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]
Data = Annotated[
    list[Path] | None,
    typer.Option("--data", metavar="ROOT", help="Root of an image tree; may be repeated."),
]
Roots = Annotated[list[Path] | None, typer.Argument(metavar="ROOT", help="The same as --data.")]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="univfd|native|resize",
        help="Preprocessing. [default: the backbone's]",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="fp32|bf16|fp16|auto",
        help="Of the forward pass; auto is bf16 for transformers where native. [default: fp32]",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="float32|float16",
        help="Type of the stored features: float16 takes half the disk. [default: float32]",
    ),
]
KeptDtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="float32|float16",
        help="Features of this type, where the store has both.",
    ),
]
SourcePattern = Annotated[
    str | None,
    typer.Option(
        "--source-pattern",
        metavar="REGEX",
        help=(
            "Its first group, searched in the path below ROOT, names the photograph a file comes"
            " from."
        ),
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        help="Workers that decode and, on a CPU, compute. [default: cores]",
    ),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        metavar="[NAME=]FILE",
        help=(
            "Weights file, before all other places; may be repeated. See 'featcache backbones"
            " show'."
        ),
    ),
]
KeptWeights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        metavar="[NAME=]FILE",
        help="Features of these weights, where the store has several kinds; may be repeated.",
    ),
]
RandomInit = Annotated[
    int | None,
    typer.Option(
        "--random-init",
        metavar="SEED",
        min=0,
        help="Random weights, for tests: the features are called NAME#randomSEED.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="Of a Ray cluster. [default: start one on this machine]",
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes", metavar="N", help="Workers of Ray. [default: one per GPU, or the cores]"
    ),
]
Layout = Annotated[
    str | None,
    typer.Option(
        "--layout", metavar="NAME", help="How the tree is read; 'datasets layouts' lists them."
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="FIELD=NAME",
        help=(
            "Column of a list that holds a field: label, generator, split, source, path, image or "
            "category. May be repeated."
        ),
    ),
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="VALUE=real|fake|skip",
        help="What a value of the label column, or a class folder, means. May be repeated.",
    ),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="NAME",
        help="Who trains, who is tested: univfd, dfwf, genimage, 4class.",
    ),
]
Generators = Annotated[
    list[str] | None,
    typer.Option("--generators", metavar="GEN[,...]", help="Take only these generators."),
]
Categories = Annotated[
    list[str] | None,
    typer.Option("--categories", metavar="NAME[,...]", help="Take only these categories."),
]
Groups = Annotated[
    list[str] | None,
    typer.Option("--groups", metavar="GROUP[,...]", help="Take only these families of generators."),
]
MaxPerClass = Annotated[
    int | None,
    typer.Option(
        "--max-per-class",
        metavar="N",
        help="Images of each generator, split and label at the most, chosen by content.",
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        "--classes",
        metavar="N",
        help="Train on the first N object categories (published: 1, 2, 4, 8, 16, 20).",
    ),
]


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How a command talks."""

    json: Json = False
    verbose: Verbose = False
    quiet: Quiet = False

    def start(self) -> None:
        """Set how much is said."""
        out.start_logging(self.verbose, self.quiet)


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """Which images, which store, and which kind of features."""

    data: Data = None
    cache: Cache = None
    preset: Preset = None
    precision: Precision = None

    def settings(self, roots: Sequence[Path] | None = None) -> dict[str, Any]:
        """Return the flags as :func:`load_settings` takes them; ``roots`` are named beside
        ``--data``.
        """
        return {**vars(self), "data": [*(self.data or ()), *(roots or ())]}


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """Which of the images are taken."""

    protocol: Protocol = None
    classes: Classes = None
    generators: Generators = None
    categories: Categories = None
    groups: Groups = None
    max_per_class: MaxPerClass = None

    def settings(self) -> dict[str, Any]:
        """Return the flags as :func:`load_settings` takes them."""
        from featcache.settings import split_all

        return {
            "generators": split_all(self.generators),
            "categories": split_all(self.categories),
            "only_groups": split_all(self.groups),
            "max_per_class": self.max_per_class,
            "protocol": self.protocol,
            "classes": self.classes,
        }
