"""Probe runs side by side: two with their paired differences, several in the table of a paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from featcache.evaluate.comparison import Run, compare_results
from featcache.metrics import METRICS, rank_tests
from featcache.reports.formatting import SIGNIFICANT, Estimate, escape_controls, format_list
from featcache.reports.tables.base import Cell, Column, Part, Section, Table, TableRow
from featcache.results import Comparison, EvalResult, GeneratorResult, RunComparison

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
    a, b = first[0], second[0]
    comparisons = {
        metric: compare_results(first, second, metric, baseline=names[1]) for metric in _SHOWN
    }
    shown = (escape_controls(names[0]), escape_controls(names[1]))
    return Part(
        anchor="compared",
        heading=f"{shown[0]} against {shown[1]}",
        finding=_finding(comparisons["ap"], shown),
        tables=tuple(compared_table(comparisons[metric], metric, a, b, shown) for metric in _SHOWN),
        notes=tuple(escape_controls(note) for note in comparisons["ap"].notes),
    )


def runs_table(
    runs: Mapping[str, Run],
    comparisons: Mapping[tuple[str, str], RunComparison],
    metric: str = "ap",
) -> Table:
    """Return the table of a paper: runs as rows, generators, means of families and the mean.

    Parameters
    ----------
    runs : mapping of str to (EvalResult, Scores)
    comparisons : mapping
        What :func:`featcache.evaluate.comparison.compare_runs` returned for them.
    metric : str
        Name of the metric.

    Returns
    -------
    Table
        Only generators that all runs were tested on; controls are left out.
    """
    results = [result for result, _ in runs.values()]
    names = [n for n in results[0].generators if all(n in r.generators for r in results)]
    families = {n: results[0].generators[n].group for n in names}
    groups = [g for g in dict.fromkeys(families.values()) if len(set(families.values())) > 1]
    members = {f"group:{g}": [n for n in names if families[n] == g] for g in groups}
    members["mean"] = names
    label = METRICS[metric].label
    columns = (
        Column(key="name", label="Features"),
        *(Column(key=f"generator:{n}", label=escape_controls(n), kind="percent") for n in names),
        *(
            Column(key=f"group:{g}", label=f"mean of {escape_controls(g)}", kind="percent")
            for g in groups
        ),
        Column(key="mean", label=f"mean of {len(names)}", kind="percent"),
    )

    def better(first: str, second: str, key: str) -> bool:
        # Whether the first is significantly better in a column.
        straight = (first, second) in comparisons
        one = comparisons[(first, second) if straight else (second, first)]
        kind, _, of = key.partition(":")
        tested = {"generator": one.generators, "group": one.groups}.get(kind, {"": one.overall})
        if of not in tested:
            return False
        winner = _winner(tested[of])
        return winner == ("first" if straight else "second")

    rows = []
    for name, (result, _) in runs.items():
        values = {n: result.generators[n].value(metric) for n in names}
        cells: dict[str, Cell] = {"name": escape_controls(name)}
        cells |= {f"generator:{n}": Estimate(value) for n, value in values.items()}
        cells |= {
            key: Estimate(float(np.mean([values[n] for n in of]))) for key, of in members.items()
        }
        rivals = [rival for rival in runs if rival != name]
        bold = {key for key in cells if key != "name"
                and all(better(name, rival, key) for rival in rivals)}  # fmt: skip
        rows.append(TableRow(cells=cells, bold=frozenset(bold)))
    n_pairs = len(comparisons)
    return Table(
        name=f"runs-{metric}",
        caption=f"{label} in percent, by generator; means are unweighted.",
        columns=columns,
        sections=(Section(rows=tuple(rows)),),
        note=(
            f"Bold: significantly better than every other row, p < {SIGNIFICANT} in paired tests "
            f"after Holm's correction for all columns and {n_pairs} "
            f"{'pair' if n_pairs == 1 else 'pairs'}."
        ),
    )


def across_generators(runs: Mapping[str, Run], metric: str = "ap") -> dict[str, Any]:
    """Test whether runs differ over generators, each of which is one observation.

    Parameters
    ----------
    runs : mapping of str to (EvalResult, Scores)
        At least two runs by name.
    metric : str
        Name of the metric.

    Returns
    -------
    dict of str to Any
        Fields of :class:`featcache.metrics.RankTests`, with the runs' names; ``sentence`` says it.
    """
    results = [result for result, _ in runs.values()]
    shared = [n for n in results[0].generators if all(n in r.generators for r in results)]
    values = np.array([[r.generators[n].value(metric) for r in results] for n in shared])
    names = list(runs)
    tests = rank_tests(values, higher_is_better=METRICS[metric].higher_is_better)
    by_pair = {
        "wilcoxon_p": {(names[i], names[j]): p for (i, j), p in tests.wilcoxon_p.items()},
        "nemenyi_p": {(names[i], names[j]): p for (i, j), p in tests.nemenyi_p.items()},
    }
    said = [f"Friedman p = {tests.friedman_p:.3g}"] if len(runs) > 2 else []
    said += [f"{a} and {b}: Wilcoxon p = {p:.3g}" + (
                f", Nemenyi p = {by_pair['nemenyi_p'][a, b]:.3g}" if by_pair["nemenyi_p"] else "")
             for (a, b), p in by_pair["wilcoxon_p"].items()]  # fmt: skip
    return {
        "n_generators": tests.n_generators,
        "mean_ranks": dict(zip(names, tests.mean_ranks, strict=True)),
        "friedman_p": tests.friedman_p,
        **{
            kind: [{"first": a, "second": b, "p": p} for (a, b), p in table.items()]
            for kind, table in by_pair.items()
        },
        "sentence": (
            f"Over the {len(shared)} generators, each as one observation: {'; '.join(said)}"
            f"{' (Wilcoxon after Holm)' if len(runs) > 2 else ''}."
        ),
    }


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


def run_notes(
    runs: Mapping[str, Run], comparisons: Mapping[tuple[str, str], RunComparison]
) -> list[str]:
    """Return what a reader of a comparison must know: what else differs between the runs.

    Parameters
    ----------
    runs : mapping of str to (EvalResult, Scores)
    comparisons : mapping
        What :func:`featcache.evaluate.comparison.compare_runs` returned for them.

    Returns
    -------
    list of str
        One sentence each; empty where the runs differ in their features alone.
    """
    notes = []
    questions: dict[str, dict[str, str]] = {
        "training sets": {n: ", ".join(r.train.generators) for n, (r, _) in runs.items()},
        "heads": {n: r.head for n, (r, _) in runs.items()},
        "training views": {n: ", ".join(r.train.views) for n, (r, _) in runs.items()},
    }
    for what, answers in questions.items():
        if len(set(answers.values())) > 1:
            listed = "; ".join(f"{name}: {answer or 'none'}" for name, answer in answers.items())
            notes.append(f"The {what} differ: {listed}.")
    for pair, comparison in comparisons.items():
        notes += [f"{pair[0]} and {pair[1]}: {note}" for note in comparison.notes]
    return notes


def compared_table(
    comparison: RunComparison, metric: str, a: EvalResult, b: EvalResult, names: tuple[str, str]
) -> Table:
    """Return the table of two runs with their paired differences.

    Parameters
    ----------
    comparison : RunComparison
        First less second.
    metric : str
        Name of the metric.
    a : EvalResult
        The first run.
    b : EvalResult
        The second run.
    names : (str, str)
        What they are called.

    Returns
    -------
    Table
    """
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
    label = METRICS[metric].label
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
            "first": Estimate(ours[name].value(metric)),
            "second": Estimate(theirs[name].value(metric)),
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
