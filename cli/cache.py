"""``featcache cache``: look after the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli import _packs
from featcache.errors import SettingsError, StoreError

if TYPE_CHECKING:
    from featcache.cache.jobs import StoreStatus
    from featcache.cache.store import KeySummary

WATCH_S = 5.0

app = typer.Typer(no_args_is_help=True, help="Look after the store.")
app.command("export")(_packs.export)
app.command("import")(_packs.import_)
app.command("import-features")(_packs.import_features)


@app.command()
def ls(
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """List the features in the store, by key."""
    from featcache.cache import FeatureStore
    from featcache.settings import load_settings

    out.start_logging(verbose, quiet)
    root = load_settings(cache=cache).cache
    store = FeatureStore(root)
    summaries = [store.summary(key) for key in store.list_keys()]
    if json:
        rows = [
            {
                "name": summary.key.name,
                "key": summary.key.fingerprint,
                "fields": dict(summary.key.fields),
                **{name: value for name, value in vars(summary).items() if name != "key"},
            }
            for summary in summaries
        ]
        out.print_json({"cache": str(root), "features": rows})
        return
    if not summaries:
        out.print_message(f"The store {root} has no features.")
        return
    _show_features(summaries)


def _show_features(summaries: Sequence[KeySummary]) -> None:
    columns = ["feature", "made with", "samples", "rejected", "D", "shards", "MB", "key"]
    table = [
        [
            summary.key.name,
            summary.key.settings,
            f"{summary.n_samples:,}",
            f"{summary.n_rejected:,}",
            str(summary.n_features),
            str(summary.n_shards),
            f"{summary.n_bytes / 1e6:,.1f}",
            summary.key.fingerprint[:8],
        ]
        for summary in summaries
    ]
    out.print_table(columns, table, right={"samples", "rejected", "D", "shards", "MB"})


@app.command()
def status(
    cache: opt.Cache = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every few seconds while a job runs.")
    ] = False,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Show what all jobs of extract at the store plan, do and have done, and when they end."""
    from featcache.settings import load_settings

    out.start_logging(verbose, quiet)
    show_status(load_settings(cache=cache).cache, watch=watch, json=json)


def show_status(root: Path, *, watch: bool, json: bool) -> None:
    """Print how far the jobs at a store are; with ``watch`` until none is running."""
    from featcache.cache import FeatureStore
    from featcache.cache.jobs import RUNNING, read_status

    store, rejected = FeatureStore(root), dict[tuple[str, str], int]()
    while True:
        current = read_status(store, rejected)
        if json:
            out.print_json(_status_document(root, current))
        else:
            _show_status(root, current)
        if not watch or not any(job.state == RUNNING for job, *_ in current.jobs):
            return
        time.sleep(WATCH_S)


def _status_document(root: Path, current: StoreStatus) -> dict[str, Any]:
    return {
        "cache": str(root),
        "features": [
            {
                "name": row.key.name,
                "key": row.key.fingerprint,
                "n_planned": row.n_planned,
                "n_done": row.n_done,
                "n_in_work": row.n_in_work,
                "n_rejected": row.n_rejected,
            }
            for row in current.keys
        ],
        "jobs": [
            {
                **vars(job.owner),
                "part": job.part,
                "state": job.state,
                "ended": job.ended,
                "reason": job.reason,
                "n_planned": n_planned,
                "n_done": n_done,
            }
            for job, n_planned, n_done in current.jobs
        ],
        "shards_in_work": [
            {
                "feature": shard.key.name,
                "key": shard.key.fingerprint,
                "shard": shard.name,
                "alive": shard.alive,
                **(vars(shard.owner) if shard.owner else {}),
            }
            for shard in current.in_work
        ],
        "images_per_s": current.images_per_s,
        "seconds_left": current.seconds_left,
    }


def _show_status(root: Path, current: StoreStatus) -> None:
    if not current.jobs:
        out.print_rich(f"No job of extract has a record at the store {root}.")
        return
    columns = ["feature", "made with", "planned", "done", "in work", "left", "rejected"]
    table = [
        [
            row.key.name,
            row.key.settings,
            *(f"{n:,}" for n in (row.n_planned, row.n_done, row.n_in_work)),
            f"{row.n_planned - row.n_done - row.n_in_work:,}",
            f"{row.n_rejected:,}",
        ]
        for row in current.keys
    ]
    out.print_table(columns, table, right=set(columns[2:]))
    jobs = [
        [
            job.state,
            job.part,
            f"{n_done:,} of {n_planned:,}",
            f"{job.owner.user}@{job.owner.host}",
            str(job.owner.pid),
            time.strftime("%d %b %H:%M:%S", time.localtime(job.owner.since)),
        ]
        for job, n_planned, n_done in current.jobs
    ]
    out.print_rich("")
    out.print_table(["job", "part", "images", "by", "process", "since"], jobs, right={"images"})
    for shard in current.in_work:
        who = str(shard.owner) if shard.owner else "an unknown process"
        state = "in work by" if shard.alive else "left unfinished by"
        out.print_rich(f"{shard.key.name}, shard {shard.name[:8]}: {state} {who}")
    for job, n_planned, n_done in current.jobs:
        if job.state in ("died", "failed") and n_done < n_planned:
            why = f": {job.reason}" if job.reason else ""
            out.print_rich(
                f"Job {job.part} of {job.owner} {job.state}{why}. {n_planned - n_done:,} images of"
                " it are not done; run the same 'featcache extract' again."
            )
    if current.seconds_left is not None:
        left = timedelta(seconds=max(round(current.seconds_left), 1))
        out.print_rich(f"{current.images_per_s:,.1f} images/s over all jobs; {left} (h:mm:ss) left")


@app.command()
def verify(
    cache: opt.Cache = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Move damaged shards to quarantine/; extract makes them again."
        ),
    ] = False,
    sample: Annotated[
        float, typer.Option("--sample", min=0.0001, max=1.0, help="Share of shards to check.")
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the draw with --sample.")] = 0,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> int:
    """Check every byte of the features; exit code 4 where something stays wrong."""
    from featcache.cache import FeatureStore, maintenance
    from featcache.settings import load_settings

    out.start_logging(verbose, quiet)
    store = FeatureStore(load_settings(cache=cache).cache)
    report = maintenance.verify(store, fraction=sample, seed=seed, repair=repair)
    left = len(report.damaged) - len(report.dropped)
    if json:
        damaged = [{"path": str(f.path), "why": f.why} for f in report.damaged]
        dropped = [str(path) for path in report.dropped]
        counts = {"n_shards": report.n_shards, "n_bytes": report.n_bytes}
        out.print_json({**counts, "faults": damaged, "dropped": dropped})
    else:
        for file in report.damaged:
            out.print_rich(f"BAD {file.why}")
        out.print_rich(
            f"{report.n_shards:,} shards, {report.n_bytes / 1e6:,.1f} MB are good; "
            f"{len(report.damaged):,} bad, {len(report.dropped):,} dropped"
        )
        if report.dropped:
            out.print_message(
                "Run the same 'featcache extract' again: it makes exactly these anew."
            )
    return StoreError.exit_code if left else 0


@app.command()
def gc(
    cache: opt.Cache = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="KEY", help="A key to remove; see 'cache ls'."),
    ] = None,
    unreferenced: Annotated[
        bool, typer.Option("--unreferenced", help="Also shards of samples in no manifest.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove it; without this it is only listed.")
    ] = False,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """List what the store does not need, and with --delete remove it."""
    from featcache.cache import FeatureStore, maintenance
    from featcache.cache.lookup import pick_key
    from featcache.datasets import load_manifests
    from featcache.settings import load_settings

    out.start_logging(verbose, quiet)
    store = FeatureStore(load_settings(cache=cache).cache)
    referenced = None
    if unreferenced:
        referenced = set(load_manifests(store.root).strings("sample_id"))
    keys = [pick_key(store, text) for text in drop or ()]
    unused = maintenance.find_unused(store, referenced=referenced, drop=keys)
    n_bytes = maintenance.remove(unused) if delete else sum(item.n_bytes for item in unused)
    if json:
        rows = [{"path": str(w.path), "n_bytes": w.n_bytes, "why": w.why} for w in unused]
        out.print_json({"deleted": delete, "n_bytes": n_bytes, "waste": rows})
        return
    for item in unused:
        out.print_rich(f"{item.path}: {item.why}, {item.n_bytes / 1e6:,.1f} MB")
    done = "removed" if delete else "could go; remove them with --delete"
    out.print_rich(f"{len(unused):,} things, {n_bytes / 1e6:,.1f} MB {done}")


@app.command()
def du(
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Say what takes how much room."""
    from featcache.cache import FeatureStore, maintenance
    from featcache.settings import load_settings

    out.start_logging(verbose, quiet)
    root = load_settings(cache=cache).cache
    usage = maintenance.disk_usage(FeatureStore(root))
    total = sum(n_bytes for _, _, n_bytes in usage)
    if json:
        rows = [{"path": path, "n_files": n, "n_bytes": size} for path, n, size in usage]
        out.print_json({"cache": str(root), "n_bytes": total, "usage": rows})
        return
    _show_usage(usage)


def _show_usage(usage: Sequence[tuple[str, int, int]]) -> None:
    total = sum(n_bytes for _, _, n_bytes in usage)
    table = [[path, f"{n:,}", f"{size / 1e6:,.1f}"] for path, n, size in usage]
    out.print_table(
        ["path", "files", "MB"],
        [*table, ["total", "", f"{total / 1e6:,.1f}"]],
        right={"files", "MB"},
    )


@app.command()
def explain(
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[A B]", help="Two features or keys of the store."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="Compare what extract would make with the store."),
    ] = None,
    cache: opt.Cache = None,
    preset: opt.Preset = None,
    precision: opt.Precision = None,
    dtype: opt.Dtype = None,
    view: Annotated[str | None, typer.Option("--view", help="Of the images.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="As for extract.")] = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Say in which field two features differ, or why extract would not find one."""
    from featcache.backbones import names, resolve
    from featcache.cache import FeatureStore
    from featcache.cache.lookup import explain, explain_missing, pick_key
    from featcache.extract import ExtractOptions, make_requests
    from featcache.settings import load_settings

    out.start_logging(verbose, quiet)
    views = [view] if view else []
    settings = load_settings(
        cache=cache, preset=preset, precision=precision, dtype=dtype, device=device, view=views
    )
    store = FeatureStore(settings.cache)
    if backbone:
        options = ExtractOptions(
            preset=settings.preset,
            precision=settings.precision,
            device=settings.device,
            dtype=settings.dtype,
            views=tuple(settings.view),
        )
        requested_keys = [request.key for request in make_requests([resolve(backbone)], options)]
        explanations = [(key, explain_missing(key, store.list_keys())) for key in requested_keys]
    elif keys and len(keys) == 2:
        first, second = (pick_key(store, names.canonical_name(text)) for text in keys)
        explanations = [(first, explain(first, second))]
    else:
        raise SettingsError(
            "Name two features or keys of the store ('featcache cache explain A B'), or say "
            "--backbone NAME to compare what extract would make."
        )
    if json:
        out.print_json(
            {"explanations": [{"key": key.fingerprint, "text": text} for key, text in explanations]}
        )
        return
    for _, text in explanations:
        out.print_rich(text)
