"""Tables as data: what a report shows in rows, the same for every format.

A cell is a text, a count, a plain number or an :class:`~featcache.reports.formatting.Estimate`; how
it looks is the business of the format that shows it.

How a cell reads: the same words in every format.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from featcache.reports.formatting import UNKNOWN, Estimate, format_number

if TYPE_CHECKING:
    from featcache.reports.summarize import Summary
    from featcache.results import EfficiencyPoint

Cell = str | int | float | Estimate | None
Kind = Literal["text", "count", "percent", "points", "number", "p"]
"""``percent`` is a fraction shown in percent, ``points`` a difference of fractions with its
sign.
"""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its key in the rows, its heading, how its cells read, and what it means.

    ``shaded`` columns are those of a heat map; ``optional`` ones are left out first where a
    terminal is too narrow.
    """

    key: str
    label: str
    kind: Kind = "text"
    help: str = ""
    shaded: bool = False
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row: its cells by column, and the columns in which it is significantly the best.

    ``role`` says what the row is: ``trained``, ``unseen``, ``control``, ``mean``, …
    """

    cells: dict[str, Cell]
    role: str = ""
    bold: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows that belong together, under a heading (empty for none)."""

    heading: str = ""
    rows: tuple[TableRow, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A named table; the first column names the row."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    note: str = ""

    @property
    def rows(self) -> Iterator[TableRow]:
        """All rows, section by section."""
        for section in self.sections:
            yield from section.rows

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain dicts and lists, every digit kept.

        Returns
        -------
        dict[str, Any]
            The table as plain dicts and lists, every digit kept.
        """
        return {
            "name": self.name,
            "caption": self.caption,
            "note": self.note,
            "columns": [
                {"key": c.key, "label": c.label, "kind": c.kind, "help": c.help}
                for c in self.columns
            ],
            "rows": [
                {"section": section.heading, "role": row.role, "bold": sorted(row.bold)}
                | {
                    key: (
                        {"value": cell.value, "low": cell.low, "high": cell.high}
                        if isinstance(cell, Estimate)
                        else cell
                    )
                    for key, cell in row.cells.items()
                }
                for section in self.sections
                for row in section.rows
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one result says.

    ``anchor`` starts every id of the part on the page; ``summary`` is None for all but probe runs,
    ``curve`` empty for all but data-efficiency curves.
    """

    anchor: str
    heading: str
    finding: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    diagnosis: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    keys: tuple[str, ...] = ()
    summary: Summary | None = None
    curve: tuple[EfficiencyPoint, ...] = ()

    def table(self, name: str) -> Table | None:
        """Return the table of that name, or None.

        Parameters
        ----------
        name : str
            Name to look up or to show.

        Returns
        -------
        Table | None
            The table of that name, or None.
        """
        return next((table for table in self.tables if table.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A picture with its numbers that another command made: a map, attention, spectra.

    Parameters
    ----------
    title, text : str
        Heading, and what the reader should know to read it.
    pictures : tuple of (str, bytes)
        What each shows, and its PNG.
    tables : tuple of Table
    """

    title: str
    text: str
    pictures: tuple[tuple[str, bytes], ...] = ()
    tables: tuple[Table, ...] = field(default=())


def value_text(cell: Cell, column: Column) -> str:
    """Return the value of a cell in words, without its interval; empty for no cell.

    Parameters
    ----------
    cell : Cell
        Cell of a table.
    column : Column
        Column of the table.

    Returns
    -------
    str
        The value of a cell in words, without its interval.

    Examples
    --------
    >>> value_text(Estimate(0.9734), Column(key="ap", label="AP", kind="percent"))
    '97.3'
    >>> value_text(0.0004, Column(key="p", label="p", kind="p"))
    '<0.001'
    """
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    number = sort_value(cell)
    if number is None or not math.isfinite(number):
        return UNKNOWN
    return _number(number, column.kind)


def interval_text(cell: Cell, column: Column) -> str:
    """Return the interval of a cell in brackets; empty where it has none.

    Parameters
    ----------
    cell : Cell
        Cell of a table.
    column : Column
        Column of the table.

    Returns
    -------
    str
        The interval of a cell in brackets.
    """
    if not isinstance(cell, Estimate) or not cell.interval:
        return ""
    return f"[{_number(cell.low, column.kind)}, {_number(cell.high, column.kind)}]"


def full_text(cell: Cell, column: Column) -> str:
    """Return value and interval: ``"97.3 [94.1, 99.6]"``.

    Parameters
    ----------
    cell : Cell
        Cell of a table.
    column : Column
        Column of the table.

    Returns
    -------
    str
        Value and interval.
    """
    return f"{value_text(cell, column)} {interval_text(cell, column)}".rstrip()


def sort_value(cell: Cell) -> float | None:
    """Return the number that a cell is sorted by; None for a text.

    Parameters
    ----------
    cell : Cell
        Cell of a table.

    Returns
    -------
    float | None
        The number that a cell is sorted by.
    """
    if cell is None or isinstance(cell, str):
        return None
    return cell.value if isinstance(cell, Estimate) else float(cell)


def _number(value: float, kind: str) -> str:
    if kind == "percent":
        return f"{100 * value:.1f}"
    if kind == "points":
        return f"{100 * value:+.1f}"
    if kind == "count":
        return f"{value:,.0f}"
    if kind == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    return format_number(value)
