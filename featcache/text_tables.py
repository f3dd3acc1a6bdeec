"""Tables of text that fit a terminal: columns fold, numbers and words stay whole.

Every table of the command line is laid out here. The layouts are tried in this order, and the
first that fits is printed:

1. all columns with all intervals; then with fewer intervals, those of the last columns first;
2. without the columns marked ``optional``;
3. transposed, where there are more columns than rows;
4. with texts wrapped between words;
5. in parts, each with as many columns as fit beside the names;
6. row by row, each column on a line of its own.

What a layout leaves out is named below the table, with the place that holds all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

MOST_PARTS = 6
"""A table that would be printed in more parts than this is cut down to the columns that fit."""

MOST_LINES = 6
"""A text that would be wrapped to more lines than this has no room in its column."""

# A line may end after these, but not inside a number such as 1,024, 1e-04 or 0.5.
_CHUNK = re.compile(r"\s+|(?:[^\s/_\-,.:;+=@]|[\-,.:;+=@](?=\d)|(?<=\d)[.,](?=\d))*[/_\-,.:;+=@]?")


@dataclass(frozen=True, kw_only=True)
class TextColumn:
    """A column of a text table.

    Parameters
    ----------
    label : str
        Heading.
    numeric : bool
        Cells are aligned to the right and never wrapped.
    optional : bool
        The column is left out first where there is no room.
    matrix : bool
        One of many columns of a kind, such as one for each generator: they lose their intervals
        first, and together.
    """

    label: str
    numeric: bool = False
    optional: bool = False
    matrix: bool = False


@dataclass(frozen=True)
class TextCell:
    """A cell: its text, and the interval that follows it where there is room.

    Parameters
    ----------
    text, interval, style : str
    """

    text: str
    interval: str = ""
    style: str = ""

    def full(self) -> str:
        """Return text and interval.

        Returns
        -------
        str
        """
        return f"{self.text} {self.interval}".rstrip()


Row = tuple[TextCell, ...]


@dataclass(frozen=True)
class TextSection:
    """Rows that belong together, under a heading (empty for none)."""

    rows: tuple[Row, ...]
    heading: str = ""


@dataclass(frozen=True)
class _Layout:
    """What is shown, and how: columns by position, and those that show their intervals."""

    shown: tuple[int, ...]
    intervals: frozenset[int]
    gap: int = 2
    wrap: bool = False


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table that fits itself to the width of the console on which it is printed.

    Parameters
    ----------
    columns : tuple of TextColumn
        The first one names the row.
    sections : tuple of TextSection
    title, note : str
        Sentences above and below the table.
    rules : bool
        Draw lines below the headings and between the sections.
    whole : str
        Where the whole table is, for the sentence on what was left out.
    """

    columns: tuple[TextColumn, ...]
    sections: tuple[TextSection, ...]
    title: str = ""
    note: str = ""
    rules: bool = True
    whole: str = "--json"
    _transposed: bool = field(default=False, repr=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines of the table."""
        yield from self.lines(options.max_width)

    @property
    def rows(self) -> list[Row]:
        """All rows, section by section."""
        return [row for section in self.sections for row in section.rows]

    def lines(self, width: int) -> Iterator[Text]:
        """Yield the lines of the table, none wider than ``width``.

        Parameters
        ----------
        width : int
            Columns of the terminal.

        Yields
        ------
        Text
        """
        if self.title:
            yield from (Text(line, "bold") for line in wrap_text(self.title, width))
        yield from self._body(width)
        for line in wrap_text(self.note, width) if self.note else ():
            yield Text(line, "dim italic")

    def _body(self, width: int) -> Iterator[Text]:
        for layout in self._layouts(wrap=False):
            if self._fits(layout, width):
                yield from self._grid(layout, width)
                yield from self._left_out(layout, width)
                return
        if (turned := self._turned()) is not None:
            layouts = [*turned._layouts(wrap=False), *turned._layouts(wrap=True)]
            for layout in layouts:
                if turned._fits(layout, width):
                    yield from turned._grid(layout, width)
                    yield from turned._left_out(layout, width)
                    return
        for layout in self._layouts(wrap=True):
            if self._fits(layout, width):
                yield from self._grid(layout, width)
                yield from self._left_out(layout, width)
                return
        parts = self._parts(width)
        if not parts:
            yield from self._records(width)
        elif len(parts) <= MOST_PARTS:
            for i, part in enumerate(parts):
                if i:
                    yield Text("")
                yield from self._grid(part, width)
            shown = tuple(sorted({position for part in parts for position in part.shown}))
            yield from self._left_out(_Layout(shown, parts[0].intervals), width, len(parts))
        else:
            yield from self._grid(parts[0], width)
            yield from self._left_out(parts[0], width)

    def _with_interval(self) -> list[int]:
        """Return the positions of the columns that have intervals."""
        return [i for i in range(len(self.columns)) if any(row[i].interval for row in self.rows)]

    def _layouts(self, wrap: bool) -> Iterator[_Layout]:
        """Yield the layouts in one grid, the fullest first."""
        every = tuple(range(len(self.columns)))
        needed = tuple(i for i in every if not self.columns[i].optional)
        plain = [i for i in self._with_interval() if not self.columns[i].matrix]
        steps = [frozenset(plain[:n]) for n in range(len(plain), -1, -1)]
        if len(plain) < len(self._with_interval()):
            steps.insert(0, frozenset(self._with_interval()))
        if wrap:
            steps = steps[-1:]
        for shown in dict.fromkeys((every, needed)):
            for intervals in steps:
                for gap in (2, 1):
                    yield _Layout(shown, intervals, gap, wrap)

    def _texts(self, i: int, layout: _Layout) -> list[str]:
        with_interval = i in layout.intervals
        return [row[i].full() if with_interval else row[i].text for row in self.rows]

    def _limits(self, i: int, layout: _Layout) -> tuple[int, int]:
        """Return the least width that keeps numbers and words whole, and the natural width."""
        column, texts = self.columns[i], self._texts(i, layout)
        label = column.label
        lines = [line for text in texts for line in text.split("\n")]
        natural = max([cell_len(line) for line in lines], default=0)
        least_label = max(map(cell_len, _chunks(label)), default=0)
        if column.numeric:
            least = max(natural, least_label)
            return least, least
        natural = max(natural, cell_len(label) if not column.matrix else least_label)
        if i == 0 and not layout.wrap:
            return natural, natural
        chunks = [cell_len(chunk.rstrip()) for line in lines for chunk in _chunks(line)]
        return max([least_label, *chunks]), natural

    def _widths(self, layout: _Layout, width: int) -> list[int] | None:
        """Return the width of each column shown; None where they do not fit."""
        limits = [self._limits(i, layout) for i in layout.shown]
        room = width - layout.gap * (len(limits) - 1)
        widths = [least for least, _ in limits]
        spare = room - sum(widths)
        if spare < 0:
            return None
        missing = [natural - least for least, natural in limits]
        if sum(missing) <= spare:
            return [natural for _, natural in limits]
        # The names are the last to wrap; the other texts share what is left.
        first = min(missing[0], spare // 2)
        widths[0] += first
        spare, missing[0] = spare - first, 0
        total = sum(missing)
        for k, more in enumerate(missing):
            widths[k] += min(more, spare * more // total) if total else 0
        for k, i in enumerate(layout.shown):
            texts = self._texts(i, layout)
            if any(len(wrap_text(text, widths[k])) > MOST_LINES for text in texts):
                return None
        return widths

    def _fits(self, layout: _Layout, width: int) -> bool:
        return self._widths(layout, width) is not None

    def _turned(self) -> TextTable | None:
        """Return the table with rows and columns exchanged; None where that makes it no narrower.

        Rows of several sections, and texts that may be long, do not make columns.
        """
        rows = self.rows
        several = len(self.sections) > 1 and any(section.heading for section in self.sections)
        if several or len(rows) >= len(self.columns) - 1 or self._transposed:
            return None
        head, *others = self.columns
        columns = (
            TextColumn(label=head.label),
            *(TextColumn(label=row[0].text, numeric=True) for row in rows),
        )
        turned = tuple(
            (TextCell(column.label), *(row[i] for row in rows))
            for i, column in enumerate(others, 1)
        )
        return replace(self, columns=columns, sections=(TextSection(turned),), _transposed=True)

    def _parts(self, width: int) -> list[_Layout]:
        """Return the layouts of the parts; none where not even one column fits beside the names."""
        numeric = [i for i in range(1, len(self.columns)) if self.columns[i].numeric]
        if len(numeric) < max(3, (len(self.columns) - 1) // 2):
            return []
        plain = [i for i in self._with_interval() if not self.columns[i].matrix]
        for wrap in (False, True):
            # Columns that are not one of many carry the result: they come first.
            order = sorted(range(1, len(self.columns)), key=lambda i: self.columns[i].matrix)
            parts: list[_Layout] = []
            for i in order:
                if parts:
                    wider = replace(parts[-1], shown=(*parts[-1].shown, i))
                    if self._fits(wider, width):
                        parts[-1] = wider
                        continue
                parts.append(_Layout((0, i), frozenset(plain), 2, wrap))
                if not self._fits(parts[-1], width):
                    parts = []
                    break
            if parts:
                return parts
        return []

    def _grid(self, layout: _Layout, width: int) -> Iterator[Text]:
        widths = self._widths(layout, width)
        assert widths is not None
        gap = " " * layout.gap
        rule = "─" * (sum(widths) + layout.gap * (len(widths) - 1))
        head: Row = tuple(TextCell(self.columns[i].label, style="bold") for i in layout.shown)
        if any(cell.text for cell in head):
            yield from self._row(head, layout, widths, gap, bottom=True)
            if self.rules:
                yield Text(rule)
        for number, section in enumerate(self.sections):
            if number and self.rules:
                yield Text(rule)
            for line in wrap_text(section.heading, width) if section.heading else ():
                yield Text(line, "italic")
            for row in section.rows:
                cells = tuple(row[i] for i in layout.shown)
                yield from self._row(cells, layout, widths, gap)

    def _row(
        self, cells: Row, layout: _Layout, widths: list[int], gap: str, bottom: bool = False
    ) -> Iterator[Text]:
        """Yield the lines of one row."""
        wrapped: list[list[Text]] = []
        for i, cell, width in zip(layout.shown, cells, widths, strict=True):
            lines = [Text(line, cell.style) for line in wrap_text(cell.text, width)]
            if i in layout.intervals and cell.interval:
                lines[-1].append(f" {cell.interval}", "dim not bold")
            wrapped.append(lines)
        height = max(map(len, wrapped))
        for number in range(height):
            line = Text()
            for k, (i, lines, width) in enumerate(zip(layout.shown, wrapped, widths, strict=True)):
                position = number - (height - len(lines)) if bottom else number
                text = lines[position] if 0 <= position < len(lines) else Text()
                blank = " " * (width - text.cell_len)
                if k:
                    line.append(gap)
                if self.columns[i].numeric:
                    line.append(blank)
                    line.append_text(text)
                else:
                    line.append_text(text)
                    line.append(blank)
            line.rstrip()
            yield line

    def _records(self, width: int) -> Iterator[Text]:
        """Yield the table row by row, each column on a line of its own."""
        labels = [column.label for column in self.columns[1:]]
        indent = min(max(map(cell_len, labels), default=0), width // 3) + 4
        for section in self.sections:
            for line in wrap_text(section.heading, width) if section.heading else ():
                yield Text(line, "italic")
            for row in section.rows:
                yield from (
                    Text(line, f"bold {row[0].style}".strip())
                    for line in wrap_text(row[0].full() or "-", width)
                )
                for label, cell in zip(labels, row[1:], strict=True):
                    if not cell.text:
                        continue
                    lines = wrap_text(cell.full(), width - indent)
                    heads = wrap_text(label, indent - 4)
                    for k in range(max(len(lines), len(heads))):
                        head = heads[k] if k < len(heads) else ""
                        body = lines[k] if k < len(lines) else ""
                        blank = " " * (indent - 2 - cell_len(head))
                        record = Text(f"  {head}{blank}")
                        record.append(body, cell.style)
                        record.rstrip()
                        yield record

    def _left_out(self, layout: _Layout, width: int, n_parts: int = 1) -> Iterator[Text]:
        """Yield the sentence on what is not shown; nothing where all of it is."""
        noun = "row" if self._transposed else "column"
        shown = set(layout.shown)
        columns = [c.label for i, c in enumerate(self.columns) if i not in shown]
        intervals = [
            self.columns[i].label
            for i in self._with_interval()
            if i in shown and i not in layout.intervals
        ]
        sentences = []
        if n_parts > 1:
            sentences.append(f"In {n_parts} parts, as the terminal has {width} columns.")
        if columns:
            plural = "s" if len(columns) > 1 else ""
            sentences.append(
                f"Left out, for lack of room: {noun}{plural} {_format_names(columns)}."
            )
        if intervals:
            sentences.append(f"Intervals not shown: {_format_names(intervals)}.")
        if self._transposed and self.columns[0].label:
            sentences.insert(0, "Transposed: rows and columns are exchanged.")
        if columns or intervals:
            sentences.append(f"The whole table: {self.whole}, or a wider terminal.")
        for line in wrap_text(" ".join(sentences), width) if sentences else ():
            yield Text(line, "dim")


def plain_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[str] = ()
) -> TextTable:
    """Return a table of texts without lines.

    Parameters
    ----------
    columns : sequence of str
        Headings; the first column names the row.
    rows : sequence of sequence of str
        Cells.
    numeric : sequence of str
        Headings of the columns of numbers.

    Returns
    -------
    TextTable
    """
    return TextTable(
        columns=tuple(TextColumn(label=name, numeric=name in numeric) for name in columns),
        sections=(TextSection(tuple(tuple(map(TextCell, row)) for row in rows)),),
        rules=False,
    )


def wrap_text(text: str, width: int) -> list[str]:
    """Return the lines of a text: broken between words, and after ``/ _ - , . :`` in long ones.

    Parameters
    ----------
    text : str
        Its line ends are kept.
    width : int
        Cells of a line. Only a word without any place to break it that is wider is cut.

    Returns
    -------
    list of str
        At least one line.

    Examples
    --------
    >>> wrap_text("stable_diffusion_v1_4", 12)
    ['stable_', 'diffusion_', 'v1_4']
    >>> wrap_text("about 1,024 rows", 9)
    ['about', '1,024', 'rows']
    """
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in re.findall(r"\S+\s*", paragraph) or [""]:
            if cell_len((line + word).rstrip()) <= width:
                line += word
                continue
            if cell_len(word.rstrip()) <= width and line:
                lines.append(line.rstrip())
                line = word
                continue
            for chunk in _chunks(word):
                if line and cell_len((line + chunk).rstrip()) > width:
                    lines.append(line.rstrip())
                    line = ""
                while cell_len(chunk.rstrip()) > width:
                    cut = next(n for n in range(len(chunk), 0, -1) if cell_len(chunk[:n]) <= width)
                    lines.append(chunk[:cut])
                    chunk = chunk[cut:]
                line += chunk
        lines.append(line.rstrip())
    return lines


def _chunks(text: str) -> list[str]:
    """Return the pieces of a text that stay on one line."""
    return [chunk for chunk in _CHUNK.findall(text) if chunk]


def _format_names(names: Sequence[str]) -> str:
    """Return a few names, and how many more there are."""
    most = 6
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
