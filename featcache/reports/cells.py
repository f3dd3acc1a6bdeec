"""How a cell reads: the same words in every format."""

from __future__ import annotations

import math

from featcache.reports.tables import Cell, Column
from featcache.reports.words import UNKNOWN, Estimate


def value_text(cell: Cell, column: Column) -> str:
    """Return the value of a cell in words, without its interval; empty for no cell.

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
    """Return the interval of a cell in brackets; empty where it has none."""
    if not isinstance(cell, Estimate) or not cell.interval:
        return ""
    return f"[{_number(cell.low, column.kind)}, {_number(cell.high, column.kind)}]"


def full_text(cell: Cell, column: Column) -> str:
    """Return value and interval: ``"97.3 [94.1, 99.6]"``."""
    return f"{value_text(cell, column)} {interval_text(cell, column)}".rstrip()


def sort_value(cell: Cell) -> float | None:
    """Return the number that a cell is sorted by; None for a text."""
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
    return f"{value:.3g}"
