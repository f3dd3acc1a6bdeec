"""An evaluation as the plain rows and sentences that the reports show; no markup.

Rendering computes nothing: what a report says is decided here, once for the terminal and the page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from featcache.reports.formatting import Estimate, escape_controls
from featcache.reports.headline import probe_headline
from featcache.reports.score_plots import (
    Confusion,
    Curves,
    Histogram,
    Mistakes,
    ReliabilityBin,
    confusion,
    curves,
    find_mistakes,
    histogram,
    reliability,
)
from featcache.reports.tables.base import Table
from featcache.reports.tables.generators import ordered_generators
from featcache.reports.tables.probe import probe_tables
from featcache.results import EvalResult, GeneratorResult, GroupResult, Scores

Kind = Literal["trained", "unseen", "control"]
"""What a test set is to the probe: a generator of its training set, another one, or a control."""


@dataclass(frozen=True, kw_only=True)
class GeneratorRow:
    """One test set of the table.

    ``key`` is its name in the result, ``name`` the same fit for printing; ``chance`` is the AP of
    random scores, the share of fakes.
    """

    key: str
    name: str
    kind: Kind
    group: str
    n_real: int
    n_fake: int
    n_sources: int
    chance: float
    ap: Estimate
    auroc: Estimate
    acc: Estimate
    r_acc: Estimate
    f_acc: Estimate


@dataclass(frozen=True, kw_only=True)
class MeanRow:
    """The unweighted means over all generators, controls left out."""

    n_generators: int
    ap: Estimate
    acc: Estimate


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """The unweighted means over the generators of one family."""

    name: str
    generators: tuple[str, ...]
    ap: Estimate
    auroc: Estimate
    acc: Estimate


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All that a report shows, in the order in which it shows it.

    ``histograms`` and ``mistakes`` follow the order of ``rows`` and then ``controls``; test sets
    without a mistake have no entry in ``mistakes``.
    """

    finding: str
    threshold: float
    tables: tuple[Table, ...]
    rows: tuple[GeneratorRow, ...]
    controls: tuple[GeneratorRow, ...]
    mean: MeanRow
    groups: tuple[GroupRow, ...]
    histograms: tuple[Histogram, ...]
    curves: tuple[Curves, ...]
    confusions: tuple[Confusion, ...]
    reliability: tuple[ReliabilityBin, ...]
    path: tuple[PathPoint, ...]
    path_metric: str
    mistakes: tuple[Mistakes, ...]
    diagnosis: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PathPoint:
    """One C of the grid: its validation score with its standard error; ``chosen`` marks the one
    taken.
    """

    C: float
    score: float
    standard_error: float
    chosen: bool


def summarize(result: EvalResult, scores: Scores) -> Summary:
    """Return what a report on a probe run shows.

    Parameters
    ----------
    result : EvalResult
    scores : Scores
        The scores that ``result`` was computed from.

    Returns
    -------
    Summary
    """
    rows, controls = generator_rows(result), control_rows(result)
    tests = [(row.key, row.kind) for row in (*rows, *controls)]
    keys = [key for key, _ in tests]
    confusions = tuple(confusion(scores, key, result.threshold) for key in keys)
    bins = reliability(scores, list(result.generators))
    return Summary(
        finding=probe_headline(result),
        threshold=result.threshold,
        tables=probe_tables(result, confusions, bins),
        rows=rows,
        controls=controls,
        mean=mean_row(result),
        groups=group_rows(result),
        histograms=tuple(histogram(scores, key) for key in keys),
        curves=tuple(curves(scores, key) for key in keys),
        confusions=confusions,
        reliability=bins,
        path=_path(result),
        path_metric=result.selection.metric if result.selection else "",
        mistakes=find_mistakes(scores, tests, result.threshold),
        diagnosis=tuple(escape_controls(diagnosis.sentence) for diagnosis in result.diagnosis),
        notes=tuple(map(escape_controls, result.notes)),
    )


def generator_rows(result: EvalResult) -> tuple[GeneratorRow, ...]:
    """Return the rows of the generators: those trained on first, then by AP, the best first.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    tuple[GeneratorRow, ...]
        The rows of the generators.
    """
    trained = set(result.train.generators)
    return tuple(
        _row(key, result.generators[key], "trained" if key in trained else "unseen")
        for key in ordered_generators(result.generators, trained)
    )


def control_rows(result: EvalResult) -> tuple[GeneratorRow, ...]:
    """Return the rows of the controls, the highest AP (the most suspicious) first.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    tuple[GeneratorRow, ...]
        The rows of the controls, the highest AP (the most suspicious) first.
    """
    return tuple(
        _row(key, result.controls[key], "control")
        for key in ordered_generators(result.controls, ())
    )


def mean_row(result: EvalResult) -> MeanRow:
    """Return the means over all generators as the result has them.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    MeanRow
        The means over all generators as the result has them.
    """
    return MeanRow(
        n_generators=len(result.generators),
        ap=Estimate.of(result.mAP, result.mAP_ci),
        acc=Estimate.of(result.mean_acc, result.mean_acc_ci),
    )


def group_rows(result: EvalResult) -> tuple[GroupRow, ...]:
    """Return the means of the families of generators, as the result has them.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    tuple[GroupRow, ...]
        The means, with their intervals where the result has them.
    """
    return tuple(_group_row(name, group) for name, group in result.groups.items())


def _group_row(name: str, group: GroupResult) -> GroupRow:
    def mean(metric: str, value: float) -> Estimate:
        known = group.means.get(metric)
        return Estimate.of(value, known.ci) if known else Estimate(value)

    return GroupRow(
        name=escape_controls(name),
        generators=tuple(map(escape_controls, group.generators)),
        ap=mean("ap", group.mAP),
        auroc=mean("auroc", group.mean_auroc),
        acc=mean("acc", group.mean_acc),
    )


def _row(key: str, metrics: GeneratorResult, kind: Kind) -> GeneratorRow:
    n = metrics.n_real + metrics.n_fake
    return GeneratorRow(
        key=key,
        name=escape_controls(key),
        kind=kind,
        group=escape_controls(metrics.group),
        n_real=metrics.n_real,
        n_fake=metrics.n_fake,
        n_sources=metrics.n_sources,
        chance=metrics.n_fake / n if n else math.nan,
        ap=Estimate.of(metrics.ap, metrics.ap_ci),
        auroc=Estimate.of(metrics.auroc, metrics.auroc_ci),
        acc=Estimate.of(metrics.acc, metrics.acc_ci),
        r_acc=Estimate.of(metrics.r_acc, metrics.r_acc_ci),
        f_acc=Estimate.of(metrics.f_acc, metrics.f_acc_ci),
    )


def _path(result: EvalResult) -> tuple[PathPoint, ...]:
    if result.selection is None:
        return ()
    return tuple(
        PathPoint(
            C=point.C,
            score=point.score,
            standard_error=point.standard_error,
            chosen=point.C == result.selection.C,
        )
        for point in result.selection.path
    )
