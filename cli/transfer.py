"""``featcache transfer`` and ``featcache efficiency``: heads of other training sets, from the
same cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli import _probing as probing
from featcache.cli._data import grouped

if TYPE_CHECKING:
    from featcache.reports.tables.base import Part


@grouped
def transfer(
    *,
    features: probing.Features = None,
    heads: probing.HeadOptions,
    samples: opt.SampleOptions,
    reading: probing.ReadOptions,
    csv: probing.Csv = None,
    output: opt.OutputOptions,
) -> None:
    """Train on each generator alone and on all but it; test every head on every generator."""
    from featcache.cache import FeatureStore
    from featcache.cli._data import load_selection
    from featcache.evaluate import transfer as run
    from featcache.evaluate import write_transfer_csv
    from featcache.reports.report import transfer_part

    output.start()
    settings = probing.load(features, heads, samples, reading)
    options = probing.options(settings, heads, reading)
    store = FeatureStore(settings.cache)
    result = run(load_selection(settings), store, options, reading.results)
    probing.save_if_possible(settings, reading, result)
    if csv:
        out.print_message(f"Table: {write_transfer_csv(result, csv)}")
    if output.json:
        out.print_json(result.to_dict())
    else:
        _show(transfer_part(result))


@grouped
def efficiency(
    *,
    features: probing.Features = None,
    sizes: Annotated[
        str,
        typer.Option(
            "--sizes",
            metavar="N[,...]",
            help="Training samples per class. [default: 10, 30, 100, ... and all]",
        ),
    ] = "",
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Draws of each number of samples.")
    ] = 5,
    heads: probing.HeadOptions,
    samples: opt.SampleOptions,
    reading: probing.ReadOptions,
    csv: probing.Csv = None,
    output: opt.OutputOptions,
) -> None:
    """Train on few samples, drawn several times, and on all: how much data a head needs."""
    from featcache.cache import FeatureStore
    from featcache.cli._data import load_selection
    from featcache.evaluate import efficiency as run
    from featcache.evaluate import write_efficiency_csv
    from featcache.reports.report import efficiency_part

    output.start()
    settings = probing.load(features, heads, samples, reading)
    result = run(
        load_selection(settings),
        FeatureStore(settings.cache),
        probing.options(settings, heads, reading),
        sizes=probing.parse_sizes(sizes),
        n_seeds=seeds,
        kept=reading.results,
    )
    probing.save_if_possible(settings, reading, result)
    if csv:
        out.print_message(f"Table: {write_efficiency_csv(result, csv)}")
    if output.json:
        out.print_json(result.to_dict())
    else:
        _show(efficiency_part(result))


def _show(part: Part) -> None:
    from featcache.reports.terminal import terminal_table

    for table in part.tables:
        out.print_rich(terminal_table(table, whole="--csv F.csv, --json"), "")
    out.print_rich(part.finding)
    for note in part.notes:
        out.print_message(f"- {note}")
