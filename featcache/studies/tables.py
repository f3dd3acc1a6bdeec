"""The tables of a study's report, as data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from featcache.reports.formatting import SIGNIFICANT, Estimate, escape_controls, format_list
from featcache.reports.report import Report, probe_part
from featcache.reports.tables.base import (
    Cell,
    Column,
    Exhibit,
    Kind,
    Part,
    Section,
    Table,
    TableRow,
)
from featcache.results import EvalResult, Scores
from featcache.studies.result import Reference, StudyResult

MOST_SETS = 60
"""More test sets over all runs than this have tables only: each has three figures."""


def study_report(
    result: StudyResult, scores: dict[str, Scores], command: str, exhibits: Sequence[Exhibit] = ()
) -> Report:
    """Return the whole report: the study's own part first, then one part for each run.

    Parameters
    ----------
    result : StudyResult
    scores : dict of str to Scores
        By name of the run.
    command : str
        The command line that repeats the study.
    exhibits : sequence of Exhibit
        Maps of the features.

    Returns
    -------
    Report
        The whole report.
    """
    n_sets = sum(len(run.result.generators | run.result.controls) for run in result.runs)
    parts = [study_part(result)]
    for number, run in enumerate(result.runs, 1):
        part = probe_part(run.result, scores[run.name], anchor=f"run{number}")
        parts.append(part if n_sets <= MOST_SETS else _without_figures(part, run.result.digest))
    return Report(
        title=escape_controls(result.title),
        command=command,
        parts=tuple(parts),
        exhibits=tuple(exhibits),
    )


def _without_figures(part: Part, digest: str) -> Part:
    note = f"Too many test sets for figures here; of this run alone: featcache report {digest[:8]}"
    return replace(part, summary=None, notes=(*part.notes, note))


def study_part(result: StudyResult) -> Part:
    """Return the part that answers the study's question.

    Parameters
    ----------
    result : StudyResult
        Result of a study.

    Returns
    -------
    Part
        The part that answers the study's question.
    """
    return Part(
        anchor="study",
        heading=escape_controls(result.asks),
        finding=result.answer,
        tables=tuple(_tables(result)),
        notes=tuple(map(escape_controls, result.notes)),
    )


def _tables(result: StudyResult) -> Iterable[Table]:
    yield runs_table(result)
    if any(run.result.views for run in result.runs):
        yield views_table(result)
    if result.differences:
        yield differences_table(result)
    for number, reference in enumerate(result.references, 1):
        yield reference_table(reference, number)
    if result.mixtures:
        yield mixture_table(result)
    if result.boundary:
        yield boundary_table(result)


def runs_table(result: StudyResult) -> Table:
    """Return every run with its means, those over unseen generators beside them.

    Parameters
    ----------
    result : StudyResult
        Result of a study.

    Returns
    -------
    Table
        Every run with its means, those over unseen generators beside them.
    """
    groups = sorted({group for run in result.runs for group in run.result.groups})
    trained = {tuple(run.result.train.generators) for run in result.runs}
    alike = (
        f", trained on {format_list([escape_controls(n) for n in min(trained)])}"
        if len(trained) == 1
        else ""
    )
    columns = (
        Column(key="run", label="Run"),
        *([Column(key="train", label="Trained on")] if len(trained) > 1 else []),
        Column(key="D", label="D", kind="count", optional=True),
        Column(key="C", label="C", kind="number"),
        Column(
            key="mAP", label="mAP", kind="percent", help="mean AP over all generators", shaded=True
        ),
        Column(key="unseen", label="mAP unseen", kind="percent", help="without those trained on"),
        *(
            Column(key=f"g:{name}", label=f"mAP {escape_controls(name)}", kind="percent")
            for name in groups
        ),
        Column(key="acc", label="mean acc", kind="percent", help="at the run's threshold"),
    )
    return Table(
        name="runs",
        caption=f"Every run of the study{alike}; 95 % intervals resample photographs",
        columns=columns,
        sections=(Section(rows=tuple(_run_row(run.name, run.result) for run in result.runs)),),
    )


def _run_row(name: str, result: EvalResult) -> TableRow:
    unseen = result.unseen.means.get("ap") if result.unseen else None
    cells: dict[str, Cell] = {
        "run": escape_controls(name),
        "train": escape_controls(", ".join(result.train.generators)),
        "D": result.n_features,
        "C": result.C,
        "mAP": Estimate.of(result.mAP, result.mAP_ci),
        "unseen": Estimate.of(unseen.value, unseen.ci) if unseen else None,
        "acc": Estimate.of(result.mean_acc, result.mean_acc_ci),
    }
    for group, means in result.groups.items():
        ap = means.means.get("ap")
        cells[f"g:{group}"] = Estimate.of(ap.value, ap.ci) if ap else Estimate(means.mAP)
    return TableRow(cells=cells)


def views_table(result: StudyResult) -> Table:
    """Return the mean AP of every run on every view that was tested.

    Parameters
    ----------
    result : StudyResult
        Result of a study.

    Returns
    -------
    Table
        The mean AP of every run on every view that was tested.
    """
    runs = [run for run in result.runs if run.result.views]
    names = list(dict.fromkeys(name for run in runs for name in run.result.views))
    columns = (
        Column(key="run", label="Run"),
        *(
            Column(key=f"v:{n}", label=escape_controls(n), kind="percent", shaded=True)
            for n in names
        ),
    )
    rows = []
    for run in runs:
        views = run.result.views.values()
        cells: dict[str, Cell] = {f"v:{v.view}": Estimate.of(v.mAP, v.mAP_ci) for v in views}
        rows.append(TableRow(cells={"run": escape_controls(run.name), **cells}))
    return Table(
        name="views",
        caption="mAP by view of the test images",
        columns=columns,
        sections=(Section(rows=tuple(rows)),),
    )


def differences_table(result: StudyResult) -> Table:
    """Return every paired difference, bold where it is significant after Holm's correction.

    Parameters
    ----------
    result : StudyResult
        Result of a study.

    Returns
    -------
    Table
        Every paired difference, bold where it is significant after Holm's correction.
    """
    columns = (
        Column(key="run", label="Run"),
        Column(key="over", label="Over"),
        Column(key="metric", label="Metric"),
        Column(key="value", label="Difference", kind="points"),
        Column(key="p", label="p", kind="p", help="two-sided, before correction"),
        Column(
            key="p_holm", label="p (Holm)", kind="p", help="corrected for all rows of this table"
        ),
    )
    rows = tuple(
        TableRow(
            cells={
                "run": escape_controls(d.run),
                "over": escape_controls(d.over),
                "metric": d.metric,
                "value": Estimate.of(d.value, d.ci),
                "p": d.p,
                "p_holm": d.p_holm,
            },
            bold=frozenset({"value"} if d.p_holm < SIGNIFICANT else ()),
        )
        for d in result.differences
    )
    return Table(
        name="differences",
        caption=(
            f"Differences to {escape_controls(result.differences[0].baseline)}, over the same"
            " resamples"
        ),
        columns=columns,
        sections=(Section(rows=rows),),
        note="Bold where the difference is significant at 5 % after Holm's correction.",
    )


def reference_table(reference: Reference, number: int) -> Table:
    """Return published numbers beside one's own.

    Parameters
    ----------
    reference : Reference
        Published numbers beside those of the run.
    number : int
        Number in the order.

    Returns
    -------
    Table
        Published numbers beside one's own.
    """
    kind: Kind = "points" if reference.published.metric == "difference" else "percent"
    columns = (
        Column(key="name", label="Of"),
        Column(key="published", label="Published", kind=kind),
        Column(key="own", label="Yours", kind=kind),
        Column(key="difference", label="Yours - published", kind="points"),
        Column(key="inside", label="Published lies in your interval"),
    )
    rows = tuple(
        TableRow(
            cells={
                "name": escape_controls(one.name),
                "published": one.published,
                "own": Estimate(one.own, one.low, one.high),
                "difference": one.difference,
                "inside": "yes" if one.inside else "no",
            }
        )
        for one in reference.comparisons
    )
    return Table(
        name=f"published{number}",
        caption=f"{reference.published.title}, beside {escape_controls(reference.run)}",
        columns=columns,
        sections=(Section(rows=rows),),
        note=f"Source: {reference.published.source} ({reference.published.status}).",
    )


def mixture_table(result: StudyResult) -> Table:
    """Return mean AP by run and share of fakes.

    Parameters
    ----------
    result : StudyResult
        Result of a study.

    Returns
    -------
    Table
        Mean AP by run and share of fakes.
    """
    shares = sorted({mixture.share for mixture in result.mixtures})
    columns = (
        Column(key="run", label="Run"),
        *(
            Column(key=f"{s:g}", label=f"{s:.0%} fakes", kind="percent", shaded=True)
            for s in shares
        ),
    )
    rows = []
    for name in dict.fromkeys(mixture.run for mixture in result.mixtures):
        mixtures = [m for m in result.mixtures if m.run == name]
        cells: dict[str, Cell] = {f"{m.share:g}": Estimate.of(m.ap, m.ci) for m in mixtures}
        rows.append(TableRow(cells={"run": escape_controls(name), **cells}))
    chance: dict[str, Cell] = {f"{s:g}": s for s in shares}
    rows.append(TableRow(cells={"run": "chance", **chance}, role="mean"))
    return Table(
        name="mixtures",
        caption="AP, mean over generators, by the share of fakes among the images",
        columns=columns,
        sections=(Section(rows=tuple(rows)),),
        note="The same scores, weighted to each share: no image is drawn anew.",
    )


def boundary_table(result: StudyResult) -> Table:
    """Return AP by artefact, strength and run.

    Parameters
    ----------
    result : StudyResult
        Result of a study.

    Returns
    -------
    Table
        AP by artefact, strength and run.
    """
    runs = list(dict.fromkeys(point.run for point in result.boundary))
    columns = (
        Column(key="strength", label="Strength", kind="number"),
        *(Column(key=run, label=escape_controls(run), kind="percent", shaded=True) for run in runs),
    )
    sections = []
    for artefact in sorted({point.artefact for point in result.boundary}):
        points = [point for point in result.boundary if point.artefact == artefact]
        rows = []
        for strength in sorted({point.strength for point in points}):
            here = [point for point in points if point.strength == strength]
            cells: dict[str, Cell] = {point.run: Estimate.of(point.ap, point.ci) for point in here}
            seen = frozenset(point.run for point in here if point.seen)
            rows.append(TableRow(cells={"strength": strength, **cells}, bold=seen))
        sections.append(Section(heading=escape_controls(artefact), rows=tuple(rows)))
    return Table(
        name="boundary",
        caption="AP by artefact and strength",
        columns=columns,
        sections=tuple(sections),
        note="Bold where the interval lies above chance.",
    )
