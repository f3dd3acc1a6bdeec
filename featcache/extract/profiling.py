"""Where the time of an extraction goes, and which stage binds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

LOADING = ("read", "decode", "view", "preprocess")
"""Stages that turn a file into pixels."""

STAGES = ("start", *LOADING, "transfer", "forward", "wait", "write")
"""All stages; ``start`` is importing, loading and checking networks, ``wait`` a device that has
no pixels yet, or a worker that has nothing to do.
"""


class StageTimes:
    """Seconds per stage, added up over threads."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage.

        Parameters
        ----------
        stage : str
            Name of the stage.
        seconds : float
            Time in seconds.
        """
        with self._lock:
            self._seconds[stage] += seconds

    def merge(self, seconds: Mapping[str, float]) -> None:
        """Add what another process has counted.

        Parameters
        ----------
        seconds : Mapping[str, float]
            Time in seconds.
        """
        for stage, value in seconds.items():
            self.add(stage, value)

    def seconds(self) -> dict[str, float]:
        """Return the seconds per stage so far.

        Returns
        -------
        dict[str, float]
            The seconds per stage so far.
        """
        with self._lock:
            return dict(self._seconds)

    def collect(self) -> dict[str, float]:
        """Return the seconds per stage since the last call, and begin anew.

        Returns
        -------
        dict[str, float]
            The seconds per stage since the last call, and begin anew.
        """
        with self._lock:
            taken = dict(self._seconds)
            self._seconds = dict.fromkeys(STAGES, 0.0)
        return taken


def shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each stage in all time counted, the greatest first, those of nothing left
    out.

    Parameters
    ----------
    seconds : Mapping[str, float]
        Time in seconds.

    Returns
    -------
    dict[str, float]
        The share of each stage in all time counted, the greatest first, those of nothing left
        out.

    Examples
    --------
    >>> shares({"decode": 1.0, "forward": 3.0, "view": 0.0})
    {'forward': 0.75, 'decode': 0.25}
    """
    total = sum(seconds.values())
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return {stage: value / total for stage, value in ordered if value > 0}


def binding_stage(seconds: Mapping[str, float], elapsed: float, loaders: int, workers: int) -> str:
    """Return the stage whose speed the whole run has.

    Parameters
    ----------
    seconds : mapping of str to float
        Per stage, added up over threads.
    elapsed : float, s
    loaders : int
        Threads that load beside the forward pass; 0 where the same threads do both.
    workers : int
        Forward passes at the same time.

    Returns
    -------
    str
        The longest stage of the threads that are the most busy.

    Examples
    --------
    >>> binding_stage({"decode": 9.0, "forward": 4.0}, elapsed=5.0, loaders=2, workers=1)
    'decode'
    >>> binding_stage({"decode": 2.0, "forward": 4.9}, elapsed=5.0, loaders=2, workers=1)
    'forward'
    """
    loading = {stage: seconds.get(stage, 0.0) for stage in LOADING}
    device = {stage: seconds.get(stage, 0.0) for stage in ("transfer", "forward")}
    crews = [({"write": seconds.get("write", 0.0)}, 1)]
    crews += (
        [(loading, loaders), (device, workers)] if loaders else [({**loading, **device}, workers)]
    )
    stages, _ = max(crews, key=lambda crew: sum(crew[0].values()) / (crew[1] * max(elapsed, 1e-9)))
    return max(stages, key=lambda stage: stages[stage])


def format_stages(seconds: Mapping[str, float], at_least: float = 0.01) -> str:
    """Return the shares in a few words for a person.

    Parameters
    ----------
    seconds : Mapping[str, float]
        Time in seconds.
    at_least : float
        Smallest share that is listed.

    Returns
    -------
    str
        The shares in a few words for a person.

    Examples
    --------
    >>> format_stages({"decode": 1.0, "forward": 3.0})
    'forward 75 %, decode 25 %'
    """
    parts = shares(seconds).items()
    return ", ".join(f"{stage} {share:.0%}".replace("%", " %") for stage, share in parts
                     if share >= at_least)  # fmt: skip
