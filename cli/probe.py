"""``featcache probe``: fit a head and score every generator."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli import _probing as probing
from featcache.cli._data import grouped
from featcache.errors import SettingsError

if TYPE_CHECKING:
    from featcache.evaluate import Probed
    from featcache.results import EvalResult


@dataclass(frozen=True, kw_only=True)
class Files:
    """What is written besides the result."""

    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="F.csv", help="Write the score of every sample."),
    ] = None
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="F.html", help="Write a self-contained report."),
    ] = None
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="F.safetensors", help="Write the head, for 'score'."),
    ] = None


@grouped
def probe(
    *,
    features: probing.Features = None,
    heads: probing.HeadOptions,
    fusion: probing.Fusion = "concat",
    prior: Annotated[
        str,
        typer.Option(
            "--prior", metavar="P[,...]", help="Also report AP at these fake prevalences."
        ),
    ] = "",
    samples: opt.SampleOptions,
    reading: probing.ReadOptions,
    dry_run: probing.DryRun = False,
    files: Files,
    output: opt.OutputOptions,
) -> None:
    """Fit a linear head on cached features and report AP and accuracy per generator."""
    from featcache.cache import FeatureStore
    from featcache.cli._data import load_selection
    from featcache.evaluate import calibrate_head, forecast_probe, run_probe
    from featcache.probes import load_head

    output.start()
    settings = probing.load(features, heads, samples, reading)
    options = probing.options(settings, heads, reading, fusion=fusion, prior=prior)
    manifest, store = load_selection(settings), FeatureStore(settings.cache)
    given = None
    if heads.head.endswith(".safetensors"):
        given = load_head(Path(heads.head))
        options = replace(options, head="logistic")
    if dry_run:
        if given:
            raise SettingsError("A given head is not fitted: there is nothing to foretell.")
        probing.show_forecast(forecast_probe(manifest, store, options), output.json)
        return
    probed = run_probe(manifest, store, options, given)
    if files.save:
        head = calibrate_head(probed.saveable_head(), manifest, store, options)
        out.print_message(f"Head: {head.save(files.save)}")
    probing.save_if_possible(settings, reading, probed.result, probed.scores, probed.head)
    _write(probed, files)
    if output.json:
        out.print_json(probed.result.to_dict())
    else:
        _show(probed.result)


def _write(probed: Probed, files: Files) -> None:
    """Write the files that were asked for."""
    from featcache.reports import write_report
    from featcache.reports.export import write_scores

    if files.scores:
        out.print_message(f"Scores: {write_scores(probed.scores, files.scores)}")
    if files.report:
        command = " ".join(["featcache", *sys.argv[1:]])
        title = f"Probe on {' + '.join(probed.result.features)}"
        page = write_report(
            probed.result, probed.scores, files.report, title=title, command=command
        )
        out.print_message(f"Report: {page}")


def _show(result: EvalResult) -> None:
    from featcache.reports import results_table
    from featcache.reports.tables.probe import prior_table, view_table
    from featcache.reports.terminal import terminal_table

    out.print_rich(results_table(result))
    for table in (prior_table(result), view_table(result)):
        if table is not None:
            out.print_rich("", terminal_table(table))
