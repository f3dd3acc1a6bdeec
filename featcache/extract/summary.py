"""What an extraction did, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from featcache.cache import FeatureKey
from featcache.extract.rejects import Reject
from featcache.extract.report import ItemReport, RunReport


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
        """Add what a work item did for this key."""
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
