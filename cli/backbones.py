"""``featcache backbones``: what exists and what its weights need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out

app = typer.Typer(no_args_is_help=True, help="Which backbones there are, and their weights.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="As for --backbone, e.g. clip@layer11.")]


@app.command()
def ls(
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """List the backbones by name."""
    from featcache.backbones import describe_all

    out.start_logging(verbose, quiet)
    rows = describe_all()
    if json:
        out.print_json({"backbones": rows})
        return
    _show(rows)
    out.print_message(
        "Also any timm:NAME and open_clip:ARCH/TAG. More of one: featcache backbones show NAME"
    )


def _show(rows: Sequence[dict[str, Any]]) -> None:
    columns = ["name", "alias", "n_features", "weights", "summary"]
    table = [[str(row.get(name, "")) for name in columns] for row in map(_with_alias, rows)]
    out.print_table(columns, table, right={"n_features"})


@app.command()
def show(
    name: Name,
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Say what a backbone computes, which weights file it takes, and where that comes from."""
    from featcache.backbones import describe

    out.start_logging(verbose, quiet)
    facts = describe(name)
    if json:
        out.print_json(facts)
        return
    lines = [[label, text] for label, text in _lines(facts) if text]
    out.print_table(["name", facts["name"]], lines)


@app.command()
def fetch(
    name: Name,
    weights: opt.Weights = None,
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Get the weights of a backbone where a program can, and check them by loading all of them."""
    from featcache.backbones import check_weights, resolve_all

    out.start_logging(verbose, quiet)
    (spec,) = resolve_all([name], weights or [])
    checked = check_weights(spec)
    if json:
        out.print_json(checked)
        return
    out.print_rich(
        f"{checked['name']}: {checked['file']} ({checked['bytes'] / 1e6:,.1f} MB,"
        f" {checked['digest']}) loads whole: {checked['n_parameters'] / 1e6:,.1f} M parameters."
    )


def _with_alias(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "alias": ", ".join(row["aliases"])}


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what ``show`` prints, line by line."""
    native = facts["native"]
    file_text = (
        facts["file"] and f"{facts['file']} ({facts['bytes'] / 1e6:,.1f} MB; {facts['place']})"
    )
    get = f"featcache backbones fetch {facts['base']}" if facts["fetch"] else ""
    native_words = (
        f"resize {native['resize']} {native['interpolation']}, crop {native['size']}, "
        f"mean {native['mean']}, std {native['std']}"
    )
    return [
        ("alias", ", ".join(facts["aliases"])),
        ("what", facts["summary"]),
        ("network", facts["architecture"]),
        ("features", str(facts["n_features"])),
        ("taps", facts["taps"]),
        ("native input", native_words),
        ("preset", f"{facts['preset']} unless --preset says otherwise"),
        ("weights", file_text or "missing"),
        ("digest", facts["digest"] or ""),
        ("licence", facts["licence"]),
        ("published as", ", ".join(facts["published_as"])),
        ("page", facts["page"]),
        ("on the hub", facts["hub"]),
        ("address", facts["url"]),
        ("get it", get),
        ("order", facts["order"]),
        ("looked at", "\n".join(facts["looked_at"])),
    ]
