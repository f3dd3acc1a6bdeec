"""``featcache head``: saved heads from and to UnivFD's form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out

app = typer.Typer(no_args_is_help=True, help="Saved heads: show, import, export.")

File = Annotated[Path, typer.Argument(metavar="FILE")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")]


@app.command("show")
def show(path: File, json: opt.Json = False) -> None:
    """Say what a saved head is for and where it comes from."""
    from featcache.probes import load_head

    head = load_head(path)
    about = {
        "n_features": head.n_features,
        "widths": head.widths,
        "threshold": head.threshold,
        "l2": head.l2,
        "features": [key.get("backbone") for key in head.feature_keys],
        "meta": dict(head.meta),
    }
    if json:
        out.print_json(about)
    else:
        out.print_table(["field", "value"], [[name, str(value)] for name, value in about.items()])


@app.command("import")
def import_(path: File, target: Out, json: opt.Json = False) -> None:
    """Turn UnivFD's fc_weights.pth into a head of ours."""
    from featcache.detect.univfd_format import import_fc_weights

    head = import_fc_weights(path)
    saved = head.save(target)
    out.print_message(f"Head: {saved}")
    if json:
        out.print_json({"head": str(saved), "n_features": head.n_features})


@app.command("export")
def export(path: File, target: Out, json: opt.Json = False) -> None:
    """Write a head as UnivFD's validate.py loads it."""
    from featcache.detect.univfd_format import export_fc_weights
    from featcache.probes import load_head

    saved = export_fc_weights(load_head(path), target)
    out.print_message(f"Weights: {saved}")
    if json:
        out.print_json({"weights": str(saved)})
