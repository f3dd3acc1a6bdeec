"""All work in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from featcache.engines.base import Engine, Hosts, Make


class LocalHosts:
    """Objects in this process."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def each(self, function: Callable[[Any], Any], parts: list[Any]) -> list[Any]:
        """Return ``function`` of each object."""
        return [function(part) for part in parts]


class LocalEngine(Engine):
    """Does all items here, in order."""

    def run(self, make: Make, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield (item, result) in the order of the items."""
        yield from zip(items, make()(items), strict=True)

    @contextmanager
    def host(self, makes: Sequence[Callable[[], Any]]) -> Iterator[Hosts]:
        """Make the objects here."""
        yield LocalHosts([make() for make in makes])
