"""From an exception to a message and an exit code, in one place."""

from __future__ import annotations

import sys
import traceback

from featcache.cli._output import print_json
from featcache.errors import FeatcacheError
from featcache.files import printable

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
    sys.stderr.write(printable(f"Error: {text}") + "\n")
    if as_json:
        name = type(error).__name__
        print_json({"error": {"type": name, "message": printable(text), "exit_code": code}})
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
