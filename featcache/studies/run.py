"""Run a study: images, features, every run, the comparisons, the answer, the report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featcache._version import __version__
from featcache.backbones.resolve import preprocessing_of, weights_id
from featcache.datasets.protocols import class_subset
from featcache.evaluate import (
    GRID,
    ProbeOptions,
    load_scores,
    result_folder,
    run_probe,
    save_result,
)
from featcache.extract import estimate_seconds, extract, forecast, make_requests
from featcache.files import digest_json
from featcache.progress import track
from featcache.reports.tables.base import Exhibit
from featcache.results import Scores
from featcache.studies.answers import format_answer
from featcache.studies.compare import detection_boundary, differences, mixture_ap, references
from featcache.studies.plan import (
    FILE_NAME,
    Lock,
    Run,
    changes,
    digest_samples,
    plan_runs,
    read_lock,
    write_lock,
)
from featcache.studies.prepare import (
    Prepared,
    StudyOptions,
    forecast_tuned,
    images_to_make,
    prepare,
    tuned_runs,
)
from featcache.studies.result import RunResult, StudyResult
from featcache.studies.schema import StudyPlan
from featcache.studies.tables import study_report

REPORT, TABLES = "report.html", "tables"


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """What a study made.

    Parameters
    ----------
    result : StudyResult
    report : Path
        The page.
    lock : Path
    n_forwarded : int
        Forward passes that this call did.
    n_rejected : int
        Images that gave no feature.
    """

    result: StudyResult
    report: Path
    lock: Path
    n_forwarded: int
    n_rejected: int


def forecast_study(study: StudyPlan, options: StudyOptions) -> dict[str, Any]:
    """Return what :func:`run_study` would do: images, forward passes, bytes, seconds, runs,
    training.

    Nothing is written; a few images go through the networks to measure the time. Where the study
    makes its images itself and they are not there yet, a note says so and nothing is counted.

    Parameters
    ----------
    study : StudyPlan
        Plan of the study.
    options : StudyOptions
        Settings; their own documentation names every field.

    Returns
    -------
    dict[str, Any]
        What :func:`run_study` would do.
    """
    if to_make := images_to_make(study.data, options):
        return {
            "study": study.name,
            "n_samples": None,
            "extract": [],
            "n_forward": None,
            "n_bytes": None,
            "seconds": None,
            "runs": [run.name for run in plan_runs(study)],
            "finetune": [],
            "notes": [to_make],
        }
    prepared = prepare(study, options, dry_run=True)
    work = (prepared.manifest, list(prepared.specs.values()), prepared.store, prepared.options)
    plans = forecast(*work)
    return {
        "study": study.name,
        "n_samples": len(prepared.manifest),
        "extract": plans,
        "n_forward": sum(plan["n_passes"] for plan in plans),
        "n_bytes": sum(plan["n_bytes"] for plan in plans),
        "seconds": estimate_seconds(*work),
        "runs": [run.name for run in plan_runs(prepared.study)],
        "finetune": forecast_tuned(prepared, options),
        "notes": prepared.notes,
    }


def run_study(study: StudyPlan, options: StudyOptions, *, command: str = "") -> StudyRun:
    """Run a study; features and results that exist already are used again.

    Parameters
    ----------
    study : Study
    options : StudyOptions
    command : str
        The command line that repeats it, for the report.

    Returns
    -------
    StudyRun

    Raises
    ------
    MissingExtraError
        If the packages of the report are missing: before anything is done.
    """
    from featcache.reports.formatting import require_viz
    from featcache.reports.html import write_page

    require_viz()
    prepared = prepare(study, options)
    specs = list(prepared.specs.values())
    summaries = extract(prepared.manifest, specs, prepared.store, prepared.options)
    planned = plan_runs(prepared.study)
    runs = [_run(run, prepared, options) for run in track(planned, "runs", len(planned), "runs")]
    runs += tuned_runs(prepared, options)
    scores = {run.name: load_scores(Path(run.folder)) for run in runs}
    lock = _lock(study, prepared, runs)
    path = options.out / FILE_NAME
    old = read_lock(path)
    notes = prepared.notes + (
        [f"Since the last run {change}." for change in changes(old, lock)] if old else []
    )
    result = _conclude(prepared.study, runs, scores, notes, options)
    report = study_report(result, scores, command, _maps(prepared) if study.report.embed else ())
    page = write_page(report, options.out / REPORT)
    folder = options.out / TABLES
    from featcache.reports.export import write_tables

    write_tables(report, folder, ("csv", "json", "md", "latex"))
    write_lock(options.out / FILE_NAME, lock)
    return StudyRun(
        result=result,
        report=page,
        lock=options.out / FILE_NAME,
        n_forwarded=sum(summary.n_forwarded for summary in summaries),
        n_rejected=len({r.path for summary in summaries for r in summary.rejects}),
    )


def _maps(prepared: Prepared) -> list[Exhibit]:
    """Return a map of every feature alone."""
    from featcache.embed import EmbedOptions, embed
    from featcache.reports.exhibits import map_exhibit

    how = prepared.options
    specs = [prepared.specs[name] for name in prepared.study.extract.backbones]
    options = [
        EmbedOptions(
            features=[spec.name],
            wanted={
                "preset": preprocessing_of(spec, how.preset).preset,
                "precision": how.precision,
                "weights": weights_id(spec),
            },
        )
        for spec in specs
    ]
    return [
        map_exhibit(embed(prepared.manifest, prepared.store, one))
        for one in track(options, "maps", len(options), "features")
    ]


def _run(run: Run, prepared: Prepared, options: StudyOptions) -> RunResult:
    """Fit and judge one run, and keep its result."""
    manifest = prepared.manifest
    if run.n_classes is not None:
        manifest = class_subset(manifest, run.n_classes)
    probed = run_probe(manifest, prepared.store, _probe_options(run, prepared, options))
    save_result(options.cache, probed.result, probed.scores, probed.head)
    folder = result_folder(options.cache, probed.result.digest)
    return RunResult(run=run, result=probed.result, folder=str(folder))


def _probe_options(run: Run, prepared: Prepared, options: StudyOptions) -> ProbeOptions:
    plan = prepared.study.probe
    specs, preset = prepared.specs.values(), prepared.options.preset
    presets = {preprocessing_of(spec, preset).preset for spec in specs}
    return ProbeOptions(
        features=prepared.names(run.features),
        train=list(run.train),
        head=run.head,
        C=1.0 if plan.C == "grid" else plan.C,
        grid=GRID if plan.C == "grid" else [],
        train_views=[plan.train_view],
        test_views=list(plan.test_views),
        wanted={
            "preset": presets.pop() if len(presets) == 1 else None,  # where backbones differ: any
            "precision": prepared.options.precision,
        },
        weights={spec.network: weights_id(spec) for spec in specs},
        n_resamples=options.n_resamples,
    )


def _conclude(
    study: StudyPlan,
    runs: list[RunResult],
    scores: dict[str, Scores],
    notes: list[str],
    options: StudyOptions,
) -> StudyResult:
    """Compare the runs and answer the question."""
    baseline = next((r for r in runs if r.run.features == study.baseline), runs[0])
    compared = differences(runs, baseline, scores, n_resamples=options.n_resamples)
    result = StudyResult(
        name=study.name,
        title=study.title,
        asks=study.asks,
        runs=runs,
        differences=compared,
        references=references(study.report.published, runs, compared),
        mixtures=mixture_ap(runs, scores, study.probe.shares, n_resamples=options.n_resamples),
        boundary=detection_boundary(runs),
        notes=list(dict.fromkeys([*notes, *[note for run in runs for note in run.result.notes]])),
    )
    return replace(result, answer=format_answer(study.answer, result))


def _lock(study: StudyPlan, prepared: Prepared, runs: list[RunResult]) -> Lock:
    requests = make_requests(list(prepared.specs.values()), prepared.options)
    return Lock(
        study=digest_json(study.model_dump(mode="json")),
        samples=digest_samples(prepared.manifest),
        n_samples=len(prepared.manifest),
        keys={f"{r.key.name} {r.key.settings}": dict(r.key.fields) for r in requests}
        | {run.name: dict(run.result.keys[0]) for run in runs if run.run.tuned},
        results={run.name: run.result.digest for run in runs},
        versions={"featcache": __version__, **runs[0].result.versions},
    )
