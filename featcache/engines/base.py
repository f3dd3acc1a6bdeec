"""What every engine does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

Work: TypeAlias = Callable[[Sequence[Any]], Iterator[Any]]
"""Takes items and yields one result for each, in their order."""

Make: TypeAlias = Callable[[], Work]
"""Makes the work where it is to be done: loads networks, opens files. Can be pickled."""


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
        """
