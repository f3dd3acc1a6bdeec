"""Two probe runs side by side, with their paired differences."""

from __future__ import annotations

from collections.abc import Mapping

from featcache.evaluate import compare
from featcache.reports.formatting import SIGNIFICANT, Estimate, escape_controls, format_list
from featcache.reports.report import Part
from featcache.reports.tables.base import Cell, Column, Section, Table, TableRow
from featcache.results import Comparison, EvalResult, GeneratorResult, RunComparison, Scores

Run = tuple[EvalResult, Scores]

_SHOWN = {"ap": "AP", "auroc": "AUROC", "acc": "Acc"}


def compared_part(first: Run, second: Run, *, names: tuple[str, str]) -> Part:
    """Return what the comparison of two runs says: the first less the second.

    Parameters
    ----------
    first : tuple of EvalResult and Scores
    second : tuple of EvalResult and Scores
    names : (str, str)
        What the runs are called.

    Returns
    -------
    Part
        What the comparison of two runs says.

    Raises
    ------
    DataError
        If they have no generator in common.
    """
    (a, scores_a), (b, scores_b) = first, second
    every = {**a.generators, **a.controls}
    groups = {name: comparisons.group for name, comparisons in every.items()}
    trained = [*a.train.generators, *b.train.generators]
    comparisons = {
        metric: compare(
            scores_a,
            scores_b,
            groups,
            metric,
            trained=trained,
            baseline=[names[1]],
            thresholds=(a.threshold, b.threshold),
        )
        for metric in _SHOWN
    }
    shown = (escape_controls(names[0]), escape_controls(names[1]))
    return Part(
        anchor="compared",
        heading=f"{shown[0]} against {shown[1]}",
        finding=_finding(comparisons["ap"], shown),
        tables=tuple(_table(comparisons[metric], metric, a, b, shown) for metric in _SHOWN),
        notes=tuple(escape_controls(note) for note in comparisons["ap"].notes),
    )


def _finding(comparison: RunComparison, names: tuple[str, str]) -> str:
    mean = comparison.overall
    sure = "significant" if mean.p_holm < SIGNIFICANT else "not significant"
    better = [
        escape_controls(n) for n, one in comparison.generators.items() if _winner(one) == "first"
    ]
    worse = [
        escape_controls(n) for n, one in comparison.generators.items() if _winner(one) == "second"
    ]
    return (
        f"On the same {len(comparison.generators)} generators the mAP of {names[0]} less that of"
        f" {names[1]} is {100 * mean.difference:+.1f} points [{100 * mean.ci[0]:+.1f},"
        f" {100 * mean.ci[1]:+.1f}], {sure} (p = {mean.p_holm:.3f}, corrected). Significantly"
        f" better on {format_list(better) or 'none'}, worse on {format_list(worse) or 'none'}."
    )


def _table(
    comparison: RunComparison, metric: str, a: EvalResult, b: EvalResult, names: tuple[str, str]
) -> Table:
    columns = (
        Column(key="name", label="Generator"),
        Column(key="first", label=names[0], kind="percent"),
        Column(key="second", label=names[1], kind="percent"),
        Column(key="difference", label="Difference", kind="points", help="paired"),
        Column(key="p", label="p", kind="p", help="corrected by Holm"),
        Column(key="test", label="Test"),
    )
    sections = [Section(rows=_rows(comparison.generators, metric, a.generators, b.generators))]
    if len(comparison.groups) > 1:
        rows = tuple(_mean_row(f"mean of {name}", one) for name, one in comparison.groups.items())
        sections.append(Section(rows=rows))
    means = [_mean_row(f"Mean of {len(comparison.generators)}", comparison.overall, "mean")]
    if comparison.unseen is not None:
        means.append(_mean_row("Mean of the unseen", comparison.unseen, "mean"))
    sections.append(Section(rows=tuple(means)))
    if comparison.controls:
        rows = _rows(comparison.controls, metric, a.controls, b.controls)
        sections.append(Section(heading="Controls, not in the means", rows=rows))
    label = _SHOWN[metric]
    return Table(
        name=f"compared-{metric}",
        caption=(
            f"{label} of each run in percent; their difference in points, paired over the same "
            f"{comparison.n_resamples:,} resamples of the photographs."
        ),
        columns=columns,
        sections=tuple(sections),
        note=f"Bold: significantly better, p < {SIGNIFICANT} after Holm's correction.",
    )


def _rows(
    comparisons: Mapping[str, Comparison],
    metric: str,
    ours: Mapping[str, GeneratorResult],
    theirs: Mapping[str, GeneratorResult],
) -> tuple[TableRow, ...]:
    rows = []
    for name, one in comparisons.items():
        cells: dict[str, Cell] = {
            "first": Estimate(getattr(ours[name], metric)),
            "second": Estimate(getattr(theirs[name], metric)),
        }
        winner = _winner(one)
        bold = frozenset({winner}) if winner else frozenset()
        rows.append(TableRow(cells=cells | _cells(name, one), bold=bold))
    return tuple(rows)


def _mean_row(name: str, comparison: Comparison, role: str = "group-mean") -> TableRow:
    bold = frozenset({"difference"}) if _winner(comparison) else frozenset()
    return TableRow(cells=_cells(name, comparison), role=role, bold=bold)


def _cells(name: str, comparison: Comparison) -> dict[str, Cell]:
    return {
        "name": escape_controls(name),
        "difference": Estimate.of(comparison.difference, comparison.ci),
        "p": comparison.p_holm,
        "test": comparison.test,
    }


def _winner(comparison: Comparison) -> str:
    if not comparison.p_holm < SIGNIFICANT:
        return ""
    return "first" if comparison.difference > 0 else "second"
