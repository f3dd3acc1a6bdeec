"""The result of a fine-tuning run: plain data, and its text for the terminal."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from featcache.files import printable
from featcache.finetune.forecast import Forecast
from featcache.results import Comparison, EvalResult, RunComparison


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training images.

    Parameters
    ----------
    epoch : int
        Counted from 1; 0 is the state before any training.
    loss : float
        Mean binary cross-entropy (nats) over the training images as they were augmented; NaN for
        epoch 0.
    val_loss, val_ap, val_acc : float
        On the photographs held out, without augmentation; accuracy at probability 0.5.
    seconds : float
    """

    epoch: int
    loss: float
    val_loss: float
    val_ap: float
    val_acc: float
    seconds: float

    @property
    def rank(self) -> tuple[float, float]:
        """By what epochs are chosen: the higher AP, of equal ones the lower loss."""
        return self.val_ap, -self.val_loss


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """All that one run found.

    Parameters
    ----------
    backbone : str
        Canonical feature name.
    method : str
        What was trained, in words.
    recipe : dict
        All that shaped the training.
    weights, head : str
        The files that were written.
    weights_id : str
        The tuned weights as they stand in feature keys.
    n_trained, n_parameters : int
        Parameters of the network (without the head) that were trained, and all of them.
    n_train, n_val : int
        Images.
    epochs : list of Epoch
    best_epoch : int
        The one that was kept.
    frozen, tuned : EvalResult
        The same test samples evaluated with the frozen probe and with the tuned head.
    comparisons : dict of str to RunComparison
        By metric (``ap``, ``auroc``, ``acc``): tuned minus frozen, on the same resamples of
        photographs.
    results : list of str
        Folders in which both results are kept, in this order.
    notes : list of str
    reused : bool
        The weights were there already, from the same run.
    """

    backbone: str
    method: str
    recipe: dict[str, Any]
    weights: str
    head: str
    weights_id: str
    n_trained: int
    n_parameters: int
    n_train: int
    n_val: int
    epochs: list[Epoch]
    best_epoch: int
    frozen: EvalResult
    tuned: EvalResult
    comparisons: dict[str, RunComparison]
    results: list[str]
    notes: list[str]
    reused: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain dicts, lists and numbers, ready for JSON.

        Returns
        -------
        dict[str, Any]
            The result as plain dicts, lists and numbers, ready for JSON.
        """
        return asdict(self)


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
