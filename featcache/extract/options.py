"""How features are made: the settings of one run, checked when they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass

from featcache.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """How features are made.

    Parameters
    ----------
    preset, precision, device : str
    views : tuple of str
        What is done to the images before the backbone; ``clean`` is nothing.
    batch_size, shard_rows : int
    workers : int
        Decoding threads; 0 means one per core.
    strict : bool
        Stop at the first image that cannot be used.
    part : tuple of int
        (i, n): do only the i-th of n parts of the shards, counted from 1.
    """

    preset: str = "univfd"
    precision: str = "fp32"
    device: str = "auto"
    views: tuple[str, ...] = ("clean",)
    batch_size: int = 32
    shard_rows: int = 1024
    workers: int = 0
    strict: bool = False
    part: tuple[int, int] = (1, 1)


def parse_part(text: str) -> tuple[int, int]:
    """Return which part of how many ``i/n`` means.

    Raises
    ------
    SettingsError
        If it is not two whole numbers with 1 <= i <= n.

    Examples
    --------
    >>> parse_part("2/8")
    (2, 8)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match and 1 <= int(match[1]) <= int(match[2]):
        return int(match[1]), int(match[2])
    raise SettingsError(
        f"--shard {text!r} is not allowed: write i/n with 1 <= i <= n, for instance 1/8 to 8/8."
    )
