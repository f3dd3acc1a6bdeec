"""``featcache probe``: fit a head and score every generator."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli import _probing as probing

if TYPE_CHECKING:
    from featcache.datasets import Manifest
    from featcache.evaluate import ProbeOptions
    from featcache.results import EvalResult
    from featcache.settings import Settings


def probe(
    features: Annotated[
        list[str] | None,
        typer.Option("--features", metavar="A[,B...]", help="Features, joined side by side."),
    ] = None,
    train: probing.Train = None,
    C: probing.C = None,
    head: probing.Head = "logistic",
    k: Annotated[int, typer.Option("--k", min=1, help="Neighbours of the head knn.")] = 1,
    scaling: probing.Scaling = "standardise",
    fusion: probing.Fusion = "concat",
    train_view: probing.TrainView = None,
    test_view: Annotated[
        list[str] | None,
        typer.Option("--test-view", metavar="V[,...]", help="Views to test on. [default: clean]"),
    ] = None,
    protocol: opt.Protocol = None,
    classes: opt.Classes = None,
    generators: opt.Generators = None,
    categories: opt.Categories = None,
    groups: opt.Groups = None,
    max_per_class: opt.MaxPerClass = None,
    memory: probing.Memory = None,
    data: opt.Data = None,
    cache: opt.Cache = None,
    preset: opt.Preset = None,
    precision: opt.Precision = None,
    intersection: probing.Intersection = False,
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
    from featcache.cli._data import filter_flags, load_selection
    from featcache.reports import results_table
    from featcache.reports.probe_tables import view_table
    from featcache.reports.terminal import terminal_table
    from featcache.settings import load_settings, split_all

    out.start(verbose, quiet)
    settings = load_settings(
        cache=cache,
        data=data,
        features=split_all(features),
        train=split_all(train),
        **filter_flags(generators, categories, groups, max_per_class, protocol, classes),
    )
    options = probing.options(
        settings,
        C=C,
        head=head,
        k=k,
        scaling=scaling,
        fusion=fusion,
        train_views=split_all(train_view),
        test_views=split_all(test_view),
        memory=memory,
        intersection=intersection,
        wanted={"preset": preset, "precision": precision},
    )
    manifest = load_selection(settings)
    result = _run(settings, manifest, options, scores, report, save)
    if json:
        out.print_json(result.to_dict())
    else:
        out.print_rich(results_table(result))
        if (views := view_table(result)) is not None:
            out.print_rich("", terminal_table(views))


def _run(
    settings: Settings,
    manifest: Manifest,
    options: ProbeOptions,
    scores: Path | None,
    report: Path | None,
    save: Path | None,
) -> EvalResult:
    """Evaluate, keep the result, and write the files that were asked for."""
    from featcache.cache import FeatureStore
    from featcache.evaluate import ready_for_field, run_probe, save_result
    from featcache.reports import write_report
    from featcache.reports.scores import write_scores

    store = FeatureStore(settings.cache)
    probed = run_probe(manifest, store, options)
    result = probed.result
    if save:
        head = ready_for_field(probed.saveable_head(), manifest, store, options)
        out.say(f"Head: {head.save(save)}")
    kept = save_result(settings.cache, result, probed.scores, probed.head)
    out.say(f"Result: {kept}")
    if scores:
        out.say(f"Scores: {write_scores(probed.scores, scores)}")
    if report:
        command = " ".join(["featcache", *sys.argv[1:]])
        title = f"Probe on {' + '.join(options.features)}"
        page = write_report(result, probed.scores, report, title=title, command=command)
        out.say(f"Report: {page}")
    return result
