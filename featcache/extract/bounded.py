"""Work ahead in threads, in order, with a bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(
    pool: Executor, function: Callable[[T], R], items: Iterable[T], ahead: int
) -> Iterator[R]:
    """Yield ``function(item)`` in order, with at most ``ahead`` items taken before their turn.

    Parameters
    ----------
    pool : Executor
    function : callable
    items : iterable
        Taken one by one, only when there is room.
    ahead : int
        Results that may wait, or be in the making, behind the one that is next.

    Notes
    -----
    When the consumer stops or the function fails, what has not begun is cancelled.
    """
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
