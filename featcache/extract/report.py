"""What each work item did, and what they did together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from featcache._version import __version__
from featcache.extract.rows import ShardRows
from featcache.extract.stages import binding_stage, words

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
        """Count a finished shard."""
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
        """Add what an item did."""
        self.n_images += report.n_images
        self.n_passes += report.forwarded.total()
        for stage, seconds in report.seconds.items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds
        devices = dict.fromkeys([*filter(None, self.device.split(", ")), report.device])
        self.device = ", ".join(devices)
        self.threads = max(self.threads, report.threads)
        self.batch_size = min(self.batch_size or report.batch_size, report.batch_size)

    def finish(self, seconds: float, on_cpu: bool) -> None:
        """Close the run: idle time of the lanes, and the stage that binds."""
        self.seconds = seconds
        lanes = self.workers * (self.threads if on_cpu else 1)
        self.start_s = self.stages.get("start", 0.0) / lanes
        if on_cpu:
            busy = sum(v for stage, v in self.stages.items() if stage not in ("wait", "write"))
            self.stages["wait"] = max(lanes * seconds - busy, 0.0)
        loaders = 0 if on_cpu else self.workers * self.threads
        self.binds = binding_stage(self.stages, seconds, loaders, lanes)

    @property
    def images_per_s(self) -> float:
        """Files per second, each through all that was asked for."""
        return self.n_images / self.seconds if self.seconds else 0.0

    @property
    def images_per_s_at_work(self) -> float:
        """The same without the start: what further files would cost."""
        return self.n_images / (self.seconds - self.start_s) if self.seconds else 0.0

    def so_far(self) -> str:
        """Return where the finished shards were made and what took the time; empty before the first."""
        stages = without_write(self.stages)
        stages = {stage: s for stage, s in stages.items() if stage not in ("start", "wait")}
        return f"{self.device}: {words(stages, at_least=0.05)}" if stages else ""

    def sentence(self) -> str:
        """Return the run in one line for a person."""
        several = f"{self.workers} workers x " if self.workers > 1 else ""
        return (
            f"{self.n_images:,} images in {self.seconds:.1f} s, {self.images_per_s:.1f} images/s on "
            f"{self.device} ({several}{self.threads} threads, batch {self.batch_size}); "
            f"{words(without_write(self.stages))}; {self.binds} binds"
        )


def without_write(stages: Mapping[str, float]) -> dict[str, float]:
    """Return the stages that share the threads of the forward pass; writing has its own."""
    return {stage: seconds for stage, seconds in stages.items() if stage != "write"}


def writer_record(device: str, batch_size: int) -> dict[str, str]:
    """Return what is kept beside features: versions, kind of device and batch, which shape low bits."""
    versions = {name: version(name) for name in PACKAGES}
    return {"featcache": __version__, **versions, "device": device, "batch": str(batch_size)}
