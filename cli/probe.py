"""``featcache probe``: fit a head and score every generator."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out

if TYPE_CHECKING:
    from featcache.evaluate import ProbeOptions
    from featcache.results import EvalResult
    from featcache.settings import Settings


def probe(
    features: Annotated[
        list[str] | None,
        typer.Option("--features", metavar="A[,B...]", help="Features, joined side by side."),
    ] = None,
    train: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="GEN[,...]", help="Generators to train on. [default: all]"),
    ] = None,
    C: Annotated[
        float | None, typer.Option("--C", help="Inverse strength of the penalty. [default: 1.0]")
    ] = None,
    data: opt.Data = None,
    cache: opt.Cache = None,
    preset: opt.Preset = None,
    precision: opt.Precision = None,
    intersection: Annotated[
        bool,
        typer.Option("--intersection", help="Leave out samples that lack one of the features."),
    ] = False,
    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="F.csv", help="Write the score of every sample."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="F.html", help="Write a self-contained report."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="F.safetensors", help="Write the head, for 'score'."),
    ] = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Fit a linear head on cached features and report AP and accuracy per generator."""
    from featcache.evaluate import ProbeOptions
    from featcache.reports import results_table
    from featcache.settings import load_settings, split_all

    out.start(verbose, quiet)
    settings = load_settings(
        cache=cache, data=data, features=split_all(features), train=split_all(train), C=C
    )
    options = ProbeOptions(
        features=settings.features or settings.backbone,
        train=settings.train,
        C=settings.C,
        intersection=intersection,
        wanted={"preset": preset, "precision": precision},
    )
    result = _run(settings, options, scores, report, save)
    if json:
        out.print_json(result.to_dict())
    else:
        out.print_rich(results_table(result))


def _run(
    settings: Settings,
    options: ProbeOptions,
    scores: Path | None,
    report: Path | None,
    save: Path | None,
) -> EvalResult:
    """Evaluate, keep the result, and write the files that were asked for."""
    from featcache.cache import FeatureStore
    from featcache.datasets import load_manifests
    from featcache.datasets.scan import dataset_name
    from featcache.evaluate import ready_for_field, run_probe, save_result
    from featcache.reports import write_report
    from featcache.reports.scores import write_scores

    names = [dataset_name(root.resolve()) for root in settings.data]
    manifest = load_manifests(settings.cache, names or None)
    store = FeatureStore(settings.cache)
    probed = run_probe(manifest, store, options)
    result = probed.result
    kept = save_result(settings.cache, result, probed.scores, probed.head)
    out.say(f"Result: {kept}")
    if save:
        head = ready_for_field(probed.head, manifest, store, options)
        out.say(f"Head: {head.save(save)}")
    if scores:
        out.say(f"Scores: {write_scores(probed.scores, scores)}")
    if report:
        command = " ".join(["featcache", *sys.argv[1:]])
        title = f"Probe on {' + '.join(options.features)}"
        page = write_report(result, probed.scores, report, title=title, command=command)
        out.say(f"Report: {page}")
    return result
