"""``featcache extract``: fill the store."""

from __future__ import annotations

import json as json_module
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli._data import grouped, maps
from featcache.files import printable, store_error

if TYPE_CHECKING:
    from featcache.backbones import BackboneSpec
    from featcache.extract import ExtractSummary
    from featcache.settings import Settings

Backbones = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        "--model",
        metavar="A[,B...]",
        help="Backbones; see 'featcache backbones ls'.",
    ),
]
SHOWN_REJECTS = 10
SETTINGS = (
    "preset",
    "precision",
    "device",
    "dtype",
    "batch_size",
    "shard_rows",
    "workers",
    "engine",
    "address",
    "processes",
)
"""Settings that go into the options under their own names."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """With what the networks are run."""

    device: Annotated[
        str | None,
        typer.Option("--device", metavar="auto|cpu|cuda|cuda:1|mps", help="[default: auto]"),
    ] = None
    dtype: opt.Dtype = None
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", metavar="N", help="Images per forward pass. [default: what fits]"
        ),
    ] = None
    workers: opt.Workers = None
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="local|ray",
            help="Ray is for several GPUs or machines. [default: local]",
        ),
    ] = None
    address: opt.Address = None
    processes: opt.Processes = None


@grouped
def extract(
    *,
    roots: opt.Roots = None,
    backbone: Backbones = None,
    place: opt.StoreOptions,
    view: Annotated[
        list[str] | None,
        typer.Option("--view", metavar="A[,B...]", help="Views of each image. [default: clean]"),
    ] = None,
    running: Running,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Use torch.compile: for long runs on GPUs.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="i/n", help="Do the i-th of n parts: for job arrays."),
    ] = None,
    weights: opt.Weights = None,
    random_init: opt.RandomInit = None,
    layout: opt.Layout = None,
    source_pattern: opt.SourcePattern = None,
    column: opt.Column = None,
    label: opt.Label = None,
    samples: opt.SampleOptions,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first image that cannot be used.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Scan, time a few images, say what it would take.")
    ] = False,
    log_json: Annotated[
        Path | None,
        typer.Option(
            "--log-json", metavar="FILE", help="Append events as JSON lines, for schedulers."
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Extract nothing: show how far all jobs at the store are."),
    ] = False,
    output: opt.OutputOptions,
) -> int:
    """Run backbones over images and keep the features; what is there is not done again."""
    from featcache.backbones import resolve_all
    from featcache.extract.options import parse_part
    from featcache.settings import load_settings, split_all

    output.start()
    settings = load_settings(
        **place.settings(roots),
        **samples.settings(),
        **vars(running),
        layout=layout,
        backbone=split_all(backbone),
        view=split_all(view),
        source_pattern=source_pattern,
        **maps(column, label),
    )
    if watch:
        from featcache.cli.cache import show_status

        show_status(settings.cache, watch=True, json=output.json)
        return 0
    specs = resolve_all(settings.backbone, weights or [], random_init)
    flags: dict[str, Any] = {"strict": strict, "compiled": compiled}
    flags["part"] = parse_part(shard or "1/1")
    return _run(settings, specs, flags, dry_run, output.json, log_json)


def _run(
    settings: Settings,
    specs: list[BackboneSpec],
    flags: dict[str, Any],
    dry_run: bool,
    json: bool,
    log_json: Path | None,
) -> int:
    """Extract what the settings name, or forecast it, and print."""
    from featcache.backbones import preprocessing_of, require_weights
    from featcache.backbones.preprocess import native_difference
    from featcache.cache import FeatureStore
    from featcache.cli._data import scan_selection
    from featcache.cli._output import REJECTS
    from featcache.extract import ExtractOptions, estimate_seconds, forecast, write_rejects
    from featcache.extract import extract as run

    require_weights(specs)
    for spec in {spec.network: spec for spec in specs}.values():
        used = preprocessing_of(spec, settings.preset)
        if difference := native_difference(used, spec.native):
            out.print_message(
                f"{spec.network}: preset {used.preset}, which is not its native input"
                f" ({difference}). --preset native is what it was trained for."
            )
    store = FeatureStore(settings.cache)
    manifest = scan_selection(settings, dry_run=dry_run)
    chosen: dict[str, Any] = {name: getattr(settings, name) for name in SETTINGS}
    options = ExtractOptions(views=tuple(settings.view), **chosen, **flags)
    if dry_run:
        seconds = estimate_seconds(manifest, specs, store, options)
        _show_forecast(forecast(manifest, specs, store, options), seconds, json)
        return 0
    with _event_log(log_json) as on_event:
        summaries = run(manifest, specs, store, options, on_event)
    _show(summaries, write_rejects(settings.cache, summaries), json)
    return REJECTS if any(summary.rejects for summary in summaries) else 0


@contextmanager
def _event_log(path: Path | None) -> Iterator[Callable[[dict[str, Any]], object]]:
    """Yield what writes an event as a line of JSON with the time, the host and the process."""
    if path is None:
        yield lambda event: None
        return
    try:
        file = path.open("a", encoding="ascii")
    except OSError as error:
        raise store_error(error, path) from error
    with file:

        def write(event: dict[str, Any]) -> None:
            about = {"time": time.time(), "host": socket.gethostname(), "pid": os.getpid()}
            file.write(json_module.dumps({**about, **event}) + "\n")
            file.flush()

        yield write


def _show_forecast(plans: list[dict[str, Any]], seconds: float, json: bool) -> None:
    if json:
        out.print_json({"dry_run": True, "backbones": plans, "seconds": seconds})
        return
    for plan in plans:
        out.print_rich(
            f"{_title(plan['backbone'], plan['view'])}: {plan['n_samples']:,} images,"
            f" {plan['n_cached']:,} in the store, {plan['n_passes']:,} forward passes to do in"
            f" {plan['n_shards']:,} shards, about {plan['n_bytes'] / 1e6:,.1f} MB"
        )
    if seconds:
        duration = timedelta(seconds=max(round(seconds), 1))
        out.print_rich(f"About {duration} (h:mm:ss) on this machine, by a few of the images.")


def _show(summaries: list[ExtractSummary], rejects_file: Path, json: bool) -> None:
    run = summaries[0].run
    if json:
        out.print_json(
            {
                "backbones": [_summary(summary) for summary in summaries],
                "run": {
                    **asdict(run),
                    "images_per_s": run.images_per_s,
                    "images_per_s_at_work": run.images_per_s_at_work,
                },
                "rejects": [asdict(reject) for summary in summaries for reject in summary.rejects],
            }
        )
        return
    for summary in summaries:
        out.print_rich(_sentence(summary))
        for reject in summary.rejects[:SHOWN_REJECTS]:
            out.print_message(printable(f"  rejected {reject.path}: {reject.reason}"))
        if summary.rejects:
            out.print_message(
                f"{len(summary.rejects):,} files gave no feature; all of them: {rejects_file}"
            )
    if run.n_images:
        out.print_rich(run.sentence())


def _summary(summary: ExtractSummary) -> dict[str, Any]:
    left_out = ("key", "rejects", "run", "unread")
    values = {name: value for name, value in vars(summary).items() if name not in left_out}
    seconds = summary.seconds
    return {
        **values,
        "key": summary.key.fingerprint,
        "seconds": seconds,
        "device": summary.device,
        "n_rejected": len(summary.rejects),
        "images_per_s": summary.n_forwarded / seconds if seconds else 0.0,
    }


def _title(backbone: str, view: str) -> str:
    return backbone if view == "clean" else f"{backbone} {view}"


def _sentence(summary: ExtractSummary) -> str:
    cached = f"{summary.n_cached:,} of {summary.n_samples:,} images were in the store"
    title = _title(summary.backbone, summary.view)
    if not summary.n_forwarded:
        return f"{title}: {cached}; no forward pass"
    padded = (
        f"; {summary.n_padded:,} small images were padded with black" if summary.n_padded else ""
    )
    return (
        f"{title}: {cached}; {summary.n_forwarded:,} forward passes in {summary.precision}{padded}"
    )
