"""``featcache cache``: look after the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out

app = typer.Typer(no_args_is_help=True, help="Look after the store.")


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

    out.start(verbose, quiet)
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
        out.say(f"The store {root} has no features.")
        return
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
def export(
    features: Annotated[
        str, typer.Option("--features", metavar="A", help="The feature to export.")
    ],
    target: Annotated[Path, typer.Option("--out", metavar="F.npz", help="The file to write.")],
    cache: opt.Cache = None,
    preset: opt.Preset = None,
    precision: opt.Precision = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write one feature with its samples as row-aligned arrays, for notebooks."""
    from featcache.backbones import canonical
    from featcache.cache import FeatureStore
    from featcache.datasets import load_manifests
    from featcache.evaluate import export_npz
    from featcache.settings import load_settings

    out.start(verbose, quiet)
    root = load_settings(cache=cache).cache
    store = FeatureStore(root)
    shape = export_npz(
        load_manifests(root),
        store,
        store.find(canonical(features), preset=preset, precision=precision),
        target,
    )
    if json:
        out.print_json({"out": str(target.resolve()), "n_rows": shape[0], "n_features": shape[1]})
    else:
        out.print_rich(f"{target}: {shape[0]:,} rows x {shape[1]:,} features")
