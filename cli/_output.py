"""Standard output is data, standard error is output.

From an exception to a message and an exit code, in one place.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shlex
import sys
import traceback
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

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
UNWRITABLE = 4
INTERRUPTED = 130
REJECTS = 6
"""The work is done and some images were rejected."""

KEPT = "What was finished is kept; run the same command to go on."
KEPT_WHOLE = (
    "Features and earlier results are as they were. This result is kept if 'Result: FOLDER' stands"
    " above; else the same command fits again from the start."
)
"""What an interrupt leaves of commands whose result is kept as a whole or not at all."""

KEEP_WHOLE = ("probe", "ablate", "transfer", "efficiency")

REPEATED = ("--data", "--cache")
"""Flags of the user's that a suggested command repeats."""


def report(error: BaseException, command: Any, arguments: Sequence[str] = ()) -> int:
    """Print an error on standard error, and with ``--json`` on standard output too.

    Parameters
    ----------
    error : BaseException
    command : click.Command
        The tree of commands, for the flags that suggested commands take.
    arguments : sequence of str
        The command line, without the name of the program.

    Returns
    -------
    int
        The exit code.
    """
    code, text = explain(error, arguments)
    as_json = "--json" in arguments
    if code == BUG and _is_of_stdout(error):
        code, text = UNWRITABLE, f"standard output cannot be written: {error.strerror or error}."
        _discard_stdout()
    if code not in (BUG, INTERRUPTED):
        text = _with_settings_file(complete_commands(text, command, arguments))
    if code == BUG:
        traceback.print_exception(error)
    sys.stderr.write(terminal_text(f"Error: {text}") + "\n")
    if as_json:
        name = type(error).__name__
        print_json({"error": {"type": name, "message": terminal_text(text), "exit_code": code}})
    return code


def _is_of_stdout(error: BaseException) -> TypeGuard[OSError]:
    """Whether standard output is what failed: the error names no file, and a new line fails too.

    The line is needed: a failed write may leave nothing in the buffer for a flush to fail on.
    """
    if not isinstance(error, OSError) or error.filename is not None or sys.stdout is None:
        return False
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _discard_stdout() -> None:
    """Send what is still in the buffer, and all that follows, to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def complete_commands(text: str, root: Any, arguments: Sequence[str]) -> str:
    """Repeat the user's own ``--data`` and ``--cache`` in the commands that a message suggests.

    Parameters
    ----------
    text : str
        Commands stand in single quotes: ``'featcache extract --backbone clip'``.
    root : click.Command
        The tree of commands.
    arguments : sequence of str
        The command line that led to the message.

    Returns
    -------
    str
    """
    given: dict[str, list[str]] = {}
    for i, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        if flag in REPEATED and (equals or i + 1 < len(arguments)):
            given.setdefault(flag, []).append(value if equals else arguments[i + 1])

    def complete(match: re.Match[str]) -> str:
        command = root
        words = match[1].split()
        for word in words:
            command = getattr(command, "commands", {}).get(word, command)
        accepted = {name for parameter in command.params for name in parameter.opts}
        suggestion = match[1]
        for flag, values in given.items():
            if flag not in accepted:
                continue
            quoted = [shlex.quote(value) for value in values]
            if f"{flag} FOLDER" in suggestion:
                several = " ".join(f"{flag} {value}" for value in quoted)
                suggestion = suggestion.replace(f"{flag} FOLDER", several)
            elif flag not in words:
                suggestion += "".join(f" {flag} {value}" for value in quoted)
        return f"'featcache {suggestion}'"

    return re.sub(r"'featcache ([^']+)'", complete, text) if given else text


def _with_settings_file(text: str) -> str:
    """Name the settings file where it lies in a folder above: it may be another project's."""
    from pathlib import Path

    from featcache.settings import find_file

    path = find_file(Path.cwd())
    if path is None or path.parent == Path.cwd() or str(path) in text:
        return text
    return f"{text} (Settings were read from {path}.)"


def explain(error: BaseException, arguments: Sequence[str] = ()) -> tuple[int, str]:
    """Return the exit code and the words for an exception of a command line."""
    if isinstance(error, FeatcacheError):
        return error.exit_code, str(error)
    if hasattr(error, "format_message"):  # click's usage errors; Typer may carry a click of its own
        return USAGE, str(error.format_message())
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        kept = KEPT_WHOLE if any(word in KEEP_WHOLE for word in arguments[:1]) else KEPT
        return INTERRUPTED, f"Interrupted. {kept}"
    return BUG, f"This is a bug in featcache, not your mistake: {error!r}. Please report it."
