"""What an extraction did, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from featcache.cache import FeatureKey


@dataclass(frozen=True)
class Reject:
    """An image that gives no feature, and why."""

    path: str
    sample_id: str
    reason: str


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
    seconds : float, s
        Of the whole run, which several keys share.
    device : str
        Where the forward pass ran; empty where there was none.
    rejects : list of Reject
        Every image of the data that has no feature.
    """

    backbone: str
    view: str
    preset: str
    precision: str
    key: FeatureKey
    n_samples: int = 0
    n_cached: int = 0
    n_missing: int = 0
    n_forwarded: int = 0
    n_padded: int = 0
    n_shards: int = 0
    seconds: float = 0.0
    device: str = ""
    rejects: list[Reject] = field(default_factory=list)
