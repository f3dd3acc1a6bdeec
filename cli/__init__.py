"""The command line: parse, call the library, print. No logic, and no heavy import before it is
needed.
"""

from __future__ import annotations

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
        return _output.report(error, root, arguments)
    if code == _output.INTERRUPTED:  # Typer has turned the interrupt into its exit code
        return _output.report(KeyboardInterrupt(), root, arguments)
    return code if isinstance(code, int) else 0


def _interrupt(signum: int, frame: object) -> None:
    """Let SIGTERM end the work as Ctrl-C does: cleanly, with a word on how to go on."""
    raise KeyboardInterrupt
