"""Check that identifiers and prose use the project's words: one concept, one word (CONTRIBUTING.md
lists them).

Identifiers are what a file defines: functions, classes, arguments, variables, attributes. Names
that stand in files which others read (JSON keys, columns, flags) stay as they are and are listed
in SERIALISED.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

WHOLE = frozenset(
    [
        "found",
        "mine",
        "at",
        "other",
        "some",
        "each",
        "such",
        "whole",
        "told",
        "asked",
        "wanted",
        "unit",
        "units",
        "motif",
        "motifs",
        "serves",
        "serving",
        "judge",
        "judged",
        "bench",
        "draws",
        "hits",
        "alarms",
        "alarms_before",
        "gains",
        "accused",
        "bend",
        "typicality",
        "outside",
        "behaviour",
        "care",
        "waste",
        "fault",
        "faults",
        "claim",
        "claims",
        "say",
        "says",
        "tell",
        "talk",
        "lane",
        "lanes",
        "turns",
        "verdict",
        "take",
        "put",
        "give",
        "look",
        "ask",
        "mend",
        "leave",
    ]
)
"""Forbidden as the whole name of something."""

PARTS = frozenset(
    [
        "motif",
        "motifs",
        "serves",
        "serving",
        "judge",
        "judged",
        "bench",
        "alarms",
        "accused",
        "behaviour",
        "waste",
        "claim",
        "claims",
        "talk",
        "lane",
        "lanes",
        "verdict",
        "mend",
        "says",
        "tell",
        "told",
        "typicality",
    ]
)
"""Forbidden as a part of a name, between underscores or in CamelCase."""

SERIALISED = frozenset(
    [
        "other",
        "whole",
        "wanted",
        "found",
        "verdict",
        "typicality",
        "outside",
        "serves",
        "each",
        "draws",
    ]
)
"""Attributes of results, options and columns that are read from files written earlier."""

PROSE = frozenset(
    [
        "motif",
        "motifs",
        "verdict",
        "verdicts",
        "mend",
        "mends",
        "behaviour",
        "lane",
        "lanes",
        "talk",
        "judged",
        "typicality",
        "accused",
    ]
)
"""Forbidden in docstrings, comments, messages and documents."""

QUOTED = re.compile(
    r"`[^`]*`|\"[^\"]*\"|'\w+'|\.\w+|https?://\S+|\w+\.json|^\s*\w[\w, ]* :", re.MULTILINE
)
"""Names of fields, files and columns in a text: they are not prose."""


def _parts(name: str) -> set[str]:
    """Split a name at underscores and capitals."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


def _defined(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    """Yield line, name, and whether it is an attribute, of what a file defines."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.lineno, node.name, False
        if isinstance(node, ast.ClassDef):
            for child in node.body:
                if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
                    yield child.lineno, child.target.id, True
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg, True
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id, False


def _fields(tree: ast.AST) -> set[int]:
    """Return the lines of annotated class attributes: they are checked once, as attributes."""
    return {
        child.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for child in node.body
        if isinstance(child, ast.AnnAssign)
    }


def identifiers(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and name of every forbidden identifier that a Python file defines."""
    tree = ast.parse(path.read_text("utf-8"))
    fields = _fields(tree)
    for line, name, attribute in _defined(tree):
        bare = name.strip("_")
        if (attribute or line in fields) and bare in SERIALISED:
            continue
        if name.startswith("test_"):
            continue
        if bare.lower() in WHOLE or _parts(bare) & PARTS:
            yield line, name


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and word of every forbidden word in the text of a file; what stands in quotes
    is a name.
    """
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        tree = ast.parse(text)
        pieces = [
            (node.lineno, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
        ]
        pieces += [
            (n, line.split("#", 1)[1])
            for n, line in enumerate(text.splitlines(), 1)
            if "# " in line
        ]
    else:
        pieces = list(
            enumerate(
                re.sub(
                    r"```.*?```", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL
                ).splitlines(),
                1,
            )
        )
    for line, piece in pieces:
        for word in set(re.findall(r"[a-z]+", QUOTED.sub(" ", piece.lower()))) & PROSE:
            yield line, word


def main(paths: list[str]) -> int:
    """Print what is forbidden and return 1 where there is anything."""
    n = 0
    for path in sorted(
        file
        for root in map(Path, paths)
        for file in ([root] if root.is_file() else root.rglob("*"))
    ):
        if path.suffix not in {".py", ".md"} or "golden" in path.parts or "decisions" in path.parts:
            continue
        words = [(line, f"word {word!r}") for line, word in prose(path)]
        if path.suffix == ".py":
            words += [(line, f"name {name!r}") for line, name in identifiers(path)]
        for line, word in sorted(words):
            print(f"{path}:{line}: {word}")
            n += 1
    print(f"{n} violations", file=sys.stderr)
    return min(n, 1)


if __name__ == "__main__":
    raise SystemExit(
        main(sys.argv[1:] or ["featcache", "cache", "cli", "tests", "docs", "README.md"])
    )
