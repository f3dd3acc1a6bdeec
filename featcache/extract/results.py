"""What each work item did, and what they did together.

What an extraction did, as plain data.

The list of rejects: every file that gives no feature, with its reason.

The rows of a work item in the making.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.cache import FeatureKey, Rows
from featcache.errors import DataError
from featcache.extract.forward import finite_rows
from featcache.extract.loading import Loaded
from featcache.extract.plan import Request, WorkItem
from featcache.extract.profiling import binding_stage, format_stages
from featcache.files import read_file, write_atomic
from featcache.parsing import format_csv

FILE_NAME = "rejects.csv"


@dataclass(frozen=True)
class Reject:
    """An image that gives no feature, and why."""

    path: str
    sample_id: str
    reason: str


def write_rejects(store: Path, summaries: Iterable[ExtractSummary]) -> Path:
    """Write the rejects of the last extraction beside the shards, and return the file.

    Parameters
    ----------
    store : Path
        Folder of the feature store.
    summaries : Iterable[ExtractSummary]
        Summaries of the runs.

    Returns
    -------
    Path
    """
    rows = [
        (summary.backbone, summary.view, reject.path, reject.sample_id, reject.reason)
        for summary in summaries
        for reject in summary.rejects
    ]
    text = format_csv([("backbone", "view", "path", "sample_id", "reason"), *rows])
    path = store / FILE_NAME
    data = text.encode("utf-8", "surrogateescape")
    if not path.exists() or read_file(path) != data:
        write_atomic(path, data)
    return path


NOT_FINITE = "the backbone gives NaN or Inf for it"
BEYOND_FLOAT16 = (
    "its feature has a value beyond 65,504, the largest of float16; use --dtype float32"
)


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
    blocks: list[NDArray[Any]] = field(default_factory=list)
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
        """Return the finished rows.

        Returns
        -------
        Rows
            The finished rows.
        """
        empty = np.empty((0, self.request.spec.n_features), self.request.dtype)
        return Rows(self.ids, np.concatenate([empty, *self.blocks]), self.rejects)

    def _keep(self, samples: list[Loaded], features: NDArray[np.float32]) -> None:
        stored = self.request.round(features)
        finite = finite_rows(stored)
        for sample, row, ok in zip(samples, features, finite, strict=True):
            self.n_padded += self.request.stream in sample.padded
            if ok:
                self.ids.append(sample.sample_id)
            else:
                reason = BEYOND_FLOAT16 if np.isfinite(row).all() else NOT_FINITE
                self._refuse(sample, reason, self.rejects)
        self.blocks.append(stored[finite])
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
        """Add a batch; ``features`` are by request.

        Parameters
        ----------
        samples : list[Loaded]
            Samples, in the order of the rows.
        features : dict[str, ndarray of float32]
            Features of shape (n_samples, n_features).
        """
        for shard in self.shards:
            shard.add(samples, features.get(shard.request.id))


def refusal(reject: Reject) -> DataError:
    """Return the error with which a strict run stops.

    Parameters
    ----------
    reject : Reject
        Sample without features, with the reason.

    Returns
    -------
    DataError
        The error with which a strict run stops.
    """
    return DataError(
        f"{reject.path!r}: {reject.reason}. "
        "Repair or remove the file, or run without --strict to go on without it."
    )


PACKAGES = ("numpy", "pillow", "timm", "torch")
"""What shapes a feature besides ourselves."""


@dataclass
class ItemReport:
    """What one work item did; small and plain, so that it can come from another machine.

    Parameters
    ----------
    n_images : int
        Samples of the item.
    forwarded, padded, shards : Counter of str
        By request: images through the backbone, small ones padded, shards written.
    unread : dict of str to dict
        By request: samples that could not be read this time, with the reason.
    seconds : dict of str to float
        Per stage since the report before, added up over threads.
    device : str
    on_cpu : bool
    batch_size, threads : int
    """

    n_images: int = 0
    forwarded: Counter[str] = field(default_factory=Counter)
    padded: Counter[str] = field(default_factory=Counter)
    shards: Counter[str] = field(default_factory=Counter)
    unread: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    device: str = ""
    on_cpu: bool = True
    batch_size: int = 0
    threads: int = 0

    def add(self, shard: ShardRows, written: bool) -> None:
        """Count a finished shard.

        Parameters
        ----------
        shard : ShardRows
            Rows of a shard.
        written : bool
            Whether the shard was written by this run.
        """
        name = shard.request.id
        self.forwarded[name] += shard.n_forwarded
        self.padded[name] += shard.n_padded
        self.shards[name] += written
        self.unread.setdefault(name, {}).update(shard.unread)


@dataclass
class RunReport:
    """What a whole run did, for a person and for ``--json``.

    Parameters
    ----------
    engine : str
    device : str
        Where the forward passes ran, in words; several are joined by a comma.
    workers : int
        Processes that computed.
    threads : int
        Of each.
    batch_size : int
        The smallest that was used.
    n_images : int
        Files that were read, each once.
    n_passes : int
        Images through backbones: one file may go through several, in several views.
    seconds, start_s : float, s
        In all; and of that before the first image, for libraries and networks.
    stages : dict of str to float
        Seconds per stage, added up over threads.
    binds : str
        The stage whose speed the run had; empty where nothing was done.
    """

    engine: str = "local"
    device: str = ""
    workers: int = 1
    threads: int = 0
    batch_size: int = 0
    n_images: int = 0
    n_passes: int = 0
    seconds: float = 0.0
    start_s: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    binds: str = ""

    def add(self, report: ItemReport) -> None:
        """Add what an item did.

        Parameters
        ----------
        report : ItemReport
            What one work item did.
        """
        self.n_images += report.n_images
        self.n_passes += report.forwarded.total()
        for stage, seconds in report.seconds.items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds
        devices = dict.fromkeys([*filter(None, self.device.split(", ")), report.device])
        self.device = ", ".join(devices)
        self.threads = max(self.threads, report.threads)
        self.batch_size = min(self.batch_size or report.batch_size, report.batch_size)

    def finish(self, seconds: float, on_cpu: bool) -> None:
        """Close the run: idle time of the workers, and the stage that binds.

        Parameters
        ----------
        seconds : float
            Time in seconds.
        on_cpu : bool
            Whether the CPU computed.
        """
        self.seconds = seconds
        workers = self.workers * (self.threads if on_cpu else 1)
        self.start_s = self.stages.get("start", 0.0) / workers
        if on_cpu:
            busy = sum(v for stage, v in self.stages.items() if stage not in ("wait", "write"))
            self.stages["wait"] = max(workers * seconds - busy, 0.0)
        loaders = 0 if on_cpu else self.workers * self.threads
        self.binds = binding_stage(self.stages, seconds, loaders, workers)

    @property
    def images_per_s(self) -> float:
        """Files per second, each through all that was asked for."""
        return self.n_images / self.seconds if self.seconds else 0.0

    @property
    def images_per_s_at_work(self) -> float:
        """The same without the start: what further files would cost."""
        return self.n_images / (self.seconds - self.start_s) if self.seconds else 0.0

    def so_far(self) -> str:
        """Return where the finished shards were made and what took the time; empty before the
        first.

        Returns
        -------
        str
            Where the finished shards were made and what took the time.
        """
        stages = without_write(self.stages)
        stages = {stage: s for stage, s in stages.items() if stage not in ("start", "wait")}
        return f"{self.device}: {format_stages(stages, at_least=0.05)}" if stages else ""

    def sentence(self) -> str:
        """Return the run in one line for a person.

        Returns
        -------
        str
            The run in one line for a person.
        """
        several = f"{self.workers} workers x " if self.workers > 1 else ""
        return (
            f"{self.n_images:,} images in {self.seconds:.1f} s, {self.images_per_s:.1f} images/s on"
            f" {self.device} ({several}{self.threads} threads, batch {self.batch_size});"
            f" {format_stages(without_write(self.stages))}; {self.binds} binds"
        )


def without_write(stages: Mapping[str, float]) -> dict[str, float]:
    """Return the stages that share the threads of the forward pass; writing has its own.

    Parameters
    ----------
    stages : Mapping[str, float]
        Seconds by stage.

    Returns
    -------
    dict[str, float]
        The stages that share the threads of the forward pass.
    """
    return {stage: seconds for stage, seconds in stages.items() if stage != "write"}


def writer_record(device: str, batch_size: int) -> dict[str, str]:
    """Return what is kept beside features: versions, kind of device and batch, which shape low
    bits.

    Parameters
    ----------
    device : str
        Device that computes.
    batch_size : int
        Images of a batch.

    Returns
    -------
    dict[str, str]
        What is kept beside features.
    """
    versions = {name: version(name) for name in PACKAGES}
    return {"featcache": __version__, **versions, "device": device, "batch": str(batch_size)}


@dataclass(kw_only=True)
class ExtractSummary:
    """What was done for one feature key.

    Parameters
    ----------
    backbone, view, preset, precision : str
    key : FeatureKey
    n_samples : int
        Distinct images in the data.
    n_cached : int
        Of these, how many the store knew already.
    n_missing : int
        How many this run set out to do.
    n_forwarded, n_padded, n_shards : int
        Images that went through the backbone; small ones among them that were padded with black;
        shards written.
    unread : dict of str to str
        Samples that could not be read this time, with the reason.
    rejects : list of Reject
        Every image of the data that has no feature.
    run : RunReport
        Of the whole run, which several keys share.
    """

    backbone: str
    view: str
    preset: str
    precision: str
    key: FeatureKey
    run: RunReport = field(default_factory=RunReport)
    n_samples: int = 0
    n_cached: int = 0
    n_missing: int = 0
    n_forwarded: int = 0
    n_padded: int = 0
    n_shards: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)

    def add(self, report: ItemReport) -> None:
        """Add what a work item did for this key.

        Parameters
        ----------
        report : ItemReport
            What one work item did.
        """
        name = self.key.fingerprint
        self.n_forwarded += report.forwarded[name]
        self.n_padded += report.padded[name]
        self.n_shards += report.shards[name]
        self.unread |= report.unread.get(name, {})

    @property
    def seconds(self) -> float:
        """Return the time of the run, in seconds; 0 where nothing was to be done."""
        return self.run.seconds if self.n_forwarded else 0.0

    @property
    def device(self) -> str:
        """Return where the forward passes ran; empty where there was none."""
        return self.run.device if self.n_forwarded else ""
