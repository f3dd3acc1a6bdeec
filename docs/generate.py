"""Generate the reference pages from the code: the commands from their ``--help``, the API from
its docstrings.
"""

from __future__ import annotations

import subprocess
import sys

import mkdocs_gen_files

import featcache

COMMANDS = [sys.executable, "-m", "typer", "featcache.cli.app", "utils", "docs"]

API_HEAD = """# Python API

Everything here can be imported from `featcache` itself; names are loaded on first use, so that
`import featcache` stays cheap.
"""


def write(name: str, text: str) -> None:
    """Add a page to the site."""
    with mkdocs_gen_files.open(name, "w") as file:
        file.write(text)


def commands() -> str:
    """Return the reference of all commands."""
    arguments = [*COMMANDS, "--name", "featcache", "--title", "Commands"]
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout


def api() -> str:
    """Return the reference of the public names, in the order of ``featcache.__all__``."""
    names = [name for name in featcache.__all__ if name != "__version__"]
    return API_HEAD + "".join(
        f"\n::: {getattr(featcache, name).__module__}.{getattr(featcache, name).__qualname__}\n"
        for name in names
    )


write("reference/commands.md", commands())
write("reference/api.md", api())
