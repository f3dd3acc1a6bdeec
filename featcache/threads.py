"""What the machine has: free memory, and threads of our own over single-threaded BLAS.

BLAS's own threads wait for each other by spinning: on a machine that others use too, two of them
were measured fifteen times slower than one. Independent pieces on plain threads lose nothing
there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_info, threadpool_limits

T = TypeVar("T")
R = TypeVar("R")

_pool: ContextVar[ThreadPoolExecutor | None] = ContextVar("featcache_pool", default=None)


@contextmanager
def thread_pool() -> Iterator[None]:
    """Let :func:`parallel_map` use as many threads as BLAS was allowed, and BLAS one.

    Yields
    ------
    None
    """
    if _pool.get() is not None:
        yield
        return
    allowed = [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(max(allowed, default=1)) as threads,
    ):
        token = _pool.set(threads)
        try:
            yield
        finally:
            _pool.reset(token)


def parallel_map(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return the function's values on independent items, in their order.

    Parameters
    ----------
    function : Callable[[T], R]
        Function that is applied to each item.
    items : Iterable[T]
        Items, in order.

    Returns
    -------
    list[R]
        The function's values on independent items, in their order.
    """
    threads = _pool.get()
    if threads is None or threads._max_workers == 1:
        return [function(item) for item in items]
    return list(threads.map(function, items))


def parts(n: int, least: int = 256) -> list[slice]:
    """Cut n rows into a piece per thread, of at least ``least`` rows.

    Parameters
    ----------
    n : int
        Number of items.
    least : int
        Smallest number of rows of a part.

    Returns
    -------
    list[slice]
    """
    threads = _pool.get()
    return split_evenly(n, 1 if threads is None else max(min(threads._max_workers, n // least), 1))


def split_evenly(n: int, k: int) -> list[slice]:
    """Cut n things into k pieces of nearly equal size.

    Parameters
    ----------
    n : int
        Number of items.
    k : int
        Number of parts.

    Returns
    -------
    list[slice]

    Examples
    --------
    >>> split_evenly(5, 2)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    return [slice(n * i // k, n * (i + 1) // k) for i in range(k)]


def available_memory() -> int:
    """Return the bytes that this process can still take, the file cache counted as free.

    Returns
    -------
    int
        What the system can give, or what is left to the limit of the container if that is less.
    """
    return min(_left_in_system(), _left_in_container())


def _left_in_system() -> int:
    """Return the bytes that the system can still give."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _left_in_container(folder: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes up to the limit of the container (cgroup v2); very many where there is
    none. The kernel drops cached files before it kills, so they do not count as used.
    """
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup, or "max"
        return sys.maxsize
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
        used -= next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, StopIteration, ValueError):
        pass
    return max(limit - used, 0)
