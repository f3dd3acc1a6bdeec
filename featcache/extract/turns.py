"""Whose turn it is: an item is computed only when the one before it is in the store.

Without this a kill while a shard is being written would cost that shard and what was computed of the next.
"""

from __future__ import annotations

from threading import Condition


class Over(Exception):
    """There will be no turn."""


class Turns:
    """Items that are done, counted; threads wait here for those before theirs."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._done = 0
        self._stopped = False

    def wait(self, number: int) -> None:
        """Block until the ``number`` items before this one are done.

        Raises
        ------
        Over
            If that will not be.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._done >= number)
            if self._stopped:
                raise Over

    def done(self) -> None:
        """Say that the next item is in the store."""
        with self._changed:
            self._done += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """End all that wait: an item failed or nobody wants more, and no later one will be written."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
