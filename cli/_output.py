"""Standard output is data, standard error is output.

From an exception to a message and an exit code, in one place.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import traceback
import warnings
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from featcache.errors import FeatcacheError
from featcache.files import terminal_text

if TYPE_CHECKING:
    from rich.console import RenderableType


def start_logging(verbose: bool, quiet: bool) -> None:
    """Set how much is said on standard error, and show our warnings there in one line each."""
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logger = logging.getLogger("featcache")
    logger.setLevel(level)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers[:] = [handler]
    logger.propagate = False
    warnings.showwarning = _show_warning


def print_message(text: str) -> None:
    """Say something on standard error, unless ``-q`` was given."""
    logging.getLogger("featcache").info(terminal_text(text))


def warn(text: str) -> None:
    """Say on standard error what went wrong, even with ``-q``."""
    logging.getLogger("featcache").warning(terminal_text(text))


def print_json(document: Any) -> None:
    """Print one JSON document: ASCII only, so that any file name survives; NaN becomes null."""
    sys.stdout.write(json.dumps(_plain(document), indent=2, allow_nan=False) + "\n")


def print_rich(*renderables: RenderableType) -> None:
    """Print tables and text, as wide as the terminal; text is never read as markup."""
    from rich.console import Console
    from rich.segment import Segment

    class SafeConsole(Console):
        """Escapes what a terminal would act on, whatever was drawn and wherever it came from."""

        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield (
                    segment
                    if segment.control
                    else segment._replace(text=terminal_text(segment.text))
                )

    console = SafeConsole(file=sys.stdout, highlight=False, soft_wrap=False, markup=False)
    for renderable in renderables:
        console.print(terminal_text(renderable) if isinstance(renderable, str) else renderable)


def print_lines(*lines: str) -> None:
    """Print plain sentences, wrapped to the terminal."""
    from rich.text import Text

    print_rich(*(Text(terminal_text(line)) for line in lines))


def print_table(columns: list[str], rows: list[list[str]], right: Collection[str] = ()) -> None:
    """Print a plain table; ``right`` names the columns of numbers."""
    from featcache.text_tables import plain_table

    shown = [[terminal_text(cell) for cell in row] for row in rows]
    print_rich(plain_table(columns, shown, list(right)))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _show_warning(message: Any, *args: Any, **kwargs: Any) -> None:
    logging.getLogger("featcache").warning("Warning: %s", terminal_text(str(message)))


BUG = 1
USAGE = 2
INTERRUPTED = 130
REJECTS = 6
"""The work is done and some images were rejected."""


def report(error: BaseException, as_json: bool) -> int:
    """Say what went wrong on standard error, and with ``--json`` on standard output too.

    Returns
    -------
    int
        The exit code.
    """
    code, text = explain(error)
    if code == BUG:
        traceback.print_exception(error)
    sys.stderr.write(terminal_text(f"Error: {text}") + "\n")
    if as_json:
        name = type(error).__name__
        print_json({"error": {"type": name, "message": terminal_text(text), "exit_code": code}})
    return code


def explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the words for an exception."""
    if isinstance(error, FeatcacheError):
        return error.exit_code, str(error)
    if hasattr(error, "format_message"):  # click's usage errors; Typer may carry a click of its own
        return USAGE, str(error.format_message())
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return INTERRUPTED, "Interrupted. What was finished is kept; run the same command to go on."
    return BUG, f"This is a bug in featcache, not your mistake: {error!r}. Please report it."
