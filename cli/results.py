"""``featcache results`` and ``featcache compare``: saved results by name, and side by side."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli._data import grouped

app = typer.Typer(no_args_is_help=True, help="Saved results: list, show, remove.")

Which = Annotated[
    str, typer.Argument(metavar="RESULT", help="A name, a digest, a folder, or features.")
]


@app.command("ls")
@grouped
def ls(
    cache: opt.Cache = None,
    *,
    output: opt.OutputOptions,
) -> None:
    """List the saved results, the newest first."""
    from featcache.evaluate.results_store import list_results
    from featcache.reports.formatting import format_fraction
    from featcache.settings import load_settings

    output.start()
    settings = load_settings(cache=cache)
    saved = list_results(settings.cache)
    if output.json:
        out.print_json({"results": [asdict(one) for one in saved]})
        return
    if not saved:
        out.print_message(f"{settings.cache} holds no results.")
        return
    columns = ["name", "kind", "features", "trained on", "mAP", "digest"]
    rows = [
        [
            ", ".join(one.names) or "-",
            one.kind,
            " + ".join(one.features),
            ", ".join(one.train),
            format_fraction(one.mAP),
            one.digest[:8],
        ]
        for one in saved
    ]
    out.print_table(columns, rows, right={"mAP"})


@app.command("show")
@grouped
def show(
    which: Which,
    cache: opt.Cache = None,
    *,
    output: opt.OutputOptions,
) -> None:
    """Print a saved result again, as the command that made it did."""
    from featcache.evaluate import load_result
    from featcache.evaluate.results_store import find_result
    from featcache.reports import results_table
    from featcache.reports.report import result_part
    from featcache.reports.terminal import terminal_table
    from featcache.results import EvalResult
    from featcache.settings import load_settings

    output.start()
    folder = find_result(load_settings(cache=cache).cache, which)
    result = load_result(folder)
    out.print_message(f"Result: {folder}")
    if output.json:
        out.print_json(result.to_dict())
    elif isinstance(result, EvalResult):
        out.print_rich(results_table(result))
    else:
        part = result_part(result, anchor="result")
        for table in part.tables:
            out.print_rich(terminal_table(table), "")
        out.print_rich(part.finding)


@app.command("rm")
@grouped
def rm(
    which: Which,
    cache: opt.Cache = None,
    *,
    output: opt.OutputOptions,
) -> None:
    """Remove a saved result and its names; the features stay."""
    from featcache.evaluate.results_store import remove_result
    from featcache.settings import load_settings

    output.start()
    digest = remove_result(load_settings(cache=cache).cache, which)
    if output.json:
        out.print_json({"removed": digest})
    else:
        out.print_message(f"Removed: {digest}")


@grouped
def compare(
    which: Annotated[
        list[str],
        typer.Argument(metavar="A B...", help="Probes: names, digests, folders, or features."),
    ],
    metric: Annotated[
        str, typer.Option("--metric", metavar="METRIC", help="ap, auroc, acc, ...")
    ] = "ap",
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="F.csv", help="Write the table.")
    ] = None,
    latex: Annotated[
        Path | None, typer.Option("--latex", metavar="F.tex", help="Write the table for a paper.")
    ] = None,
    cache: opt.Cache = None,
    *,
    output: opt.OutputOptions,
) -> None:
    """Compare saved probes on the same test images, generator by generator, with paired tests."""
    from featcache.evaluate.comparison import compare_runs
    from featcache.files import write_atomic
    from featcache.reports.export import frame, latex_table
    from featcache.reports.saved import load_runs
    from featcache.reports.tables.comparison import (
        across_generators,
        compared_table,
        run_notes,
        runs_table,
    )
    from featcache.reports.terminal import terminal_table
    from featcache.settings import load_settings

    output.start()
    runs = load_runs(load_settings(cache=cache).cache, which)
    comparisons = compare_runs(runs, metric)
    table = runs_table(runs, comparisons, metric)
    if csv:
        write_atomic(csv, frame(table).dropna(axis=1, how="all").to_csv(index=False).encode())
        out.print_message(f"Table: {csv.resolve()}")
    if latex:
        write_atomic(latex, latex_table(table.name, table).encode())
        out.print_message(f"Table: {latex.resolve()}")
    notes = run_notes(runs, comparisons)
    across = across_generators(runs, metric)
    if output.json:
        out.print_json(
            {
                "metric": metric,
                "runs": {name: result.to_dict() for name, (result, _) in runs.items()},
                "comparisons": [
                    {"first": first, "second": second, **one.to_dict()}
                    for (first, second), one in comparisons.items()
                ],
                "across_generators": across,
                "notes": notes,
            }
        )
        return
    out.print_rich(terminal_table(table, whole="--csv F.csv, --latex F.tex, --json"))
    for pair, one in comparisons.items():
        a, b = (runs[name][0] for name in pair)
        out.print_rich("", terminal_table(compared_table(one, metric, a, b, pair)))
    detectable = [100 * one.overall.detectable for one in comparisons.values()]
    if all(map(math.isfinite, detectable)):
        points = " to ".join(f"{d:.2g}" for d in sorted({min(detectable), max(detectable)}))
        notes = [(f"A difference of the means of {points} points is what these images show in 80 of"
                 " 100 cases at p < 0.05, before correction."), *notes]  # fmt: skip
    for note in [across["sentence"], *notes]:
        out.print_message(f"- {note}")
