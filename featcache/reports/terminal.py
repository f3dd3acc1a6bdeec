"""Tables of reports for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from featcache.metrics.intervals import FEW_SOURCES
from featcache.reports.formatting import escape_controls, format_list, format_number
from featcache.reports.summarize import (
    GeneratorRow,
    GroupRow,
    control_rows,
    generator_rows,
    group_rows,
    mean_row,
)
from featcache.reports.tables.base import (
    Cell,
    Column,
    Section,
    Table,
    TableRow,
    interval_text,
    value_text,
)
from featcache.reports.tables.generators import NAME, describe_ci, few_sources, metric_column
from featcache.reports.tables.probe import selection_notes
from featcache.results import EvalResult
from featcache.text_tables import TextCell, TextColumn, TextSection, TextTable


def terminal_table(table: Table, whole: str = "--json") -> TextTable:
    """Return a table of a report, ready for ``rich.print``; what is bold there is bold here.

    Parameters
    ----------
    table : Table
    whole : str
        Where the whole table is, for what a narrow terminal has no room for.

    Returns
    -------
    TextTable
    """
    return TextTable(
        title=table.caption,
        note=table.note,
        columns=tuple(
            TextColumn(
                label=column.label,
                numeric=column.kind != "text",
                optional=column.optional,
                matrix=column.shaded,
            )
            for column in table.columns
        ),
        sections=tuple(
            TextSection(
                heading=section.heading,
                rows=tuple(
                    tuple(_cell(row, column) for column in table.columns) for row in section.rows
                ),
            )
            for section in table.sections
        ),
        whole=whole,
    )


def _cell(row: TableRow, column: Column) -> TextCell:
    cell = row.cells.get(column.key)
    style = "bold" if row.role == "mean" or column.key in row.bold else ""
    return TextCell(value_text(cell, column), interval_text(cell, column), style)


_TRAINED_MARK = "*"
_METRICS = ("ap", "auroc", "acc", "r_acc", "f_acc")


@dataclass(frozen=True)
class ResultsTable:
    """A rich renderable: what was fitted, the table of a probe run, its legend and the notes."""

    result: EvalResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the sentence on the head, the table, its legend, and what to read with care."""
        yield Text(format_fitted(self.result))
        yield ""
        yield terminal_table(_table(self.result), whole="--json, --report F.html")
        yield ""
        yield from _legend(self.result)
        if self.result.diagnosis:
            yield Text("Read with care", "bold")
            for diagnosis in self.result.diagnosis:
                yield _bullet(escape_controls(diagnosis.sentence))
        for note in self.result.notes:
            yield _bullet(escape_controls(note))


def results_table(result: EvalResult) -> ResultsTable:
    """Return the table of a probe run, ready for ``rich.print``.

    Parameters
    ----------
    result : EvalResult

    Returns
    -------
    ResultsTable
        Adapts to the width of the console it is printed on; 80 columns suffice.
    """
    return ResultsTable(result)


def format_fitted(result: EvalResult) -> str:
    """Return what was fitted: features, weights, preset, head, C and how it was chosen, training
    set.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    str
        One sentence.
    """
    head = result.head
    if head == "logistic":
        head = f"logistic ({escape_controls(result.scaling)})"
    train = result.train
    on = ", ".join(map(escape_controls, train.generators)) or "nothing"
    views = "" if train.views == ["clean"] else f", views {', '.join(train.views)}"
    return (
        f"{format_list([_feature(result, i) for i in range(len(result.features))])}; head {head},"
        f"{_chosen(result)} fitted on {on} ({train.n_real:,} real, {train.n_fake:,} fake{views})."
    )


def _feature(result: EvalResult, i: int) -> str:
    """Return a feature with the weights and the preprocessing that made it."""
    name = escape_controls(result.features[i])
    key = result.keys[i] if i < len(result.keys) else {}
    preprocess = key.get("preprocessing")
    known = {
        "weights": str(key.get("weights", "")).rpartition(":")[2][:12],
        "preset": str(preprocess.get("preset", "")) if isinstance(preprocess, dict) else "",
    }
    facts = [f"{label} {escape_controls(text)}" for label, text in known.items() if text]
    return f"{name} ({', '.join(facts)})" if facts else name


def _chosen(result: EvalResult) -> str:
    """Return C and how it was chosen; nothing for heads without C."""
    if result.head not in ("logistic", "univfd-sgd"):
        return ""
    chosen = result.selection
    if chosen is None or len(chosen.path) == 1:
        return f" C = {format_number(result.C)} (given),"
    where = (
        "the validation split"
        if chosen.split_by == "val"
        else f"{chosen.n_folds} {'fold' if chosen.n_folds == 1 else 'folds'} by {chosen.split_by}"
    )
    return (
        f" C = {format_number(result.C)} (of {len(chosen.path)}, by {chosen.metric.upper()} on"
        f" {where}),"
    )


def _table(result: EvalResult) -> Table:
    """Return the rows of all test sets, the means of the families, the mean, and the controls."""
    columns = (
        NAME,
        Column(key="group", label="family", optional=True),
        Column(key="n_real", label="n real", kind="count", optional=True),
        Column(key="n_fake", label="n fake", kind="count", optional=True),
        metric_column("ap"),
        metric_column("auroc"),
        Column(key="acc", label=f"acc @{result.threshold:g}", kind="percent"),
        Column(key="r_acc", label="real acc", kind="percent"),
        Column(key="f_acc", label="fake acc", kind="percent"),
    )
    sections = [Section(rows=tuple(map(_row, generator_rows(result))))]
    families = group_rows(result)
    if len(families) > 1:
        sections.append(Section(rows=tuple(map(_family_row, families))))
    mean = mean_row(result)
    cells: dict[str, Cell] = {"name": f"mean of {mean.n_generators}", "ap": mean.ap}
    overall = TableRow(cells={**cells, "acc": mean.acc}, role="mean")
    if len(families) > 1:
        sections[-1] = Section(rows=(*sections[-1].rows, overall))
    else:
        sections.append(Section(rows=(overall,)))
    if controls := control_rows(result):
        sections.append(Section(rows=tuple(map(_row, controls))))
    return Table(name="results", caption="", columns=columns, sections=tuple(sections))


def _row(row: GeneratorRow) -> TableRow:
    mark = f" {_TRAINED_MARK}" if row.kind == "trained" else ""
    cells: dict[str, Cell] = {
        "name": row.name + mark,
        "group": row.group,
        "n_real": row.n_real,
        "n_fake": row.n_fake,
    }
    return TableRow(cells=cells | {name: getattr(row, name) for name in _METRICS})


def _family_row(row: GroupRow) -> TableRow:
    cells: dict[str, Cell] = {"name": f"mean of {row.name} ({len(row.generators)})"}
    known: dict[str, Cell] = {"ap": row.ap, "auroc": row.auroc, "acc": row.acc}
    return TableRow(cells=cells | known)


def _legend(result: EvalResult) -> Iterator[Text]:
    trained = set(result.train.generators) & set(result.generators)
    mark = f" {_TRAINED_MARK} in the training set." if trained else ""
    yield Text(f"Percent, with {describe_ci(result)}.{mark}", "dim")
    for note in selection_notes(result):
        yield Text(note)
    if few := few_sources(result):
        yield Text(
            f"Fewer than {FEW_SOURCES} source photographs, so the interval is uncertain:"
            f" {', '.join(map(escape_controls, few))}."
        )
    if result.controls:
        yield Text(
            "control: processed photographs that no generator made, not in the mean; "
            "AP above the share of fakes there means the probe sees the processing.",
            "dim",
        )


def _bullet(note: str) -> Padding:
    grid = RichTable.grid(padding=(0, 1))
    grid.add_row("-", Text(note))
    return Padding(grid, (0, 0))
