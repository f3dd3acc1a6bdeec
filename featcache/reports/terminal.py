"""Any table of a report for the terminal.

The table of results for the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from featcache.reports.formatting import Estimate, escape_controls
from featcache.reports.summarize import (
    GeneratorRow,
    control_rows,
    generator_rows,
    mean_row,
)
from featcache.reports.tables.base import Table, full_text, value_text
from featcache.results import EvalResult


def terminal_table(table: Table, most: int | None = None) -> RichTable:
    """Return a table of a report, ready for ``rich.print``; what is bold there is bold here.

    Parameters
    ----------
    table : Table
    most : int, optional
        A table of more columns is shown without its intervals, which it has no room for.

    Returns
    -------
    RichTable
        A table of a report, ready for ``rich.print``.
    """
    words_of = value_text if most and len(table.columns) > most else full_text
    shown = RichTable(
        title=table.caption,
        title_justify="left",
        title_style="bold",
        caption=table.note or None,
        caption_justify="left",
        box=box.HORIZONTALS,
        show_edge=False,
        header_style="bold",
    )
    for column in table.columns:
        is_text = column.kind == "text"
        shown.add_column(column.label, justify="left" if is_text else "right", overflow="fold")
    for section in table.sections:
        if section.heading:
            shown.add_row(Text(section.heading, "italic"))
        for row in section.rows:
            shown.add_row(
                *(
                    Text(
                        words_of(row.cells.get(column.key), column),
                        "bold" if column.key in row.bold else "",
                    )
                    for column in table.columns
                )
            )
        shown.add_section()
    return shown


_TRAINED_MARK = "*"
_METRICS = ("ap", "auroc", "acc", "r_acc", "f_acc")
# The first layout that fits is taken: which metrics show their interval, and the gap between
# columns.
_LAYOUTS = ((_METRICS, 2), (("ap", "auroc", "acc"), 2), (("ap",), 2), (("ap",), 1))


@dataclass(frozen=True)
class ResultsTable:
    """A rich renderable that shows as many intervals as the terminal has room for."""

    result: EvalResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, its legend and the notes."""
        tables = [_table(self.result, wide, gap) for wide, gap in _LAYOUTS]
        unbounded = options.update(width=10_000)
        fits = (
            t for t in tables if Measurement.get(console, unbounded, t).maximum <= options.max_width
        )
        yield next(fits, tables[-1])
        yield ""
        yield from _legend(self.result)
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


def _table(result: EvalResult, wide: tuple[str, ...], gap: int) -> RichTable:
    # The box puts one blank between columns; the padding makes up the rest.
    padding = (0, gap - 1, 0, 0)
    table = RichTable(box=box.HORIZONTALS, padding=padding, show_edge=False, header_style="bold")
    table.add_column("generator", overflow="fold", min_width=8)
    table.add_column("group", overflow="fold", min_width=6)
    for header in ("n\nreal", "n\nfake"):
        table.add_column(header, justify="right", no_wrap=True)
    for header in ("AP", "AUROC", f"acc\n@{result.threshold:g}", "real\nacc", "fake\nacc"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in generator_rows(result):
        table.add_row(*_cells(row, wide))
    table.add_section()
    mean = mean_row(result)
    head = [Text(f"mean of {mean.n_generators}"), Text(), Text(), Text()]
    known = {"ap": mean.ap, "acc": mean.acc}
    table.add_row(
        *(
            head
            + [_number(known[name], name in wide) if name in known else Text() for name in _METRICS]
        ),
        style="bold",
    )
    if controls := control_rows(result):
        table.add_section()
        for row in controls:
            table.add_row(*_cells(row, wide))
    return table


def _cells(row: GeneratorRow, wide: tuple[str, ...]) -> list[Text]:
    mark = f" {_TRAINED_MARK}" if row.kind == "trained" else ""
    # Text, not str: a generator called "[red]" is a name, no markup.
    head = [
        Text(row.name + mark),
        Text(row.group, "dim"),
        Text(str(row.n_real)),
        Text(str(row.n_fake)),
    ]
    return head + [_number(getattr(row, name), name in wide) for name in _METRICS]


def _number(estimate: Estimate, with_interval: bool) -> Text:
    text = Text(estimate.short)
    if with_interval and estimate.interval:
        text.append(f" {estimate.interval}", "dim not bold")
    return text


def _legend(result: EvalResult) -> Iterable[Text]:
    trained = set(result.train.generators) & set(result.generators)
    first = "Percent, with 95 % intervals (Wilson-t) over source photographs."
    mark = f" {_TRAINED_MARK} in the training set." if trained else ""
    yield Text(first + mark, "dim")
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
