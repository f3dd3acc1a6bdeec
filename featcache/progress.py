"""Progress on standard error: a bar where it is a terminal, plain lines where it is not.

Shown only while the logger ``featcache`` lets INFO through, so that ``-q`` and library use are
silent.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

log = logging.getLogger("featcache")
T = TypeVar("T")

PLAIN_EVERY_S = 5.0
"""Seconds between two plain lines where standard error is no terminal."""


class Advance(Protocol):
    """Say that ``n`` more items are done."""

    def __call__(self, n: int = 1, /) -> None:
        """Advance by ``n`` items."""


@contextmanager
def progress(
    what: str, total: int, noun: str = "images", note: Callable[[], str] = str
) -> Iterator[Advance]:
    """Show how far a long step is, its rate and the time left.

    Parameters
    ----------
    what : str
        The step in a word or two, as the user knows it.
    total : int
        How many items there are in all.
    noun : str
        What one item is, in the plural.
    note : callable
        Returns a few words on how it is going; nothing by default.

    Yields
    ------
    Advance
        Call it with the number of items that have just been done.
    """
    if not log.isEnabledFor(logging.INFO) or total == 0:
        yield lambda n=1, /: None
    elif sys.stderr.isatty():
        with _bar(what, total, noun, note) as advance:
            yield advance
    else:
        yield _lines(what, total, noun, note)


def track(items: Iterable[T], what: str, total: int, noun: str = "images") -> Iterator[T]:
    """Yield ``items`` one by one while :func:`progress` shows how far they are.

    Parameters
    ----------
    items : Iterable[T]
        Items, in order.
    what : str
        What is being done, for messages.
    total : int
        Number of items in all.
    noun : str
        Unit of the items, for messages.

    Yields
    ------
    T
        ``items`` one by one while :func:`progress` shows how far they are.
    """
    with progress(what, total, noun) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def _bar(what: str, total: int, noun: str, note: Callable[[], str]) -> Iterator[Advance]:
    """Draw a rich progress bar on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:.1f} {noun}/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda n=1, /: bar.update(task, advance=n, note=note())


def _lines(what: str, total: int, noun: str, note: Callable[[], str]) -> Advance:
    """Return a function that prints a line every few seconds and one at the end."""
    start = last = time.monotonic()
    done = 0

    def advance(n: int = 1, /) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last < PLAIN_EVERY_S and not (done >= total and now - start > 2):
            return
        last = now
        rate = done / max(now - start, 1e-9)
        left = max(total - done, 0) / rate
        text = "; ".join(filter(None, (f"{rate:.1f}/s, {left:.0f} s left", note())))
        print(f"{what}: {done}/{total} {noun}, {text}", file=sys.stderr)

    return advance
