"""Progress on standard error: a bar where it is a terminal, plain lines where it is not.

Shown only while the logger ``featcache`` lets INFO through, so that ``-q`` and library use are
silent. A step inside another one gets a line below it.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock, Timer
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

log = logging.getLogger("featcache")
T = TypeVar("T")

BAR_AFTER_S = 1.0
"""Seconds that a step takes before its bar is drawn: short steps leave no lines behind."""

PLAIN_EVERY_S = 5.0
"""Seconds between two plain lines where standard error is no terminal."""

_live: ContextVar[Progress | None] = ContextVar("featcache_progress", default=None)
"""The bars of the step that runs: a terminal can show one group of them at a time."""


_passes: ContextVar[dict[str, tuple[int, int]] | None] = ContextVar(
    "featcache_passes", default=None
)
"""By step, how often it went over features and how many bytes these had."""


@contextmanager
def count_passes() -> Iterator[dict[str, tuple[int, int]]]:
    """Count the passes over features that this process makes within the block.

    Yields
    ------
    dict of str to (int, int)
        By step, the number of passes and of bytes of features; filled as they are made, and logged
        at the end for ``--verbose``.
    """
    passes: dict[str, tuple[int, int]] = {}
    token = _passes.set(passes)
    try:
        yield passes
    finally:
        _passes.reset(token)
    for step, (n, n_bytes) in passes.items():
        log.debug(f"Passes: {step}: {n:,}, {n_bytes / 2**20:,.1f} MiB of features")


def add_pass(step: str, n_bytes: int) -> None:
    """Count a pass over features, where passes are counted.

    Parameters
    ----------
    step : str
        What the pass was for.
    n_bytes : int
        Bytes of the features that it read.
    """
    passes = _passes.get()
    if passes is not None:
        n, total = passes.get(step, (0, 0))
        passes[step] = (n + 1, total + n_bytes)


class Advance(Protocol):
    """Say that ``n`` more items are done, and a few words on how it is going."""

    def __call__(self, n: int = 1, note: str = "", /) -> None:
        """Advance by ``n`` items."""


def no_progress(n: int = 1, note: str = "", /) -> None:
    """Advance a step that nobody watches.

    Parameters
    ----------
    n : int
        Items that are done.
    note : str
        How it is going.
    """


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
        Call it with the number of items that have just been done, from any thread.
    """
    if not log.isEnabledFor(logging.INFO) or total == 0:
        yield no_progress
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
    """Draw a rich progress bar on standard error, or a further one below that of a step around."""
    outer = _live.get()
    bars = _make_bars() if outer is None else outer
    task = bars.add_task(what, total=total, noun=noun, note="")

    def advance(n: int = 1, words: str = "", /) -> None:
        bars.update(task, advance=n, note=note() or words)

    if outer is not None:
        try:
            yield advance
        finally:
            bars.remove_task(task)
        return
    token, timer = _live.set(bars), Timer(BAR_AFTER_S, bars.start)
    timer.daemon = True
    timer.start()
    try:
        yield advance
    finally:
        _live.reset(token)
        timer.cancel()
        timer.join()
        if bars.live.is_started:
            bars.stop()


def _make_bars() -> Progress:
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
            rate = task.finished_speed or task.speed or 0
            return Text(f"{rate:,.{0 if rate >= 100 else 1}f} {task.fields['noun']}/s")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )


def _lines(what: str, total: int, noun: str, note: Callable[[], str]) -> Advance:
    """Return a function that prints a line every few seconds and one at the end."""
    start = last = time.monotonic()
    done, lock = 0, Lock()

    def advance(n: int = 1, words: str = "", /) -> None:
        nonlocal done, last
        with lock:
            done += n
            now = time.monotonic()
            if now - last < PLAIN_EVERY_S and not (n and done >= total and now - start > 2):
                return
            last = now
            rate = done / max(now - start, 1e-9)
            parts = [f"{done}/{total} {noun}"]
            if done:
                left = max(total - done, 0) / rate
                parts.append(f"{rate:.1f}/s, {left:.0f} s left")
            text = "; ".join(filter(None, (", ".join(parts), note() or words)))
            print(f"{what}: {text}", file=sys.stderr)

    return advance
