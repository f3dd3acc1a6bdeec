"""The pipeline of one process: work items in, shards in the store out, all stages at the same time.

On a CPU every core is a worker that takes a batch from file to features in one thread: no thread
waits for another in the middle of an operation, and the features do not depend on the number of
cores. On a GPU processes load samples, one thread keeps the device a batch ahead, and results are
fetched a batch later. In both, files are read across the ends of shards while shards are
written; the networks wait there, so that a kill costs one shard at most.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import count, groupby

import numpy as np
from numpy.typing import NDArray

from featcache.cache import FeatureStore
from featcache.errors import ResourceError
from featcache.extract import device as dev
from featcache.extract.concurrency import CommitOrder, map_ahead
from featcache.extract.decode_pool import CHUNK, DecodePool, can_fork
from featcache.extract.fingerprint import check_network_fingerprints
from featcache.extract.forward import Networks, PendingBatch, group_by
from featcache.extract.loading import Loaded, load
from featcache.extract.options import ExtractOptions
from featcache.extract.plan import Request, WorkItem
from featcache.extract.profiling import StageTimes
from featcache.extract.results import ItemReport, ItemRows, ShardRows, writer_record

log = logging.getLogger("featcache")
Features = dict[str, NDArray[np.float32]]

AHEAD = 2
"""Batches in the making for each worker, or behind a GPU."""


@dataclass
class Batch:
    """A few samples of a work item, the ``item``-th of its stream; ``last`` closes it."""

    number: int
    item: int
    rows: ItemRows
    samples: tuple[tuple[str, str], ...]
    last: bool
    locks: ExitStack = field(repr=False)

    @property
    def requests(self) -> list[Request]:
        """What is to be made of them."""
        return [shard.request for shard in self.rows.shards]


@dataclass(frozen=True)
class Chunk:
    """Consecutive samples of a batch that one worker loads."""

    batch: Batch
    samples: tuple[tuple[str, str], ...]


class Pipeline:
    """Networks that stay loaded, and the threads around them.

    Parameters
    ----------
    requests : sequence of Request
        All that may be asked for.
    store : FeatureStore
    options : ExtractOptions
    advance : callable, optional
        Is told the number of images that have just been done.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        store: FeatureStore,
        options: ExtractOptions,
        advance: Callable[[int], object] = lambda n: None,
    ) -> None:
        self.store, self.options, self.advance = store, options, advance
        self.device = dev.choose_device(options.device)
        if warning := dev.idle_gpu_warning(self.device):
            log.warning(warning)
        dev.keep_freed_memory()
        self.threads = options.workers or dev.count_cores()
        self.times = StageTimes()
        self._requests = {request.id: request for request in requests}
        self.networks = Networks(requests, self.device, options.compiled)
        self._turns = CommitOrder()
        self.batch_size = options.batch_size or self._fit()
        self._checked = False

    @property
    def on_cpu(self) -> bool:
        """Whether every thread both loads and computes."""
        return self.device.type == "cpu"

    def __call__(self, items: Iterable[WorkItem]) -> Iterator[ItemReport]:
        """Do work items; yield a report of each, in order, once its shards are in the store."""
        left = deque(items)
        while left:
            try:
                self._check_once()
                for report in self._stream(list(left)):
                    left.popleft()
                    yield report
            except Exception as error:
                if not dev.is_out_of_memory(error):
                    raise
                # Go on with half the batch: unfinished shards begin anew, so that each has one
                # batch size.
                if self.batch_size == 1:
                    raise ResourceError(
                        f"The memory of {self.device} is too small for one image: {error}. Choose"
                        " fewer backbones at once, --precision bf16, fewer --workers, or another"
                        " --device."
                    ) from error
                self.batch_size //= 2
                log.warning(
                    "Out of memory on %s: going on with --batch-size %d.",
                    self.device,
                    self.batch_size,
                )

    def _check_once(self) -> None:
        """Compare the networks with what they were, before the first shard: a rehearsal writes
        nothing.
        """
        if not self._checked:
            start = time.perf_counter()
            record = writer_record(self.device.type, self.batch_size)
            check_network_fingerprints(
                self.networks, list(self._requests.values()), self.store, record
            )
            self._checked = True
            self.started(time.perf_counter() - start)

    def started(self, seconds: float) -> None:
        """Count time in which every worker waited for the start.

        Parameters
        ----------
        seconds : float
            Time in seconds.
        """
        self.times.add("start", seconds * (self.threads if self.on_cpu else 1))

    def rehearse(self, item: WorkItem, n: int) -> float:
        """Return the seconds that an image of an item takes, by taking ``n`` of them; nothing is
        kept.

        Parameters
        ----------
        item : WorkItem
            Item to add or to process.
        n : int
            Number of items.

        Returns
        -------
        float
            The seconds that an image of an item takes, by taking ``n`` of them.
        """
        samples = item.job.samples[:n]
        rows = ItemRows(item, self._shards(item))
        size = max(min(self.batch_size, len(samples) // self.threads), 1)
        batches = (
            Batch(i, 0, rows, samples[i : i + size], False, ExitStack())
            for i in range(0, len(samples), size)
        )
        start = time.perf_counter()
        for _ in self._flow(batches):
            pass
        return (time.perf_counter() - start) / len(samples)

    def _flow(
        self, batches: Iterable[Batch]
    ) -> Generator[tuple[Batch, list[Loaded], Features], None, None]:
        self._turns = CommitOrder()
        return self._run_workers(batches) if self.on_cpu else self._through_device(batches)

    def _fit(self) -> int:
        nominal = dev.BATCH.get(self.device.type, 32)
        workers = self.threads if self.on_cpu else 1
        per_image = self.networks.bytes_per_image()
        return dev.fit_batch(nominal, per_image, workers, dev.free_memory(self.device))

    def _stream(self, items: list[WorkItem]) -> Iterator[ItemReport]:
        """Let batches flow across items; write each item as soon as it is whole."""
        with ExitStack() as locks, closing(self._flow(self._batches(items, locks))) as flow:
            for batch, samples, features in flow:
                batch.rows.add(samples, features)
                self.advance(len(samples))
                if batch.last:
                    report = self._write(batch)
                    self._turns.done()
                    yield report

    def _batches(self, items: list[WorkItem], locks: ExitStack) -> Iterator[Batch]:
        """Cut the items at fixed places, so that a resumed run repeats the same batches."""
        numbers = count()
        for i, item in enumerate(items):
            own = locks.enter_context(ExitStack())
            rows = ItemRows(
                item,
                [
                    s
                    for s in self._shards(item)
                    if own.enter_context(self.store.lock(s.request.key, item.job.name))
                ],
            )
            samples = item.job.samples if rows.shards else ()
            starts = range(0, max(len(samples), 1), self.batch_size)
            for start in starts:
                part = samples[start : start + self.batch_size]
                yield Batch(next(numbers), i, rows, part, start == starts[-1], own)

    def _shards(self, item: WorkItem) -> list[ShardRows]:
        return [ShardRows(self._requests[name], self.options.strict) for name in item.requests]

    def _run_workers(
        self, batches: Iterable[Batch]
    ) -> Generator[tuple[Batch, list[Loaded], Features], None, None]:
        """Take each batch from files to features in one thread, as many at once as there are
        cores.
        """
        import torch

        def work(batch: Batch) -> tuple[Batch, list[Loaded], Features]:
            samples = self._load_all(batch)
            pending = self._start(batch, samples)
            return batch, samples, pending.result(self.times)

        with (
            dev.single_threaded(),
            ThreadPoolExecutor(self.threads, "worker", torch.set_num_threads, (1,)) as pool,
        ):
            try:
                yield from map_ahead(pool, work, batches, AHEAD * self.threads)
            finally:  # before the pool waits for its threads
                self._turns.stop()

    def _start(self, batch: Batch, samples: list[Loaded]) -> PendingBatch:
        """Give a batch to the networks once the item before its own is in the store."""
        with self.times("wait"):
            self._turns.wait(batch.item)
        return self.networks.start(samples, batch.requests, self.times)

    def _load_all(self, batch: Batch) -> list[Loaded]:
        streams = _streams(batch)
        return [load(sample, streams, self.times) for sample in batch.samples]

    def _through_device(
        self, batches: Iterable[Batch]
    ) -> Generator[tuple[Batch, list[Loaded], Features], None, None]:
        """Load in worker processes; keep the device one batch ahead of the results that are
        fetched.
        """
        running: tuple[Batch, PendingBatch] | None = None
        with ExitStack() as stack:
            # Before the first batch: a forked process holds the locks that are held then.
            load_chunk = self._chunk_loader(stack)
            pool = stack.enter_context(ThreadPoolExecutor(self.threads, "featcache-load"))
            for batch, samples in self._loaded(batches, pool, load_chunk):
                if running is not None and running[0].item != batch.item:
                    yield running[0], running[1].samples, running[1].result(self.times)
                    running = None
                started = self._start(batch, samples)
                if running is not None:
                    yield running[0], running[1].samples, running[1].result(self.times)
                running = batch, started
            if running is not None:
                yield running[0], running[1].samples, running[1].result(self.times)

    def _chunk_loader(self, stack: ExitStack) -> Callable[[Chunk], list[Loaded]]:
        """Return what loads a chunk of a batch: a worker process where the system can fork."""
        if self.threads > 1 and can_fork():
            decode = stack.enter_context(DecodePool(list(self._requests.values()), self.threads))
            return lambda chunk: decode(chunk.samples, _streams(chunk.batch), self.times)
        return lambda chunk: [
            load(sample, _streams(chunk.batch), self.times) for sample in chunk.samples
        ]

    def _loaded(
        self,
        batches: Iterable[Batch],
        pool: ThreadPoolExecutor,
        load_chunk: Callable[[Chunk], list[Loaded]],
    ) -> Iterator[tuple[Batch, list[Loaded]]]:
        """Yield batches with their samples, chunk by chunk loaded ahead."""

        def work(chunk: Chunk) -> tuple[Batch, list[Loaded]]:
            return chunk.batch, load_chunk(chunk) if chunk.samples else []

        chunks = (
            Chunk(batch, batch.samples[start : start + CHUNK])
            for batch in batches
            for start in range(0, max(len(batch.samples), 1), CHUNK)
        )
        # Enough for the next batch and for every worker to have a chunk in hand.
        ahead = AHEAD * max(-(-self.batch_size // CHUNK), self.threads)
        results = map_ahead(pool, work, chunks, ahead)
        for _, group in groupby(results, lambda result: result[0].number):
            with self.times("wait"):
                loaded_group = list(group)
            yield loaded_group[0][0], [sample for _, part in loaded_group for sample in part]

    def _write(self, batch: Batch) -> ItemReport:
        """Put the shards of a finished item into the store."""
        job = batch.rows.item.job
        report = ItemReport(n_images=len(job.samples))
        record = writer_record(self.device.type, self.batch_size)
        with batch.locks, self.times("write"):
            for shard in batch.rows.shards:
                rows = shard.rows()
                filled = bool(rows.ids or rows.rejects)
                if filled:
                    self.store.write(shard.request.key, job.name, rows, record)
                report.add(shard, filled)
        report.seconds = self.times.collect()
        report.device = dev.describe_device(self.device)
        report.batch_size, report.threads = self.batch_size, self.threads
        report.on_cpu = self.on_cpu
        return report


def _streams(batch: Batch) -> list[Request]:
    """Return one request of each stream of pixels."""
    return [stream[0] for _, stream in group_by(batch.requests, lambda request: request.stream)]
