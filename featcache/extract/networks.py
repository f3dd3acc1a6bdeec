"""All networks of a run, and a batch through those that a work item needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from featcache.backbones import Preprocessing
from featcache.extract.forward import Forward, Pending
from featcache.extract.load import Loaded
from featcache.extract.requests import Request
from featcache.extract.stages import StageTimes

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
K = TypeVar("K")


@dataclass
class PendingBatch:
    """A batch that is on its way through the networks.

    Parameters
    ----------
    samples : list of Loaded
    passes : list of (Forward, list of Request, Pending)
        Each pass with the requests that it answers.
    """

    samples: list[Loaded]
    passes: list[tuple[Forward, list[Request], Pending]]

    def result(self, times: StageTimes) -> dict[str, NDArray[np.float32]]:
        """Return the features by request, waiting for the device."""
        features: dict[str, NDArray[np.float32]] = {}
        for forward, requests, pending in self.passes:
            parts, seconds = pending.result()
            times.add("forward", seconds)
            by_name = dict(zip(forward.names, parts, strict=True))
            features |= {request.id: by_name[request.key.name] for request in requests}
        return features


class Networks:
    """The networks of several requests, each loaded once.

    Parameters
    ----------
    requests : sequence of Request
    device : torch.device
    compiled : bool
    """

    def __init__(
        self, requests: Sequence[Request], device: torch.device, compiled: bool = False
    ) -> None:
        self.device = device
        self._requests = requests
        self._forward = {
            name: Forward(mine, device, compiled)
            for name, mine in group_by(requests, lambda request: request.network)
        }

    def start(
        self, samples: list[Loaded], requests: Sequence[Request], times: StageTimes
    ) -> PendingBatch:
        """Start every pass that a batch needs; the pixels of a stream go to the device once."""
        batch = PendingBatch(samples, [])
        for stream, of_stream in group_by(requests, lambda request: request.stream):
            arrays = [s.pixels[stream] for s in samples if stream in s.pixels]
            if not arrays:
                continue
            with times("transfer"):
                pixels = to_device(arrays, self.device)
            for (network, preprocessing), mine in group_by(of_stream, _pass_of):
                forward = self._forward[network]
                batch.passes.append((forward, mine, forward(pixels, preprocessing)))
        return batch

    def bytes_per_image(self) -> int:
        """Return what one image takes in the widest of the networks, by looking at one pass."""
        kinds = {(request.network, request.preprocessing.size) for request in self._requests}
        return max(self._forward[network].bytes_per_image(size) for network, size in kinds)


def to_device(arrays: list[NDArray[np.uint8]], device: torch.device) -> torch.Tensor:
    """Return the images as one batch on the device, (N, size, size, 3) uint8.

    For CUDA they are gathered in pinned memory, so that the copy runs beside the computation.
    """
    import torch

    shape = (len(arrays), *arrays[0].shape)
    host = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    np.stack(arrays, out=host.numpy())
    return host.to(device, non_blocking=True)


def group_by(items: Iterable[T], key: Callable[[T], K]) -> Iterable[tuple[K, list[T]]]:
    """Return (key, items) in the order in which the keys come up.

    Examples
    --------
    >>> list(group_by([1, 2, 3], lambda n: n % 2))
    [(1, [1, 3]), (0, [2])]
    """
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups.items()


def _pass_of(request: Request) -> tuple[str, Preprocessing]:
    return request.network, request.preprocessing
