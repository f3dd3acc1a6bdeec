"""Text from outside: JSON that is bounded before anything is done with it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import regex

from featcache.errors import SettingsError

MAX_JSON_BYTES = 1 << 24
MAX_JSON_DEPTH = 32


def parse_json(text: bytes | str, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return the value of a JSON text that may come from anybody.

    Parameters
    ----------
    text : bytes or str
        UTF-8.
    max_bytes : int
        Refuse more than this.

    Returns
    -------
    JSON value
        Without NaN and Infinity, nested 32 deep at the most.

    Raises
    ------
    ValueError
        With the reason, in a few words.

    Examples
    --------
    >>> parse_json(b'{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: it is nested too deep
    """
    if len(text) > max_bytes:
        raise ValueError(f"it has {len(text):,} bytes; {max_bytes:,} are the limit")
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    _check_depth(value)
    return value


PATTERN_S = 1.0
"""Seconds that a pattern may search in one path: good ones take microseconds."""


class BoundedPattern:
    """A regular expression from a user or file, whose searches end.

    Parameters
    ----------
    pattern : str
    where : str
        Names the pattern in messages: ``"--source-pattern"``.

    Raises
    ------
    SettingsError
        If it is no regular expression.
    """

    def __init__(self, pattern: str, where: str) -> None:
        self.pattern, self._where = pattern, where
        try:
            self._compiled = regex.compile(pattern)
        except (regex.error, RecursionError, OverflowError) as error:
            raise SettingsError(
                f"{where} {pattern!r} is no regular expression: {error}."
            ) from error

    def first_group(self, text: str) -> str:
        """Return the first group, or the whole match of a pattern without groups.

        Parameters
        ----------
        text : str
            Text to search.

        Returns
        -------
        str
            Empty where nothing matches.

        Raises
        ------
        SettingsError
            If the search takes longer than a second.
        """
        try:
            match = self._compiled.search(text, timeout=PATTERN_S)
        except TimeoutError as error:
            raise SettingsError(
                f"{self._where} {self.pattern!r} searches {text!r} for more than {PATTERN_S:g} s: "
                "it backtracks without end. Avoid nested repeats such as (a+)+."
            ) from error
        if match is None:
            return ""
        return str(match[1 if self._compiled.groups else 0] or "")


def format_csv(rows: Iterable[Sequence[Any]]) -> str:
    r"""Return rows as CSV that reads back as it was, whatever the texts hold.

    A row with a carriage return is quoted whole: the module leaves it bare, and then refuses it.

    Parameters
    ----------
    rows : iterable of sequence

    Returns
    -------
    str
        Lines end in ``\n``.

    Examples
    --------
    >>> format_csv([["Icon\r", 1]])
    '"Icon\r","1"\n'
    """
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        bare = any(isinstance(value, str) and "\r" in value for value in row)
        (quoted if bare else plain).writerow(row)
    return text.getvalue()


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


def _check_depth(value: Any) -> None:
    """Go through the value level by level, without recursion."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        nested = [item for item in level if isinstance(item, (dict, list))]
        level = [x for item in nested for x in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return
    raise ValueError("it is nested too deep")
