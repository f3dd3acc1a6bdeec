"""``featcache report``: pages and tables of saved results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out

AUDIT_FILE = "audit.json"
"""Where 'datasets audit' leaves its result in the store; it becomes part of the report."""


def report(
    results: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RESULT]...", help="Saved results: folders, or their digests."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put two probe runs side by side: --compare A B.")
    ] = False,
    exhibit: Annotated[
        list[Path] | None,
        typer.Option("--exhibit", metavar="DIR", help="Add what embed, attend or spectra wrote."),
    ] = None,
    target: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the report is put.")
    ] = Path("report"),
    format: Annotated[
        list[str] | None,
        typer.Option("--format", help="html, md, csv, json, latex, svg; a list. [default: all]"),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Heading of the report.")] = "",
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write saved results as HTML, Markdown, CSV, JSON, LaTeX and SVG. Without RESULT: the
    newest.
    """
    from featcache.reports.saved import build_report, find_results, write_all
    from featcache.settings import load_settings, split_all

    out.start_logging(verbose, quiet)
    settings = load_settings(cache=cache)
    folders = find_results(settings.cache, results or [])
    audit = settings.cache / AUDIT_FILE
    built = build_report(
        folders,
        audit=audit if audit.is_file() else None,
        compare=compare,
        exhibits=exhibit or [],
        title=title,
        command=" ".join(["featcache", *sys.argv[1:]]),
    )
    files = write_all(built, target, split_all(format))
    if json:
        out.print_json({"title": built.title, "files": [str(file.resolve()) for file in files]})
        return
    for part in built.parts:
        out.print_rich(part.finding)
    for file in files:
        out.print_message(f"Written: {file}")
