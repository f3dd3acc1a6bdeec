"""A report's tables as Markdown, CSV, LaTeX and JSON; the numbers are those of the page.

Tables for papers: booktabs, one file per table, bold only where a difference is significant.

The file of scores: one row per test sample and generator, from which every metric can be redone.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.errors import SettingsError
from featcache.files import write_atomic
from featcache.reports.formatting import Estimate, require_viz
from featcache.reports.report import Report
from featcache.reports.tables.base import (
    Column,
    Table,
    TableRow,
    full_text,
    interval_text,
    value_text,
)
from featcache.results import Scores

if TYPE_CHECKING:
    import pandas as pd

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

    The table is scaled down to the width of the line where it is wider.

    Parameters
    ----------
    name : str
        Label of the table in LaTeX.
    table : Table
        Table as plain data.

    Returns
    -------
    str
        LaTeX source.
    """
    import pandas as pd

    columns = [
        column
        for column in table.columns
        if column.kind != "text" or any(row.cells.get(column.key) for row in table.rows)
    ]
    rows = [[_cell(row, column) for column in columns] for row in table.rows]
    data = pd.DataFrame(rows, columns=[escape(column.label) for column in columns])
    layout = "".join("l" if column.kind == "text" else "r" for column in columns)
    body: str = data.to_latex(index=False, escape=False, column_format=layout)
    note = rf"\\[2pt] {{\footnotesize {escape(table.note)}}}" if table.note else ""
    # Put a rule between the sections of pandas' table.
    lines, place, starts = [], 0, _section_starts(table)
    inside = False
    for line in body.splitlines():
        if inside and not line.startswith("\\bottomrule"):
            if place in starts:
                lines.append(r"\midrule")
            place += 1
        inside = inside or line.startswith("\\midrule")
        lines.append(line)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(table.caption)}}}",
            rf"\label{{tab:{name}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            "\n".join(lines).rstrip() + "}",
            note,
            r"\end{table}",
            "",
        ]
    )


def latex_document(title: str, names: Sequence[str]) -> str:
    """Return a document that shows the tables of these names, to compile as it is.

    Parameters
    ----------
    title : str
        Title of the document.
    names : Sequence[str]
        Names, in order.

    Returns
    -------
    str
        A document that shows the tables of these names, to compile as it is.
    """
    inputs = "\n".join(rf"\input{{{name}.tex}}" "\n\\clearpage" for name in names)
    return (
        f"{_PREAMBLE}\\begin{{document}}\n\\section*{{\\raggedright"
        f" {escape(title)}}}\n{inputs}\n\\end{{document}}\n"
    )


def escape(text: str) -> str:
    """Escape a text for LaTeX; characters that its fonts lack become their code point.

    Parameters
    ----------
    text : str
        Text to show.

    Returns
    -------
    str
        Text without special characters.

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


def _cell(row: TableRow, column: Column) -> str:
    cell = row.cells.get(column.key)
    text, interval = escape(value_text(cell, column)), interval_text(cell, column)
    if column.key in row.bold and text:
        text = rf"\textbf{{{text}}}"
    return rf"{text} {{\scriptsize {escape(interval)}}}" if interval else text


def _section_starts(table: Table) -> set[int]:
    starts, place = set(), 0
    for section in table.sections[:-1]:
        place += len(section.rows)
        starts.add(place)
    return starts


FORMATS = ("html", "md", "csv", "json", "latex", "svg")


def write_tables(report: Report, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write the tables of a report.

    Parameters
    ----------
    report : Report
    folder : Path
        Gets ``report.md``, ``report.json``, and a file per table in ``csv/`` and ``latex/``.
    formats : sequence of {"md", "csv", "json", "latex"}

    Returns
    -------
    list of Path
        The files, in the order in which they were written.

    Raises
    ------
    SettingsError
        If there is no such format.
    MissingExtraError
        If pandas is not installed.
    """
    writers: dict[str, Callable[[Report], dict[str, str]]] = {
        "md": lambda report: {"report.md": markdown(report)},
        "json": lambda report: {"report.json": to_json(report)},
        "csv": _csv_files,
        "latex": _latex_files,
    }
    if unknown := [name for name in formats if name not in writers]:
        raise SettingsError(
            f"There is no report format {unknown[0]!r}. Known: {', '.join(FORMATS)}."
        )
    require_viz()
    written = []
    for name in formats:
        for file, text in writers[name](report).items():
            write_atomic(folder / file, text.encode("utf-8", "backslashreplace"))
            written.append(folder / file)
    return written


def to_json(report: Report) -> str:
    """Return everything that the report shows as one JSON document, every digit kept.

    Parameters
    ----------
    report : Report
        Report as plain data.

    Returns
    -------
    str
        Everything that the report shows as one JSON document, every digit kept.
    """
    document = {
        "format": "featcache-report-1",
        "title": report.title,
        "command": report.command,
        "parts": [
            {
                "heading": part.heading,
                "finding": part.finding,
                "diagnosis": list(part.diagnosis),
                "notes": list(part.notes),
                "tables": [table.to_dict() for table in part.tables],
                "curves": [asdict(c) for c in part.summary.curves] if part.summary else [],
                "histograms": [asdict(h) for h in part.summary.histograms] if part.summary else [],
                "mistakes": [asdict(m) for m in part.summary.mistakes] if part.summary else [],
                "facts": dict(part.facts),
                "keys": list(part.keys),
            }
            for part in report.parts
        ],
    }
    return json.dumps(json_ready(document), indent=1, allow_nan=False, ensure_ascii=True) + "\n"


def markdown(report: Report) -> str:
    """Return the report's sentences and tables as Markdown.

    Parameters
    ----------
    report : Report
        Report as plain data.

    Returns
    -------
    str
        The report's sentences and tables as Markdown.
    """
    lines = [f"# {report.title}", ""]
    for part in report.parts:
        lines += [f"## {part.heading}", "", part.finding, ""]
        lines += [*(f"- {note}" for note in (*part.diagnosis, *part.notes)), ""]
        for table in part.tables:
            import pandas as pd

            rows = [[_markdown_cell(row, column) for column in table.columns] for row in table.rows]
            data = pd.DataFrame(rows, columns=[column.label for column in table.columns])
            align = ["left" if column.kind == "text" else "right" for column in table.columns]
            text: str = data.to_markdown(index=False, disable_numparse=True, colalign=align)
            lines += [f"**{table.caption}**", "", text, "", table.note, ""]
        lines += [f"- {name}: {value}" for name, value in part.facts]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def frame(table: Table) -> pd.DataFrame:
    """Return a table with every digit: an estimate gets two more columns, its ``_low`` and
    ``_high``.

    Parameters
    ----------
    table : Table
        Table as plain data.

    Returns
    -------
    pd.DataFrame
        A table with every digit.
    """
    import pandas as pd

    rows = []
    for section in table.sections:
        for row in section.rows:
            flat: dict[str, Any] = {"section": section.heading, "role": row.role}
            for column in table.columns:
                flat |= _flat(column.key, row.cells.get(column.key))
            rows.append(flat)
    return pd.DataFrame(rows)


def _flat(key: str, cell: Any) -> dict[str, Any]:
    if isinstance(cell, Estimate):
        return {key: cell.value, f"{key}_low": cell.low, f"{key}_high": cell.high}
    return {key: cell}


def _csv_files(report: Report) -> dict[str, str]:
    return {
        f"csv/{name}.csv": frame(table).dropna(axis=1, how="all").to_csv(index=False)
        for name, table in report.named_tables()
    }


def _markdown_cell(row: TableRow, column: Column) -> str:
    text = full_text(row.cells.get(column.key), column).replace("|", r"\|")
    if column.kind == "text":
        text = re.sub(r"([\\`*_<>\[\]])", r"\\\1", text)
    return f"**{text}**" if column.key in row.bold and text else text


def _latex_files(report: Report) -> dict[str, str]:

    tables = dict(report.named_tables())
    files = {f"latex/{name}.tex": latex_table(name, table) for name, table in tables.items()}
    return files | {"latex/report.tex": latex_document(report.title, list(tables))}


def json_ready(value: Any) -> Any:
    """Return a value with None for every float that JSON cannot hold, and text as keys.

    Parameters
    ----------
    value : Any
        Value to convert.

    Returns
    -------
    Any
        A value with None for every float that JSON cannot hold, and text as keys.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): json_ready(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    return value


COLUMNS = ("generator", "split", "path", "sample_id", "label", "score", "logit", "source")


def write_scores(scores: Scores, path: Path) -> Path:
    """Write scores as CSV, with every digit of the numbers.

    Parameters
    ----------
    scores : Scores
    path : Path
        File names that are not UTF-8 keep their bytes.

    Returns
    -------
    Path
        The file, absolute.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    # tolist() gives Python numbers, whose text reads back as the same number.
    writer.writerows(zip(*(getattr(scores, name).tolist() for name in COLUMNS), strict=True))
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return path.resolve()
