"""An item is computed only when the one before it is in the store."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from featcache.extract.concurrency import CommitOrder, Stopped


def test_a_later_item_waits_for_those_before_it() -> None:
    order, went = CommitOrder(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: (order.wait(2), went.set()))
        order.wait(0)
        order.done()
        assert not went.wait(0.1)
        order.done()
        waiting.result(10)
    assert went.is_set()


def test_nobody_waits_for_an_item_that_failed() -> None:
    order = CommitOrder()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(order.wait, 1)
        order.stop()
        with pytest.raises(Stopped):
            waiting.result(10)
