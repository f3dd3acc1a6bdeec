"""Floats that may not exist, and intervals of them."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator


def _from_json(value: Any) -> Any:
    """Read the ``null`` that stands for NaN in JSON."""
    return math.nan if value is None else value


Number = Annotated[float, BeforeValidator(_from_json)]
"""A float that may be NaN, which JSON writes as ``null``."""

Interval = tuple[Number, Number]
"""A 95 % bootstrap interval: (low, high), fractions; NaN where there is none."""

UNKNOWN: Interval = (math.nan, math.nan)
