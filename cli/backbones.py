"""``featcache backbones``: what exists and what its weights need."""

from __future__ import annotations

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out

app = typer.Typer(no_args_is_help=True, help="Which backbones there are, and their weights.")


@app.command()
def ls(
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """List the backbones by name."""
    from featcache.backbones import describe_all

    out.start(verbose, quiet)
    rows = describe_all()
    if json:
        out.print_json({"backbones": rows})
        return
    columns = ["name", "n_features", "weights", "licence", "summary"]
    table = [[str(row[name]) for name in columns] for row in rows]
    out.print_table(columns, table, right={"n_features"})
