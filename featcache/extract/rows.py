"""The rows of a work item in the making."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featcache.cache import Rows
from featcache.errors import DataError
from featcache.extract.forward import finite_rows
from featcache.extract.load import Loaded
from featcache.extract.plan import WorkItem
from featcache.extract.rejects import Reject
from featcache.extract.requests import Request

NOT_FINITE = "the backbone gives NaN or Inf for it"


@dataclass
class ShardRows:
    """The rows of one request's shard.

    Parameters
    ----------
    request : Request
    strict : bool
        Refuse to go on at the first sample without a feature.
    ids, blocks : list
        Samples with features so far, and their features batch by batch.
    rejects : dict of str to str
        Samples that will never give a feature, with the reason.
    unread : dict of str to str
        Samples that could not be read this time, with the reason.
    n_forwarded, n_padded : int
    """

    request: Request
    strict: bool = False
    ids: list[str] = field(default_factory=list)
    blocks: list[NDArray[np.float32]] = field(default_factory=list)
    rejects: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    n_forwarded: int = 0
    n_padded: int = 0

    def add(self, samples: list[Loaded], features: NDArray[np.float32] | None) -> None:
        """Add a batch.

        Parameters
        ----------
        samples : list of Loaded
            All of the batch, also those without pixels.
        features : ndarray of shape (n_with_pixels, n_features), float32, or None
            None where no sample has pixels.
        """
        stream = self.request.stream
        for sample in samples:
            if sample.unread:
                self._refuse(sample, sample.unread, self.unread)
            elif stream in sample.refused:
                self._refuse(sample, sample.refused[stream], self.rejects)
        if features is not None:
            self._keep([sample for sample in samples if stream in sample.pixels], features)

    def rows(self) -> Rows:
        """Return the finished rows."""
        empty = np.empty((0, self.request.spec.n_features), np.float32)
        return Rows(self.ids, np.concatenate([empty, *self.blocks]), self.rejects)

    def _keep(self, samples: list[Loaded], features: NDArray[np.float32]) -> None:
        finite = finite_rows(features)
        for sample, ok in zip(samples, finite, strict=True):
            self.n_padded += self.request.stream in sample.padded
            if ok:
                self.ids.append(sample.sample_id)
            else:
                self._refuse(sample, NOT_FINITE, self.rejects)
        self.blocks.append(features[finite])
        self.n_forwarded += len(samples)

    def _refuse(self, sample: Loaded, reason: str, reasons: dict[str, str]) -> None:
        if self.strict:
            raise refusal(Reject(sample.path, sample.sample_id, reason))
        reasons[sample.sample_id] = reason


@dataclass
class ItemRows:
    """The rows of all shards of one work item.

    Parameters
    ----------
    item : WorkItem
    shards : list of ShardRows
        One for each request that this run makes.
    """

    item: WorkItem
    shards: list[ShardRows]

    def add(self, samples: list[Loaded], features: dict[str, NDArray[np.float32]]) -> None:
        """Add a batch; ``features`` are by request."""
        for shard in self.shards:
            shard.add(samples, features.get(shard.request.id))


def refusal(reject: Reject) -> DataError:
    """Return the error with which a strict run stops."""
    return DataError(
        f"{reject.path!r}: {reject.reason}. "
        "Mend or remove the file, or run without --strict to go on without it."
    )
