"""``featcache cache``: look after the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli import _packs
from featcache.errors import SettingsError, StoreError

if TYPE_CHECKING:
    from featcache.cache.store import KeySummary

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
    referenced = {s.sample_id for s in load_manifests(store.root)} if unreferenced else None
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
