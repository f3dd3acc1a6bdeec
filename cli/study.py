"""``featcache run``: a whole study from one file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli._data import grouped

if TYPE_CHECKING:
    from featcache.settings import Settings
    from featcache.studies.prepare import StudyOptions
    from featcache.studies.run import StudyRun
    from featcache.studies.schema import StudyPlan

SHOWN_PLANS = 12


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a study is made of: images, weights, machines."""

    photos: Annotated[
        Path | None,
        typer.Option("--photos", metavar="DIR", help="Photographs, for studies that make images."),
    ] = None
    weights: opt.Weights = None
    random_init: opt.RandomInit = None
    max_per_class: Annotated[
        int | None,
        typer.Option(
            "--max-per-class", min=1, help="A smaller study: so many images of each class."
        ),
    ] = None
    layout: opt.Layout = None
    source_pattern: opt.SourcePattern = None
    device: Annotated[str | None, typer.Option("--device", help="[default: auto]")] = None
    workers: opt.Workers = None


@grouped
def run(
    *,
    study: Annotated[
        str, typer.Argument(metavar="STUDY.toml|NAME", help="A file, or a study that comes along.")
    ],
    data: opt.Data = None,
    cache: opt.Cache = None,
    target: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where lock and report are put. [default: NAME]"),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone",
            metavar="A[,B...]",
            help="In the place of the study's, the first for the first.",
        ),
    ] = None,
    train: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="GEN[,...]", help="In the place of the study's."),
    ] = None,
    material: Material,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost, and run nothing.")
    ] = False,
    output: opt.OutputOptions,
) -> int:
    """Run a whole study: images, features, heads, comparisons, and a report that answers its
    question.
    """
    from featcache.settings import load_settings, split_all
    from featcache.studies import load_study
    from featcache.studies.plan import with_backbones, with_train

    output.start()
    plan = load_study(study)
    if backbone:
        plan = with_backbones(plan, split_all(backbone))
    if train:
        plan = with_train(plan, split_all(train))
    settings = load_settings(
        cache=cache,
        data=data,
        device=material.device,
        workers=material.workers,
        layout=material.layout,
        source_pattern=material.source_pattern,
    )
    return _run(plan, _options(plan, settings, material, target), dry_run, output.json)


def _options(
    plan: StudyPlan, settings: Settings, material: Material, target: Path | None
) -> StudyOptions:
    from featcache.backbones.weights import parse_weights
    from featcache.cli._data import DEFAULT_ROOT
    from featcache.cli.extract import SETTINGS
    from featcache.datasets import ScanOptions
    from featcache.extract import ExtractOptions
    from featcache.studies.prepare import StudyOptions

    chosen: dict[str, Any] = {name: getattr(settings, name) for name in SETTINGS}
    return StudyOptions(
        out=target or Path(plan.name),
        cache=settings.cache,
        data=tuple(settings.data) or ((DEFAULT_ROOT,) if DEFAULT_ROOT.is_dir() else ()),
        photos=material.photos,
        weights=parse_weights(material.weights or [], plan.extract.backbones),
        random_init=material.random_init,
        scan=ScanOptions(
            layout=settings.layout,
            source_pattern=settings.source_pattern,
            test_fraction=settings.test_fraction,
            groups=settings.groups,
            workers=settings.workers,
        ),
        extract=ExtractOptions(**chosen),
        max_per_class=material.max_per_class,
    )


def _run(plan: StudyPlan, options: StudyOptions, dry_run: bool, json: bool) -> int:
    """Run a study, or forecast it, and print."""
    from featcache.cli._output import REJECTS
    from featcache.studies.run import forecast_study, run_study

    if dry_run:
        _show_forecast(forecast_study(plan, options), json)
        return 0
    done = run_study(plan, options, command=" ".join(["featcache", *sys.argv[1:]]))
    _show(done, json)
    return REJECTS if done.n_rejected else 0


def _show_forecast(forecast: dict[str, Any], json: bool) -> None:
    if json:
        out.print_json({"dry_run": True, **forecast})
        return
    if forecast["n_forward"] is None:
        out.print_rich(*forecast["notes"], *_runs(forecast))
        return
    columns = ["feature", "view", "images", "in store", "to do", "MB"]
    rows = [
        [
            plan["backbone"],
            plan["view"],
            f"{plan['n_samples']:,}",
            f"{plan['n_cached']:,}",
            f"{plan['n_missing']:,}",
            f"{plan['n_bytes'] / 1e6:,.1f}",
        ]
        for plan in forecast["extract"]
    ]
    out.print_table(columns, rows, right=set(columns[2:]))
    duration = timedelta(seconds=max(round(forecast["seconds"]), 1))
    out.print_rich(
        f"{forecast['n_forward']:,} forward passes, {forecast['n_bytes'] / 1e6:,.1f} MB, "
        + (f"about {duration} (h:mm:ss) on this machine" if forecast["seconds"] else "no time")
    )
    out.print_rich(*_runs(forecast))
    for plan in forecast["finetune"]:
        out.print_rich(_training(plan))
    for note in forecast["notes"]:
        out.print_message(f"Note: {note}")


def _runs(forecast: dict[str, Any]) -> list[str]:
    n_runs = len(forecast["runs"])
    return [f"{n_runs} run{'' if n_runs == 1 else 's'}: {'; '.join(forecast['runs'])}"]


def _training(plan: dict[str, Any]) -> str:
    duration = timedelta(seconds=max(round(plan["seconds"]), 1))
    return (
        f"Fine-tuning {plan['backbone']}, {plan['method']}: {plan['n_steps']:,} steps on "
        f"{plan['n_train']:,} images, about {duration} (h:mm:ss)"
    )


def _show(done: StudyRun, json: bool) -> None:
    from featcache.reports.terminal import terminal_table
    from featcache.studies.tables import study_part

    if json:
        paths = {"report": str(done.report), "lock": str(done.lock)}
        out.print_json({**done.result.to_dict(), **paths, "n_forwarded": done.n_forwarded})
        return
    out.print_rich(done.result.answer, *map(terminal_table, study_part(done.result).tables))
    for note in done.result.notes:
        out.print_message(f"Note: {note}")
    out.print_rich(f"Report   {done.report}", f"Lock     {done.lock}")
