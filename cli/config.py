"""``featcache config`` and ``featcache trust``: which settings hold here, and where from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out


def config(
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Show every setting that holds in this folder, and whether it comes from the environment,
    from featcache.toml, or from the defaults.
    """
    import os

    from featcache.settings import Settings, find_file, load_settings, read_file

    out.start_logging(verbose, quiet)
    path = find_file(Path.cwd())
    in_file = read_file(path)
    settings = load_settings()
    rows: list[dict[str, Any]] = []
    for name in Settings.model_fields:
        variable = f"FEATCACHE_{name.upper()}"
        source = "default"
        if name in in_file:
            source = str(path)
        if os.environ.get(variable):
            source = variable
        rows.append({"setting": name, "value": getattr(settings, name), "source": source})
    if json:
        out.print_json({"settings": [{**row, "value": _plain(row["value"])} for row in rows]})
        return
    table = [[row["setting"], str(_plain(row["value"])), row["source"]] for row in rows]
    out.print_table(["setting", "value", "from"], table)


def trust(
    file: Annotated[
        Path | None, typer.Argument(help="The settings file. [default: the one that holds here]")
    ] = None,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Let a featcache.toml name clusters, and folders outside its own, until it changes."""
    from featcache.errors import SettingsError
    from featcache.settings import find_file
    from featcache.trust import trust as trust_file

    out.start_logging(verbose, quiet)
    path = file or find_file(Path.cwd())
    if path is None:
        raise SettingsError("There is no featcache.toml in this folder or above it. Name the file.")
    trust_file(path)
    out.print_message(f"Trusted as it is now: {path}")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
