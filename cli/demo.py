"""``featcache demo``: the whole pipeline on real photographs and real fakes, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out

if TYPE_CHECKING:
    from featcache.results import EvalResult


def demo(
    target: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where everything is put.")
    ] = Path("featcache-demo"),
    photos: Annotated[
        Path | None,
        typer.Option("--photos", metavar="DIR", help="Make the fakes from your own photographs."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Training fakes of every generator, twice as many images: half an hour."
        ),
    ] = False,
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> int:
    """Make fakes with real generators, extract, probe, and write a report."""
    from featcache.cli._output import REJECTS
    from featcache.demo.run import run_demo
    from featcache.reports import results_table

    out.start_logging(verbose, quiet)

    def show(result: EvalResult) -> None:
        """Print the table at once: the pictures of the report take longer."""
        if not json:
            out.print_rich(results_table(result))

    run = run_demo(target, photos=photos, cache=cache, full=full, on_result=show)
    if json:
        out.print_json(
            {
                **run.result.to_dict(),
                "data": str(run.tree.root),
                "cache": str(run.cache),
                "report": str(run.report),
                "scores": str(run.scores),
                "n_forwarded": run.n_forwarded,
            }
        )
    else:
        out.print_rich(
            f"Images   {run.tree.root}", f"Scores   {run.scores}", f"Report   {run.report}"
        )
    return REJECTS if any(one.rejects for one in run.extractions) else 0
