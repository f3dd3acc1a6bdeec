"""What is to be done, as plain data: which samples still lack features, in which shards they will lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from featcache.datasets import Manifest
from featcache.hashing import digest_json


@dataclass(frozen=True)
class ShardJob:
    """One shard to make.

    Parameters
    ----------
    name : str
        Digest of the planned sample ids.
    samples : tuple of (str, str)
        Sample id and a path where its bytes lie, sorted by id.
    """

    name: str
    samples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Plan:
    """The work that one feature key needs.

    Parameters
    ----------
    jobs : tuple of ShardJob
    n_samples : int
        Distinct images in the data.
    n_cached : int
        Of these, how many the store knows already (with features or as rejects).
    """

    jobs: tuple[ShardJob, ...]
    n_samples: int
    n_cached: int

    @property
    def n_missing(self) -> int:
        """How many images have to go through the backbone."""
        return sum(len(job.samples) for job in self.jobs)


def plan(manifest: Manifest, known: Iterable[str], shard_rows: int) -> Plan:
    """Return the shards that are missing.

    Parameters
    ----------
    manifest : Manifest
        Samples may repeat; each content is done once.
    known : iterable of str
        Ids that the store has features or a reason for rejection of.
    shard_rows : int
        Rows per shard at the most.

    Returns
    -------
    Plan

    Notes
    -----
    Samples are taken in the order of their ids and cut into full shards. A run that was interrupted
    after any number of shards is therefore resumed with the same cuts as if it had not been.
    """
    paths = {s.sample_id: s.path for s in reversed(manifest.usable().samples)}
    known = set(known)
    missing = [(name, paths[name]) for name in sorted(paths) if name not in known]
    cuts = range(0, len(missing), shard_rows)
    jobs = tuple(_job(missing[start : start + shard_rows]) for start in cuts)
    return Plan(jobs, len(paths), len(paths) - len(missing))


def _job(samples: list[tuple[str, str]]) -> ShardJob:
    return ShardJob(digest_json([name for name, _ in samples]), tuple(samples))
