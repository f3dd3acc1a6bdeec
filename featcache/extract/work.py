"""One work item: one shard's samples through every network that lacks them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featcache.cache import Rows
from featcache.errors import DataError
from featcache.extract.forward import Forward, choose_device, finite_rows
from featcache.extract.load import Loaded, load_batches
from featcache.extract.options import ExtractOptions
from featcache.extract.plan import WorkItem
from featcache.extract.requests import Request
from featcache.extract.summary import Reject
from featcache.progress import Advance

NOT_FINITE = "the backbone gives NaN or Inf for it"


@dataclass
class ShardRows:
    """The rows of one request's shard, in the making.

    Parameters
    ----------
    request : Request
    ids, blocks : list
        Samples with features so far, and their features batch by batch.
    rejects : dict of str to str
        Samples that will never give a feature, with the reason.
    n_forwarded, n_padded : int
    """

    request: Request
    ids: list[str] = field(default_factory=list)
    blocks: list[NDArray[np.float32]] = field(default_factory=list)
    rejects: dict[str, str] = field(default_factory=dict)
    n_forwarded: int = 0
    n_padded: int = 0

    def rows(self) -> Rows:
        """Return the finished rows."""
        empty = np.empty((0, self.request.spec.n_features), np.float32)
        return Rows(self.ids, np.concatenate([empty, *self.blocks]), self.rejects)


@dataclass
class Done:
    """What a work item gave.

    Parameters
    ----------
    shards : list of ShardRows
        One for each request.
    passing : dict of str to str
        Samples that could not be read this time, with the reason.
    """

    item: WorkItem
    shards: list[ShardRows]
    passing: dict[str, str] = field(default_factory=dict)


class Worker:
    """Keeps the networks loaded and does work items.

    Parameters
    ----------
    requests : sequence of Request
        All that may be asked for.
    options : ExtractOptions
    pool : ThreadPoolExecutor
        Where samples are decoded.
    """

    def __init__(
        self, requests: Sequence[Request], options: ExtractOptions, pool: ThreadPoolExecutor
    ) -> None:
        self.options = options
        self.device = choose_device(options.device)
        self._pool = pool
        self._requests = {request.id: request for request in requests}
        self._forward = {
            network: Forward([r for r in requests if r.network == network], self.device)
            for network in dict.fromkeys(request.network for request in requests)
        }

    def run(self, item: WorkItem, advance: Advance) -> Done:
        """Return the rows of every shard of the item."""
        requests = [self._requests[name] for name in item.requests]
        done = Done(item, [ShardRows(request) for request in requests])
        streams = list({request.stream: request for request in requests}.values())
        for batch in load_batches(self._batches(item), streams, self._pool):
            good = [sample for sample in batch if self._usable(sample, done)]
            if good:
                self._pass(good, done.shards)
            advance(len(batch))
        return done

    def _batches(self, item: WorkItem) -> Iterator[tuple[tuple[str, str], ...]]:
        """Cut the job at fixed places, so that a resumed run repeats the same batches."""
        samples, size = item.job.samples, self.options.batch_size
        for start in range(0, len(samples), size):
            yield samples[start : start + size]

    def _usable(self, sample: Loaded, done: Done) -> bool:
        if not sample.reason:
            return True
        self._refuse(sample, sample.reason)
        if sample.lasting:
            for shard in done.shards:
                shard.rejects[sample.sample_id] = sample.reason
        else:
            done.passing[sample.sample_id] = sample.reason
        return False

    def _pass(self, samples: list[Loaded], shards: list[ShardRows]) -> None:
        """Run every network on the pixels that it needs, each pair of them once."""
        for stream, of_stream in _group(shards, "stream").items():
            pixels = np.stack([sample.pixels[stream] for sample in samples])
            for network, mine in _group(of_stream, "network").items():
                for preprocessing in dict.fromkeys(s.request.preprocessing for s in mine):
                    features = self._forward[network](pixels, preprocessing)
                    for shard in mine:
                        if shard.request.preprocessing == preprocessing:
                            self._keep(shard, samples, features[shard.request.key.name])

    def _keep(self, shard: ShardRows, samples: list[Loaded], features: NDArray[np.float32]) -> None:
        finite = finite_rows(features)
        for sample, ok in zip(samples, finite, strict=True):
            shard.n_padded += shard.request.stream in sample.padded
            if ok:
                shard.ids.append(sample.sample_id)
            else:
                self._refuse(sample, NOT_FINITE)
                shard.rejects[sample.sample_id] = NOT_FINITE
        shard.blocks.append(features[finite])
        shard.n_forwarded += len(samples)

    def _refuse(self, sample: Loaded, reason: str) -> None:
        if self.options.strict:
            raise refusal(Reject(sample.path, sample.sample_id, reason))


def refusal(reject: Reject) -> DataError:
    """Return the error with which a strict run stops."""
    return DataError(
        f"{reject.path!r}: {reject.reason}. "
        "Mend or remove the file, or run without --strict to go on without it."
    )


def _group(shards: list[ShardRows], by: str) -> dict[str, list[ShardRows]]:
    groups: dict[str, list[ShardRows]] = {}
    for shard in shards:
        groups.setdefault(getattr(shard.request, by), []).append(shard)
    return groups
