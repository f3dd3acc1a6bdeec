"""What every engine does.

All work in this process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeAlias

Work: TypeAlias = Callable[[Sequence[Any]], Iterator[Any]]
"""Takes items and yields one result for each, in their order."""

Make: TypeAlias = Callable[[], Work]
"""Makes the work where it is to be done: loads networks, opens files. Can be pickled."""


class Hosts(Protocol):
    """Objects that live where their data are, in their order."""

    parts: list[Any]
    """The objects, or stand-ins from which their attributes can be read."""

    def map(self, function: Callable[[Any], Any], parts: list[Any]) -> Iterable[Any]:
        """Return ``function`` of each object, in their order; it runs where the object lives.

        Parameters
        ----------
        function : Callable[[Any], Any]
            Function that is applied to each item.
        parts : list[Any]
            Parts of the work, one for each worker.

        Returns
        -------
        Iterable[Any]
            ``function`` of each object, in their order.
        """


class Engine(ABC):
    """Does items in one or more processes.

    Parameters
    ----------
    workers : int
        Processes; 0 means what fits.
    address : str
        Of a running cluster.

    Attributes
    ----------
    n_workers : int
        How many processes work, known once :meth:`run` has begun.
    """

    n_workers: int = 1

    def __init__(self, workers: int = 0, address: str = "") -> None:
        self.workers = workers
        self.address = address

    @abstractmethod
    def run(self, make: Make, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield (item, result) for every item, as they are done.

        Parameters
        ----------
        make : callable
            Makes the work in each process.
        items : sequence
            Independent of each other; an item may be done twice where a worker was lost in between.

        Returns
        -------
        Iterator[tuple[Any, Any]]
            (item, result) for every item, as they are done.
        """

    @abstractmethod
    def host(self, makes: Sequence[Callable[[], Any]]) -> AbstractContextManager[Hosts]:
        """Make one object per maker, each in a process of its own, and keep them for the block.

        For data larger than one memory: every object holds its rows, and what is asked of all of
        them comes back as small sums, added up in the order of the makers.

        Parameters
        ----------
        makes : Sequence[Callable[[], Any]]
            Functions that build the object of each worker.

        Returns
        -------
        AbstractContextManager[Hosts]
        """


class LocalHosts:
    """Objects in this process."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def map(self, function: Callable[[Any], Any], parts: list[Any]) -> list[Any]:
        """Return ``function`` of each object.

        Parameters
        ----------
        function : Callable[[Any], Any]
            Function that is applied to each item.
        parts : list[Any]
            Parts of the work, one for each worker.

        Returns
        -------
        list[Any]
            ``function`` of each object.
        """
        return [function(part) for part in parts]


class LocalEngine(Engine):
    """Does all items here, in order."""

    def run(self, make: Make, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield (item, result) in the order of the items.

        Parameters
        ----------
        make : Make
            Function that builds the object in the worker.
        items : Sequence[Any]
            Items, in order.

        Yields
        ------
        tuple[Any, Any]
            (item, result) in the order of the items.
        """
        yield from zip(items, make()(items), strict=True)

    @contextmanager
    def host(self, makes: Sequence[Callable[[], Any]]) -> Iterator[Hosts]:
        """Make the objects here.

        Parameters
        ----------
        makes : Sequence[Callable[[], Any]]
            Functions that build the object of each worker.

        Yields
        ------
        Hosts
        """
        yield LocalHosts([make() for make in makes])
