"""``featcache datasets``: find images, show what was found."""

from __future__ import annotations

from typing import Any

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out

app = typer.Typer(no_args_is_help=True, help="Find images and show how many there are of what.")


@app.command()
def scan(
    roots: opt.Roots = None,
    cache: opt.Cache = None,
    source_pattern: opt.SourcePattern = None,
    workers: opt.Workers = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Find the samples below each ROOT and keep their manifest in the store."""
    from featcache.cli._data import scan_roots
    from featcache.datasets import count_rows, merge
    from featcache.settings import load_settings

    out.start(verbose, quiet)
    settings = load_settings(
        cache=cache, data=roots, source_pattern=source_pattern, workers=workers
    )
    scans = scan_roots(settings)
    skipped: dict[str, int] = {}
    for one in scans:
        for reason, count in one.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + count
    rows = count_rows(merge(one.manifest for one in scans))
    notes = [note for one in scans for note in one.notes]
    _show(rows, {"skipped": skipped, "notes": notes}, json)


@app.command()
def ls(
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Show what the manifests in the store hold."""
    from featcache.datasets import count_rows, load_manifests
    from featcache.settings import load_settings

    out.start(verbose, quiet)
    _show(count_rows(load_manifests(load_settings(cache=cache).cache)), {}, json)


def _show(rows: list[dict[str, Any]], more: dict[str, Any], json: bool) -> None:
    if json:
        out.print_json({"rows": rows, **more})
        return
    columns = ["dataset", "generator", "group", "split", "real", "fake", "bad", "formats", "sizes"]
    table = [
        [
            *(row[name] for name in ("dataset", "generator", "group", "split")),
            *(f"{row[name]:,}" for name in ("n_real", "n_fake", "n_bad")),
            _counts(row["formats"]),
            _counts(row["sizes"]),
        ]
        for row in rows
    ]
    out.print_table(columns, table, right={"real", "fake", "bad"})
    for reason, count in more.get("skipped", {}).items():
        out.say(f"Passed over: {count:,} x {reason}")
    for note in more.get("notes", []):
        out.say(f"Note: {note}")


def _counts(counts: dict[str, int]) -> str:
    shown = [f"{name} {count:,}" if len(counts) > 1 else name for name, count in counts.items()]
    return ", ".join(shown[:2]) + (", ..." if len(shown) > 2 else "")
