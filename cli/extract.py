"""``featcache extract``: fill the store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.files import printable

if TYPE_CHECKING:
    from featcache.extract import ExtractSummary
    from featcache.settings import Settings

Backbones = Annotated[
    list[str] | None,
    typer.Option("--backbone", metavar="A[,B...]", help="Backbones; see 'featcache backbones ls'."),
]
SHOWN_REJECTS = 10


def extract(
    roots: opt.Roots = None,
    backbone: Backbones = None,
    data: opt.Data = None,
    cache: opt.Cache = None,
    preset: opt.Preset = None,
    precision: opt.Precision = None,
    view: Annotated[
        list[str] | None,
        typer.Option("--view", metavar="A[,B...]", help="Views of each image. [default: clean]"),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps. [default: auto]")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Images per forward pass. [default: 32]")
    ] = None,
    workers: opt.Workers = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="i/n", help="Do the i-th of n parts: for job arrays."),
    ] = None,
    source_pattern: opt.SourcePattern = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first image that cannot be used.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Scan, say what would be done, and run nothing.")
    ] = False,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> int:
    """Run backbones over images and keep the features; what is there is not done again."""
    from featcache.settings import load_settings, split_all

    out.start(verbose, quiet)
    settings = load_settings(
        cache=cache,
        data=[*(data or ()), *(roots or ())],
        backbone=split_all(backbone),
        preset=preset,
        precision=precision,
        view=split_all(view),
        device=device,
        batch_size=batch_size,
        workers=workers,
        source_pattern=source_pattern,
    )
    return _run(settings, shard or "1/1", strict, dry_run, json)


def _run(settings: Settings, shard: str, strict: bool, dry_run: bool, json: bool) -> int:
    """Extract what the settings name, or forecast it, and print."""
    from featcache.backbones import resolve
    from featcache.cache import FeatureStore
    from featcache.cli._data import scan_roots
    from featcache.cli._errors import REJECTS
    from featcache.datasets import merge
    from featcache.errors import SettingsError
    from featcache.extract import ExtractOptions, forecast, parse_part, write_rejects
    from featcache.extract import extract as run

    if not settings.backbone:
        raise SettingsError("No backbone was named. Say which: featcache extract --backbone NAME")
    part = parse_part(shard)
    specs = [resolve(name) for name in settings.backbone]
    store = FeatureStore(settings.cache)
    manifest = merge(scan.manifest for scan in scan_roots(settings))
    names = ("preset", "precision", "device", "batch_size", "shard_rows", "workers")
    chosen: dict[str, Any] = {name: getattr(settings, name) for name in names}
    options = ExtractOptions(strict=strict, part=part, views=tuple(settings.view), **chosen)
    if dry_run:
        _show_forecast(forecast(manifest, specs, store, options), json)
        return 0
    summaries = run(manifest, specs, store, options)
    _show(summaries, write_rejects(settings.cache, summaries), json)
    return REJECTS if any(summary.rejects for summary in summaries) else 0


def _show_forecast(plans: list[dict[str, Any]], json: bool) -> None:
    if json:
        out.print_json({"dry_run": True, "backbones": plans})
        return
    for plan in plans:
        out.print_rich(
            f"{_title(plan['backbone'], plan['view'])}: {plan['n_samples']:,} images, {plan['n_cached']:,} in the store, "
            f"{plan['n_missing']:,} forward passes to do in {plan['n_shards']:,} shards, "
            f"about {plan['n_bytes'] / 1e6:,.1f} MB"
        )


def _show(summaries: list[ExtractSummary], rejects_file: Path, json: bool) -> None:
    if json:
        out.print_json(
            {
                "backbones": [_summary(summary) for summary in summaries],
                "rejects": [asdict(reject) for summary in summaries for reject in summary.rejects],
            }
        )
        return
    for summary in summaries:
        out.print_rich(_sentence(summary))
        for reject in summary.rejects[:SHOWN_REJECTS]:
            out.say(printable(f"  rejected {reject.path}: {reject.reason}"))
        if summary.rejects:
            out.say(f"{len(summary.rejects):,} files gave no feature; all of them: {rejects_file}")


def _summary(summary: ExtractSummary) -> dict[str, Any]:
    values = {
        name: value for name, value in vars(summary).items() if name not in ("key", "rejects")
    }
    return {
        **values,
        "key": summary.key.fingerprint,
        "n_rejected": len(summary.rejects),
        "images_per_s": summary.n_forwarded / summary.seconds if summary.n_forwarded else 0.0,
    }


def _title(backbone: str, view: str) -> str:
    return backbone if view == "clean" else f"{backbone} {view}"


def _sentence(summary: ExtractSummary) -> str:
    cached = f"{summary.n_cached:,} of {summary.n_samples:,} images were in the store"
    title = _title(summary.backbone, summary.view)
    if not summary.n_forwarded:
        return f"{title}: {cached}; no forward pass"
    rate = summary.n_forwarded / summary.seconds
    padded = (
        f"; {summary.n_padded:,} small images were padded with black" if summary.n_padded else ""
    )
    return (
        f"{title}: {cached}; {summary.n_forwarded:,} forward passes in "
        f"{summary.seconds:.1f} s ({rate:.1f} images/s, {summary.device}, {summary.precision}){padded}"
    )
