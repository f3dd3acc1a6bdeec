"""Text from outside: JSON that is bounded before anything is done with it."""

from __future__ import annotations

import json
from typing import Any, NoReturn

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
