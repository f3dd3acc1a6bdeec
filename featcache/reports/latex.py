"""Tables for papers: booktabs, one file per table, bold only where a difference is significant."""

from __future__ import annotations

from collections.abc import Sequence

from featcache.reports.cells import interval_text, value_text
from featcache.reports.tables import Column, Table, TableRow

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}

# Debian's texlive-latex-base has no booktabs: plain rules stand in for it.
_PREAMBLE = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{graphicx}
\IfFileExists{booktabs.sty}{\usepackage{booktabs}}{%
  \let\toprule\hline \let\midrule\hline \let\bottomrule\hline}
"""


def latex_table(name: str, table: Table) -> str:
    """Return a table as a ``table`` environment to ``\\input``; needs booktabs and graphicx.

    It is as wide as it wants to be, and is scaled down where the line is too short for it.
    """
    import pandas as pd

    columns = [column for column in table.columns if column.kind != "text" or _used(table, column)]
    rows = [[_cell(row, column) for column in columns] for row in table.rows]
    data = pd.DataFrame(rows, columns=[escape(column.label) for column in columns])
    layout = "".join("l" if column.kind == "text" else "r" for column in columns)
    body: str = data.to_latex(index=False, escape=False, column_format=layout)
    note = rf"\\[2pt] {{\footnotesize {escape(table.note)}}}" if table.note else ""
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(table.caption)}}}",
            rf"\label{{tab:{name}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            _ruled(body, table).rstrip() + "}",
            note,
            r"\end{table}",
            "",
        ]
    )


def latex_document(title: str, names: Sequence[str]) -> str:
    """Return a document that shows the tables of these names, to compile as it is."""
    inputs = "\n".join(rf"\input{{{name}.tex}}" "\n\\clearpage" for name in names)
    return f"{_PREAMBLE}\\begin{{document}}\n\\section*{{\\raggedright {escape(title)}}}\n{inputs}\n\\end{{document}}\n"


def escape(text: str) -> str:
    """Return a text that LaTeX shows as it is; what its fonts lack is named by its code point.

    Examples
    --------
    >>> escape("a_b 100%")
    'a\\\\_b 100\\\\%'
    """
    return "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character == "…":
        return r"\ldots{}"
    return character if ord(character) < 0x180 else f"[U+{ord(character):04X}]"


def _used(table: Table, column: Column) -> bool:
    return any(row.cells.get(column.key) for row in table.rows)


def _cell(row: TableRow, column: Column) -> str:
    cell = row.cells.get(column.key)
    text, interval = escape(value_text(cell, column)), interval_text(cell, column)
    if column.key in row.bold and text:
        text = rf"\textbf{{{text}}}"
    return rf"{text} {{\scriptsize {escape(interval)}}}" if interval else text


def _ruled(body: str, table: Table) -> str:
    """Put a rule between the sections of pandas' table."""
    lines, place, starts = [], 0, _section_starts(table)
    inside = False
    for line in body.splitlines():
        if inside and not line.startswith("\\bottomrule"):
            if place in starts:
                lines.append(r"\midrule")
            place += 1
        inside = inside or line.startswith("\\midrule")
        lines.append(line)
    return "\n".join(lines)


def _section_starts(table: Table) -> set[int]:
    starts, place = set(), 0
    for section in table.sections[:-1]:
        place += len(section.rows)
        starts.add(place)
    return starts
