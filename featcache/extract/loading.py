"""From the path of a sample to the pixels of every stream, or a reason why not; runs in worker
threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featcache.datasets import read_bytes
from featcache.errors import ImageError
from featcache.extract.plan import Request
from featcache.extract.profiling import StageTimes
from featcache.files import digest_bytes
from featcache.images import decode


@dataclass(frozen=True)
class Loaded:
    """One sample after loading.

    Parameters
    ----------
    sample_id, path : str
    pixels : dict of str to ndarray of shape (size, size, 3), uint8
        By stream; a stream that the image has no pixels for is missing.
    padded : set of str
        Streams for which the image was padded with black.
    refused : dict of str to str
        Streams for which the bytes give no pixels, with the reason: it will hold for ever.
    unread : str
        Why the file could not be read this time; empty where it could.
    """

    sample_id: str
    path: str
    pixels: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    padded: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    unread: str = ""


def read_sample(sample: tuple[str, str], times: StageTimes) -> bytes | Loaded:
    """Read and check the bytes of one sample.

    Parameters
    ----------
    sample : (str, str)
        Sample id and path.
    times : StageTimes
        Seconds by stage; the function adds to them.

    Returns
    -------
    bytes or Loaded
        The bytes, or a sample that says why they could not be read.
    """
    name, path = sample
    try:
        with times("read"):
            data = read_bytes(path)
            changed = digest_bytes(data) != name
    except OSError as error:
        return Loaded(name, path, unread=f"cannot be read: {error.strerror or error}")
    if changed:
        return Loaded(name, path, unread="the file changed while featcache was at work; run again")
    return data


def load(
    sample: tuple[str, str],
    streams: Sequence[Request],
    times: StageTimes,
    data: bytes | Loaded | None = None,
) -> Loaded:
    """Read, check and decode one sample, once, and make its pixels for every stream.

    Parameters
    ----------
    sample : (str, str)
        Sample id and path.
    streams : sequence of Request
        One request of each stream.
    times : StageTimes
        Seconds by stage; the function adds to them.
    data : bytes or Loaded, optional
        What :func:`read_sample` returned, where the sample has been read already.

    Returns
    -------
    Loaded
    """
    name, path = sample
    if data is None:
        data = read_sample(sample, times)
    if isinstance(data, Loaded):
        return data
    loaded = Loaded(name, path)
    try:
        with times("decode"):
            image = decode(data)
    except ImageError as error:
        loaded.refused.update(dict.fromkeys((request.stream for request in streams), str(error)))
        return loaded
    for request in streams:
        try:
            with times("view"):
                seen = request.view(request.preprocessing.orient(image), name)
        except ImageError as error:
            loaded.refused[request.stream] = str(error)
            continue
        with times("preprocess"):
            loaded.pixels[request.stream] = request.preprocessing(seen)
            if request.preprocessing.pads(*seen.size):
                loaded.padded.add(request.stream)
    return loaded
