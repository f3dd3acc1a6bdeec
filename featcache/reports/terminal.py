"""Any table of a report for the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from featcache.reports.cells import full_text
from featcache.reports.tables import Table


def terminal_table(table: Table) -> RichTable:
    """Return a table of a report, ready for ``rich.print``; what is bold there is bold here."""
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
                        full_text(row.cells.get(column.key), column),
                        "bold" if column.key in row.bold else "",
                    )
                    for column in table.columns
                )
            )
        shown.add_section()
    return shown
