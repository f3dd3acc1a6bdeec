"""The command line: parse, call the library, print. No logic, and no heavy import before it is
needed.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    from typer.main import get_command

    from featcache.cli import _output
    from featcache.cli.app import app

    root = get_command(app)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = root.main(arguments, prog_name="featcache", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk is reported here, not while Python ends
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if _is_unwritable(error):
            return _report_unwritable(error)
        return _output.report(error, root, arguments)
    if code == _output.INTERRUPTED:  # Typer has turned the interrupt into its exit code
        return _output.report(KeyboardInterrupt(), root, arguments)
    return code if isinstance(code, int) else 0


def _is_unwritable(error: BaseException) -> bool:
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


def _report_unwritable(error: BaseException) -> int:
    """Say that standard output cannot be written, and write nothing more to it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())  # what is still in the buffer goes there as Python ends
    os.close(null)
    if sys.stderr is not None:
        reason = getattr(error, "strerror", None) or error
        sys.stderr.write(f"Error: standard output cannot be written: {reason}.\n")
    return UNWRITABLE


UNWRITABLE = 4
"""The exit code of a file or stream that cannot be written."""


def _interrupt(signum: int, frame: object) -> None:
    """Let SIGTERM end the work as Ctrl-C does: cleanly, with a word on how to go on."""
    raise KeyboardInterrupt
