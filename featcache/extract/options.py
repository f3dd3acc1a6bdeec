"""How features are made: the settings of one run, checked when they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from featcache.errors import SettingsError
from featcache.settings import split_names

DTYPES = ("float32", "float16")


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """How features are made.

    Parameters
    ----------
    preset, precision, device : str
    dtype : {"float32", "float16"}
        Type in which features are stored: float16 takes half the disk.
    views : tuple of str
        What is done to the images before the backbone; ``clean`` is nothing.
    batch_size : int
        Images per forward pass; 0 means what suits the device and fits into its memory.
    shard_rows : int
        Rows per shard at the most.
    workers : int
        On a CPU, forward passes at the same time, one thread each; on a GPU, decoding processes.
        0 means one per core.
    compiled : bool
        Send the networks through ``torch.compile`` (GPUs, long runs).
    engine : str
        ``local`` or ``ray``.
    processes : int
        Worker processes of the Ray engine; 0 means one per GPU, or what fits the cores.
    address : str
        Of the Ray cluster; empty starts one on this machine.
    strict : bool
        Stop at the first image that cannot be used.
    part : tuple of int
        (i, n), or ``"i/n"``: do only the i-th of n parts of the shards, counted from 1.
    """

    preset: str = "default"
    precision: str = "fp32"
    device: str = "auto"
    dtype: str = "float32"
    views: tuple[str, ...] = ("clean",)
    batch_size: int = 0
    shard_rows: int = 1024
    workers: int = 0
    compiled: bool = False
    engine: str = "local"
    processes: int = 0
    address: str = ""
    strict: bool = False
    part: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SettingsError(f"dtype = {self.dtype!r} is not one of {', '.join(DTYPES)}.")
        views: Any = [self.views] if isinstance(self.views, str) else self.views
        names = tuple(name for view in views for name in split_names(view))
        object.__setattr__(self, "views", names or ("clean",))
        if isinstance(self.part, str):
            object.__setattr__(self, "part", parse_part(self.part))


def parse_part(text: str) -> tuple[int, int]:
    """Return which part of how many ``i/n`` means.

    Parameters
    ----------
    text : str
        Text to read.

    Returns
    -------
    tuple[int, int]
        Which part of how many ``i/n`` means.

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
