"""Decode images in worker processes, for devices that are faster than one Python interpreter.

Pillow decodes and resizes outside the interpreter's lock, but what lies between these calls does
not: with 16 threads a machine with 16 cores prepares about 2,000 crops a second, with 16 processes
7,500, and a data-centre GPU computes 5,000 features of a ViT-B/16 in that time.

Each worker is a forked process with a pipe for its tasks and a piece of anonymous shared memory
for its pixels. Anonymous memory does not count against ``/dev/shm``, which containers limit to
64 MiB.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Self

import numpy as np

from featcache.errors import ResourceError
from featcache.extract.loading import Loaded, load, read_sample
from featcache.extract.plan import Request
from featcache.extract.profiling import StageTimes

CHUNK = 8
"""Samples per task: one message to a worker costs about as much as a twentieth of a decode."""

PARENT_POLL_SECONDS = 1.0
"""How often a worker looks whether the process that started it still lives."""

Sample = tuple[str, str]
Placed = tuple[Loaded, dict[str, tuple[int, tuple[int, ...]]]]
"""A sample without pixels, and where in the shared memory those of each stream lie."""


def can_fork() -> bool:
    """Return whether this system can start workers by forking (Linux).

    Returns
    -------
    bool
        Elsewhere a worker would import the user's script again, so threads decode there.
    """
    return "fork" in multiprocessing.get_all_start_methods() and os.uname().sysname == "Linux"


@dataclass(frozen=True)
class _Failure:
    """An exception of a worker as text: not every exception can be sent."""

    traceback: str
    is_memory: bool


class DecodePool:
    """Worker processes that turn samples into pixels; to be called from as many threads.

    Create it before locks are taken: a forked process holds what was locked when it began.

    Parameters
    ----------
    requests : sequence of Request
        All that may be asked for.
    n_workers : int
        Worker processes, at least 1.
    """

    def __init__(self, requests: Sequence[Request], n_workers: int) -> None:
        self._requests = {request.id: request for request in requests}
        sizes = {request.stream: request.preprocessing.size for request in requests}
        self._capacity = CHUNK * sum(3 * size * size for size in sizes.values())
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        try:
            for _ in range(n_workers):
                worker = _Worker(self._requests, self._capacity)
                self._workers.append(worker)
                self._idle.put(worker)
        except BaseException:
            self.close()
            raise

    def __call__(
        self, samples: Sequence[Sample], streams: Sequence[Request], times: StageTimes
    ) -> list[Loaded]:
        """Load up to :data:`CHUNK` samples in one worker; see :func:`~.loading.load`.

        Parameters
        ----------
        samples : sequence of (str, str)
            Sample id and path.
        streams : sequence of Request
            One request of each stream.
        times : StageTimes
            Seconds by stage; the function adds those of the worker.

        Returns
        -------
        list of Loaded
            In the order of the samples.

        Raises
        ------
        ResourceError
            If the worker was killed, for instance for want of memory.
        """
        # Members of archives are read here: an open archive is shared by the threads of this
        # process, and each worker would open and decompress it once more.
        data = [None if os.path.exists(path) else read_sample((name, path), times)
                for name, path in samples]  # fmt: skip
        worker = self._idle.get()
        try:
            return worker.load(samples, data, [request.id for request in streams], times)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the workers; unfinished tasks are dropped."""
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Worker:
    """This side of one worker process."""

    def __init__(self, requests: dict[str, Request], capacity: int) -> None:
        context = multiprocessing.get_context("fork")
        self._memory = mmap.mmap(-1, capacity)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(theirs, self._connection, self._memory, requests, os.getpid()),
            name="featcache-decode",
            daemon=True,
        )
        with warnings.catch_warnings():
            # Python 3.12 warns of forks beside threads. The workers use neither torch nor HDF5,
            # whose threads and locks they do not inherit in a usable state.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        theirs.close()

    def load(
        self,
        samples: Sequence[Sample],
        data: list[bytes | Loaded | None],
        requests: list[str],
        times: StageTimes,
    ) -> list[Loaded]:
        """Return the samples as the worker loaded them."""
        try:
            self._connection.send((list(samples), data, requests))
            answer: tuple[list[Placed], dict[str, float]] | _Failure = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(timeout=1)
            raise ResourceError(
                f"A process that decodes images ended with code {self._process.exitcode}; -9 is"
                " mostly the system's out-of-memory killer. Run the command again with fewer"
                " --workers: finished shards are kept."
            ) from error
        if isinstance(answer, _Failure):
            error_type = MemoryError if answer.is_memory else RuntimeError
            raise error_type(f"A process that decodes images failed:\n{answer.traceback}")
        placed, seconds = answer
        times.merge(seconds)
        memory = np.frombuffer(self._memory, np.uint8)
        for loaded, places in placed:
            for stream, (start, shape) in places.items():
                size = int(np.prod(shape))
                # A copy: the worker writes its next task into the same memory.
                loaded.pixels[stream] = memory[start : start + size].reshape(shape).copy()
        return [loaded for loaded, _ in placed]

    def close(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join()


def _serve(
    connection: Connection,
    other_end: Connection,
    memory: mmap.mmap,
    requests: dict[str, Request],
    parent: int,
) -> None:
    """Answer tasks until the pipe is closed or the parent is gone."""
    # Ctrl-C reaches every process of the terminal; the parent decides what it means. Handlers that
    # the parent has set for other signals are its own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    other_end.close()
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    while True:
        try:
            samples, data, names = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer: Any = _load_all(samples, data, [requests[name] for name in names], memory)
        except Exception as error:  # noqa: BLE001 - sent to the parent, which raises it
            lines = "".join(traceback.format_exception(error))
            answer = _Failure(lines, isinstance(error, MemoryError))
        connection.send(answer)


def _load_all(
    samples: list[Sample],
    data: list[bytes | Loaded | None],
    streams: list[Request],
    memory: mmap.mmap,
) -> tuple[list[Placed], dict[str, float]]:
    times = StageTimes()
    target = np.frombuffer(memory, np.uint8)
    placed: list[Placed] = []
    end = 0
    for sample, content in zip(samples, data, strict=True):
        loaded = load(sample, streams, times, content)
        places: dict[str, tuple[int, tuple[int, ...]]] = {}
        for stream, pixels in loaded.pixels.items():
            start, end = end, end + pixels.size
            target[start:end] = pixels.reshape(-1)
            places[stream] = start, pixels.shape
        placed.append((replace(loaded, pixels={}), places))
    return placed, times.seconds()


def _exit_with_parent(parent: int) -> None:
    """End this process when its parent is gone: a killed run leaves nobody behind."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    os._exit(1)
