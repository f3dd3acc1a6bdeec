"""What a run found, in a table and sentences for a person."""

from __future__ import annotations

import math

from featcache.files import printable
from featcache.finetune.forecast import Forecast
from featcache.finetune.result import FinetuneResult
from featcache.results import Comparison

COLUMNS = ["generator", "AP\nfrozen", "AP\ntuned", "difference", "p", "acc\nfrozen", "acc\ntuned"]


def table_rows(result: FinetuneResult) -> list[list[str]]:
    """Return one row per generator, control and mean, in percent; the difference is that of AP.

    Parameters
    ----------
    result : FinetuneResult
        Result of a fine-tuning run.

    Returns
    -------
    list[list[str]]
        One row per generator, control and mean, in percent.
    """
    ap = result.comparisons["ap"]
    frozen, tuned = result.frozen, result.tuned
    rows = [_row(result, name, comparison) for name, comparison in ap.generators.items()]
    means = [(frozen.mAP, tuned.mAP), (frozen.mean_acc, tuned.mean_acc)]
    rows.append(_cells("mean", ap.overall, *means))
    if ap.unseen and frozen.unseen and tuned.unseen:
        pairs = [
            (getattr(frozen.unseen, name), getattr(tuned.unseen, name))
            for name in ("mAP", "mean_acc")
        ]
        rows.append(_cells("mean, not trained on", ap.unseen, *pairs))
    return rows + [_row(result, name, comparison) for name, comparison in ap.controls.items()]


def format_summary(result: FinetuneResult) -> list[str]:
    """Return the answer first, then what was trained, where it is and what to do with it.

    Parameters
    ----------
    result : FinetuneResult
        Result of a fine-tuning run.

    Returns
    -------
    list[str]
        The answer first, then what was trained, where it is and what to do with it.
    """
    lines = [
        _answer(result),
        (
            "Percent; difference: AP tuned minus frozen with 95 % intervals over the same resampled"
            " photographs, p corrected for the number of generators (Holm). * in the training set."
        ),
        (
            f"Trained: {result.method}, {result.n_trained:,} of {result.n_parameters:,} parameters"
            f" of {result.backbone}; {result.n_train:,} images, {result.n_val:,} held out; kept"
            f" epoch {result.best_epoch} of {result.epochs[-1].epoch}, chosen by AP on the held-out"
            " photographs, then by loss."
        ),
        *(f"- {note}" for note in result.notes),
        f"Weights: {result.weights}  Head: {result.head}",
        f"Results: {'  '.join(result.results)}",
        (
            f"Go on: featcache extract --backbone {result.backbone} "
            f"--weights {result.backbone.split('@')[0]}={result.weights}"
        ),
    ]
    return [printable(line) for line in lines]


def format_forecast(plan: Forecast) -> list[str]:
    """Return what a run would do, in two lines.

    Parameters
    ----------
    plan : Forecast
        Forecast of the run.

    Returns
    -------
    list[str]
        What a run would do, in two lines.
    """
    return [
        (
            f"{plan.backbone}, {plan.method}: {plan.n_trained:,} of {plan.n_parameters:,}"
            f" parameters; {plan.n_train:,} images to train on, {plan.n_val:,} held out,"
            f" {plan.n_test:,} to test on."
        ),
        (
            f"{plan.n_steps:,} steps ({plan.n_steps_per_epoch:,} an epoch),"
            f" {plan.seconds_per_step:.2f} s each on {plan.device} in {plan.precision}: about"
            f" {_duration(plan.seconds)}, and the features of frozen and tuned weights on top."
        ),
    ]


def _answer(result: FinetuneResult) -> str:
    """Say in one sentence whether fine-tuning helps where it matters: on generators not trained
    on.
    """
    ap = result.comparisons["ap"]
    comparison, where = (
        (ap.unseen, "generators not trained on") if ap.unseen else (ap.overall, "all")
    )
    low, high = comparison.ci
    change = (
        f"{100 * comparison.difference:+.1f} points of mAP [{100 * low:+.1f}, {100 * high:+.1f}]"
        f" over {where}"
    )
    if math.isnan(low) or low <= 0 <= high:
        return f"Fine-tuning makes no clear difference: {change}."
    return f"Fine-tuning {'helps' if comparison.difference > 0 else 'harms'}: {change}."


def _row(result: FinetuneResult, name: str, comparison: Comparison) -> list[str]:
    """Return the row of one generator or control."""
    frozen, tuned = ((run.generators | run.controls)[name] for run in (result.frozen, result.tuned))
    mark = " *" if name in result.tuned.train.generators else ""
    return _cells(
        printable(name) + mark, comparison, (frozen.ap, tuned.ap), (frozen.acc, tuned.acc)
    )


def _cells(
    name: str, comparison: Comparison, ap: tuple[float, float], acc: tuple[float, float]
) -> list[str]:
    low, high = comparison.ci
    difference = f"{100 * comparison.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return [
        name,
        *_percent(*ap),
        difference,
        (f"{comparison.p_holm:.3f}" if comparison.p_holm >= 0.001 else "<.001"),
        *_percent(*acc),
    ]


def _percent(*values: float) -> list[str]:
    return [f"{100 * value:.1f}" for value in values]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
