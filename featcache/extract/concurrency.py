"""Several processes at one store: what one passes over because another is making it.

Work ahead in threads, in order, with a bound.

Whose turn it is: an item is computed only when the one before it is in the store.

Without this a kill while a shard is being written would cost that shard and what was computed of
the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from threading import Condition
from typing import TypeVar

from featcache.cache import FeatureKey, FeatureStore
from featcache.extract.plan import WorkItem

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

    Yields
    ------
    R
        ``function(item)`` in order, with at most ``ahead`` items taken before their turn.

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


class Stopped(Exception):
    """There will be no turn."""


class CommitOrder:
    """Items that are done, counted; threads wait here for those before theirs."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._done = 0
        self._stopped = False

    def wait(self, number: int) -> None:
        """Block until the ``number`` items before this one are done.

        Parameters
        ----------
        number : int
            Number in the order.

        Raises
        ------
        Over
            If that will not be.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._done >= number)
            if self._stopped:
                raise Stopped

    def done(self) -> None:
        """Say that the next item is in the store."""
        with self._changed:
            self._done += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """End all that wait: an item failed or nobody wants more, and no later one will be
        written.
        """
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


def without_items(item: WorkItem, done: Container[str]) -> WorkItem:
    """Return an item with only those requests that this process has not done.

    Parameters
    ----------
    item : WorkItem
        Item to add or to process.
    done : Container[str]
        Keys that are finished.

    Returns
    -------
    WorkItem
        An item with only those requests that this process has not done.
    """
    return replace(item, requests=tuple(name for name in item.requests if name not in done))


def wait_for_others(
    passed: Iterable[WorkItem], keys: Mapping[str, FeatureKey], store: FeatureStore
) -> list[WorkItem]:
    """Wait for the shards that other processes are making; return what they left undone.

    Parameters
    ----------
    passed : iterable of WorkItem
        With the requests that another process held or had made.
    keys : mapping of str to FeatureKey
        By the id of the request.
    store : FeatureStore

    Returns
    -------
    list of WorkItem
        What is in nobody's hands and not in the store: its maker was killed or could not read it.
    """
    left = []
    for item in passed:
        lacking = [name for name in item.requests if not store.has(keys[name], item.job.name)]
        for name in lacking:
            store.wait(keys[name], item.job.name)
        undone = tuple(name for name in lacking if not store.has(keys[name], item.job.name))
        if undone:
            left.append(replace(item, requests=undone))
    return left
