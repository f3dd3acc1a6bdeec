"""``featcache finetune``: train the last blocks or a LoRA, and compare with the frozen backbone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli._data import grouped

if TYPE_CHECKING:
    from featcache.finetune import FinetuneOptions, FinetuneResult, Forecast
    from featcache.settings import Settings

SETTINGS = ("train", "preset", "precision", "device", "workers", "shard_rows")
"""Settings that go into the options under their own names."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained, and how."""

    blocks: Annotated[
        int | None,
        typer.Option(
            "--blocks",
            metavar="K",
            help="Train the last K blocks; 0: the head alone. [default: 1, with --lora all]",
        ),
    ] = None
    lora: Annotated[
        int | None,
        typer.Option("--lora", metavar="RANK", help="A LoRA of this rank in these blocks instead."),
    ] = None
    epochs: Annotated[int, typer.Option("--epochs", help="At most so many.")] = 2
    patience: Annotated[
        int, typer.Option("--patience", help="Stop after so many epochs without a better one.")
    ] = 2
    lr: Annotated[
        float | None,
        typer.Option("--lr", help="Peak learning rate. [default: 1e-5, with --lora 2e-4]"),
    ] = None
    augment: Annotated[str, typer.Option("--augment", help="univfd-train or clean.")] = (
        "univfd-train"
    )
    start: Annotated[
        str, typer.Option("--start", help="The head starts at the frozen probe, or at zero.")
    ] = "probe"
    val_fraction: Annotated[
        float, typer.Option("--val-fraction", help="Share of photographs that chooses the epoch.")
    ] = 0.1
    seed: Annotated[int, typer.Option("--seed", help="Of split, order and augmentation.")] = 0
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images per step.")] = 32


@grouped
def finetune(
    *,
    roots: opt.Roots = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", metavar="NAME", help="The backbone to train.")
    ] = None,
    train: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="GEN[,...]", help="Generators to train on. [default: all]"),
    ] = None,
    recipe: Recipe,
    C: Annotated[
        float | None, typer.Option("--C", help="Of the frozen probe. [default: 1.0]")
    ] = None,
    weights: opt.Weights = None,
    file: Annotated[
        Path | None,
        typer.Option("--out", metavar="F.safetensors", help="[default: NAME-ft.safetensors]"),
    ] = None,
    place: opt.StoreOptions,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="auto|cpu|cuda|cuda:1|mps", help="[default: auto]"),
    ] = None,
    workers: opt.Workers = None,
    layout: opt.Layout = None,
    source_pattern: opt.SourcePattern = None,
    samples: opt.SampleOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the steps, time one, and train nothing.")
    ] = False,
    output: opt.OutputOptions,
) -> None:
    """Train a backbone's last blocks, or a LoRA, with a head; compare it with the frozen
    backbone.
    """
    from featcache.backbones.weights import parse_weights
    from featcache.finetune import FinetuneOptions
    from featcache.settings import load_settings, split_all

    output.start()
    settings = load_settings(
        **place.settings(roots),
        **samples.settings(),
        layout=layout,
        backbone=split_all([backbone] if backbone else None),
        train=split_all(train),
        device=device,
        workers=workers,
        source_pattern=source_pattern,
        C=C,
    )
    name = _one(settings.backbone)
    options = FinetuneOptions(
        backbone=name,
        weights=parse_weights(weights or (), [name]),
        C=1.0 if isinstance(settings.C, str) else settings.C,  # it chooses an epoch, not C
        **vars(recipe),
        **{setting: getattr(settings, setting) for setting in SETTINGS},
    )
    _run(settings, options, file, dry_run, output.json)


def _run(
    settings: Settings, options: FinetuneOptions, file: Path | None, dry_run: bool, json: bool
) -> None:
    """Fine-tune, or forecast it, and print."""
    from featcache.cache import FeatureStore
    from featcache.cli._data import scan_selection
    from featcache.finetune import finetune as run
    from featcache.finetune import forecast_finetune

    manifest = scan_selection(settings, dry_run=dry_run)
    if dry_run:
        _show_forecast(forecast_finetune(manifest, options), json)
        return
    name = options.backbone.replace("/", "_").replace(":", "_")
    target = file or Path(f"{name}-ft.safetensors")
    result = run(manifest, FeatureStore(settings.cache), options, target)
    if json:
        out.print_json(result.to_dict())
    else:
        _show(result)


def _show_forecast(plan: Forecast, json: bool) -> None:
    from featcache.finetune.result import format_forecast

    if json:
        out.print_json({"dry_run": True, **plan.to_dict()})
    else:
        out.print_rich(*format_forecast(plan))


def _show(result: FinetuneResult) -> None:
    from featcache.finetune.result import COLUMNS, format_summary, table_rows

    out.print_table(COLUMNS, table_rows(result), right=COLUMNS[1:])
    out.print_rich("", *format_summary(result))


def _one(backbones: list[str]) -> str:
    from featcache.errors import SettingsError

    if len(backbones) == 1:
        return backbones[0]
    said = f"not {', '.join(backbones)}" if backbones else "and none was named"
    raise SettingsError(f"One backbone is trained at a time, {said}. Say --backbone NAME.")
