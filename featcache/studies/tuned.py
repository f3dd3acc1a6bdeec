"""Backbones that a study trains further: their heads join its runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.evaluate import load_result
from featcache.results import EvalResult
from featcache.studies.plan import TUNED, Run
from featcache.studies.prepare import Prepared, StudyOptions
from featcache.studies.result import RunResult

if TYPE_CHECKING:
    from featcache.finetune import FinetuneOptions


def tuned_runs(prepared: Prepared, options: StudyOptions) -> list[RunResult]:
    """Train every backbone that the study names, and return the runs of the tuned heads.

    The weights lie in the study's folder; what was trained already is not trained again.
    """
    return [
        _tuned(name, settings, prepared, options) for name, settings in _each(prepared, options)
    ]


def forecast_tuned(prepared: Prepared, options: StudyOptions) -> list[dict[str, Any]]:
    """Return what the training would cost, by counting steps and timing one."""
    found = []
    for _, settings in _each(prepared, options):
        from featcache.finetune import forecast_finetune

        found.append(forecast_finetune(prepared.manifest, settings).to_dict())
    return found


def _each(prepared: Prepared, options: StudyOptions) -> Iterator[tuple[str, FinetuneOptions]]:
    plan = prepared.study.finetune
    if not plan.backbones:
        return
    from featcache.finetune import FinetuneOptions

    shared = plan.model_dump(exclude={"backbones"})
    how = prepared.options
    for name in plan.backbones:
        yield (
            name,
            FinetuneOptions(
                **shared,
                backbone=prepared.specs[name].name,
                train=list(prepared.study.probe.train[0]),
                preset=how.preset,
                precision=how.precision,
                device=how.device,
                workers=how.workers,
                shard_rows=how.shard_rows,
                weights=options.weights,
                n_resamples=options.n_resamples,
            ),
        )


def _tuned(
    name: str, settings: FinetuneOptions, prepared: Prepared, options: StudyOptions
) -> RunResult:
    from featcache.finetune import finetune

    file = options.out / f"{_file_name(name)}-ft.safetensors"
    options.out.mkdir(parents=True, exist_ok=True)
    done = finetune(prepared.manifest, prepared.store, settings, file)
    folder = Path(done.results[1])
    result = load_result(folder)
    assert isinstance(result, EvalResult)
    held_out = f"{done.n_val:,} training images choose the epoch of {name} and are not trained on."
    result = replace(result, notes=[*result.notes, *done.notes, held_out])
    run = Run(features=(name,), train=prepared.study.probe.train[0], head=_head(done.method))
    return RunResult(run=run, result=result, folder=str(folder))


def _head(method: str) -> str:
    return f"{TUNED} ({method})"


def _file_name(name: str) -> str:
    """Return a name that every file system takes."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
