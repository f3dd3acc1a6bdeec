"""Any table of a report for the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from featcache.reports.cells import full_text, value_text
from featcache.reports.tables import Table


def terminal_table(table: Table, most: int | None = None) -> RichTable:
    """Return a table of a report, ready for ``rich.print``; what is bold there is bold here.

    Parameters
    ----------
    table : Table
    most : int, optional
        A table of more columns is shown without its intervals, which it has no room for.
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
        words = column.kind == "text"
        shown.add_column(column.label, justify="left" if words else "right", overflow="fold")
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
