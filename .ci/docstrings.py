"""Check that every public function states its parameters, what it returns or yields, and what it
raises.

pydoclint compares the numpydoc sections with the signature. Two of its rules are left out: types
may stand in a docstring (they carry shapes, dtypes and ranges that the annotation cannot), and a
Raises section may name an error that a called function raises. Properties need no Returns
section: their first line says what they are.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

FOLDERS = ("featcache", "cache")
RULES = ("DOC101", "DOC103", "DOC201", "DOC402", "DOC501")


def _properties(path: Path) -> set[str]:
    """Return ``Class.name`` of every property in a file."""
    return {
        f"{node.name}.{method.name}"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef)
        and any("property" in ast.unparse(decorator) for decorator in method.decorator_list)
    }


def _private(name: str) -> bool:
    """Return whether a dotted name has a private or a special part."""
    return any(part.startswith("_") for part in name.split("."))


def main(folders: list[str]) -> int:
    """Print the violations and return 1 where there are any."""
    command = ["pydoclint", "--config", "pyproject.toml", *folders]
    ran = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        capture_output=True,
        check=False,
        text=True,
    )
    if ran.returncode > 1 or (ran.returncode and "DOC" not in ran.stdout + ran.stderr):
        print(ran.stdout + ran.stderr)
        return 2
    path, properties, n = Path(), set[str](), 0
    for line in (ran.stdout + ran.stderr).splitlines():
        if line and not line.startswith(" "):
            path = Path(line.strip())
            properties = _properties(path) if path.suffix == ".py" else set()
            continue
        match = re.match(r"\s+(\d+): (DOC\d+): (?:Method|Function) `([\w.]+)`", line)
        if match is None or match[2] not in RULES or match[3] in properties or _private(match[3]):
            continue
        print(f"{path}:{match[1]}: {line.split(': ', 1)[1][:150]}")
        n += 1
    print(f"{n} violations", file=sys.stderr)
    return min(n, 1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:] or list(FOLDERS)))
