"""All work in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from featcache.engines.base import Engine, Make


class LocalEngine(Engine):
    """Does all items here, in order."""

    def run(self, make: Make, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield (item, result) in the order of the items."""
        yield from zip(items, make()(items), strict=True)
