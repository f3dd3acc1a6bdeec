"""Numbers that others published, as data with their source, and what one's own make of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from featcache.errors import unknown_name
from featcache.results import Interval


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published row.

    Parameters
    ----------
    id, title, source : str
        ``source`` says where the numbers were found.
    status : {"printed", "secondary", "recalled"}
        Read in the source named, reprinted by others, or not found in a source.
    metric : {"ap", "acc", "difference"}
        ``difference``: points between two feature sets, keyed by the name of a mean.
    features, baseline, train : tuple of str
    values : dict of str to float
        By generator (or by mean, for differences), as fractions.
    group : str
        Group that a difference is a mean over; empty for all.
    unseen : bool
        Whether the training generators are left out of that mean.
    """

    id: str
    title: str
    source: str
    status: Literal["printed", "secondary", "recalled"]
    metric: Literal["ap", "acc", "difference"]
    features: tuple[str, ...]
    train: tuple[str, ...]
    values: dict[str, float]
    baseline: tuple[str, ...] = ()
    group: str = ""
    unseen: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishedComparison:
    """A published number beside one's own; fractions.

    ``inside`` says whether the published number lies in one's own 95 % interval.
    """

    name: str
    published: float
    own: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """Own minus published."""
        return self.own - self.published

    @property
    def inside(self) -> bool:
        """Whether the published number lies in one's own interval."""
        return self.low <= self.published <= self.high


@cache
def load_published() -> dict[str, Published]:
    """Return every published row by its id.

    Returns
    -------
    dict[str, Published]
        Every published row by its id.
    """
    text = files("featcache.studies").joinpath("published.toml").read_text("utf-8")
    rows = {}
    for name, row in tomllib.loads(text).items():
        lists = {key: tuple(row[key]) for key in ("features", "train", "baseline") if key in row}
        values = {key: value / 100 for key, value in row["values"].items()}
        rows[name] = Published(id=name, **{**row, **lists, "values": values})
    return rows


def published_row(name: str) -> Published:
    """Return one published row.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Returns
    -------
    Published
        One published row.

    Raises
    ------
    UnknownNameError
        If there is none of that name.
    """
    rows = load_published()
    if name not in rows:
        raise unknown_name("published row", name, rows)
    return rows[name]


def compare_with_published(
    published: Published, own: Mapping[str, tuple[float, Interval]]
) -> tuple[PublishedComparison, ...]:
    """Set published numbers beside one's own, where both exist.

    Parameters
    ----------
    published : Published
    own : mapping of str to (float, (float, float))
        Value and interval by generator, or by mean for differences.

    Returns
    -------
    tuple of Comparison
        In the order of the published row.

    Examples
    --------
    >>> row = published_row("dfwf-ensemble")
    >>> (one,) = compare_with_published(row, {"mAP": (0.08, (0.05, 0.11))})
    >>> one.inside, round(one.difference, 4)
    (True, 0.0047)
    """
    names: Sequence[str] = [name for name in published.values if name in own]
    return tuple(
        PublishedComparison(
            name=name,
            published=published.values[name],
            own=own[name][0],
            low=own[name][1][0],
            high=own[name][1][1],
        )
        for name in names
    )
