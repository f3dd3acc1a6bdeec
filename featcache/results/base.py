"""What all results are made of: numbers, intervals, and how they show in a notebook."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, is_dataclass
from html import escape
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator

MOST_NAMES, MOST_LETTERS = 8, 200
"""Names of a list, and letters of a field, in the short representation of a result."""

Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A float that may be NaN; JSON has ``null`` for NaN."""

Interval = tuple[Number, Number]
"""A 95 % bootstrap confidence interval (low, high), as fractions; NaN where there is none."""

UNKNOWN_CI: Interval = (math.nan, math.nan)
"""The interval of a value that has none."""


def short_repr(value: Any) -> str:
    """Return a dataclass in a few lines: numbers and names as they are, tables by their size.

    Parameters
    ----------
    value : dataclass

    Returns
    -------
    str
        At most some 1,000 characters.

    Examples
    --------
    >>> short_repr(featcache.results.Mean(value=0.5, ci=(0.25, 0.75)))  # doctest: +SKIP
    'Mean(value=0.5, ci=(0.25, 0.75))'
    """
    parts = []
    for field_ in fields(value):
        content = getattr(value, field_.name)
        if isinstance(content, float):
            text = f"{content:.4g}"
        elif isinstance(content, (str, int, bool)) or content is None:
            text = repr(content)
        elif isinstance(content, tuple) and all(isinstance(x, float) for x in content):
            text = "(" + ", ".join(f"{x:.4g}" for x in content) + ")"
        elif isinstance(content, (list, dict)) and all(isinstance(x, str) for x in content):
            names = [repr(name) for name in list(content)[:MOST_NAMES]]
            more = len(content) - len(names)
            text = f"[{', '.join(names)}{f', ... {more} more' if more else ''}]"
        elif isinstance(content, np.ndarray):
            text = f"<{' x '.join(map(str, content.shape))}>"
        elif isinstance(content, (list, tuple, dict)):
            text = f"<{len(content)}>"
        elif is_dataclass(content):
            text = short_repr(content)
        else:
            text = f"<{type(content).__name__}>"
        parts.append(f"{field_.name}={text if len(text) <= MOST_LETTERS else text[:60] + '...'}")
    return f"{type(value).__name__}({', '.join(parts)})"


@dataclass(frozen=True, kw_only=True, repr=False)
class JsonResult:
    """A result that can be written as JSON; subclasses add the fields."""

    def __repr__(self) -> str:
        return short_repr(self)

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values.

        Returns
        -------
        dict of str to Any
            Dicts, lists and numbers, by the names of the fields.
        """
        return asdict(self)
