"""The forward pass: pixels in, features out, on one device in one precision.

All networks of a run, and a batch through those that a work item needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from featcache.backbones import Preprocessing, build_network
from featcache.extract.device import bytes_of_forward
from featcache.extract.loading import Loaded
from featcache.extract.plan import Request
from featcache.extract.profiling import StageTimes

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass
class Pending:
    """Features that a device may still be computing.

    Parameters
    ----------
    parts : list of torch.Tensor
        On the host; valid once ``ready`` has returned.
    ready : callable
        Waits for the device and returns the seconds that it computed.
    recompute : callable
        Repairs rows that are not finite, in place.
    """

    parts: list[torch.Tensor]
    ready: Callable[[], float]
    recompute: Callable[[list[NDArray[np.float32]]], None]

    def result(self) -> tuple[list[NDArray[np.float32]], float]:
        """Return the features, one (N, D_i) array for each spec, and the seconds they took.

        Returns
        -------
        tuple[list[ndarray of float32], float]
            The features, one (N, D_i) array for each spec, and the seconds they took.
        """
        seconds = self.ready()
        features = [part.numpy() for part in self.parts]
        self.recompute(features)
        return features, seconds


class Forward:
    """One network on a device, for all requests that run it; may be called from several threads.

    Parameters
    ----------
    requests : sequence of Request
        Of one network and precision.
    device : torch.device
    compiled : bool
        Whether the network goes through ``torch.compile``.
    """

    def __init__(
        self, requests: Sequence[Request], device: torch.device, compiled: bool = False
    ) -> None:
        import torch

        specs = {request.key.name: request.spec for request in requests}
        self.names = list(specs)
        self.device = device
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
            requests[0].precision
        ]
        # Convolutions read channels-last faster on CPUs, and in narrow precisions on GPUs.
        last = device.type == "cpu" or self.dtype != torch.float32
        self.layout = torch.channels_last if last else torch.contiguous_format
        self.model = self._place(build_network(list(specs.values())))
        self._compiled: Any = torch.compile(self.model, dynamic=False) if compiled else None
        self._full = 0

    def __call__(self, pixels: torch.Tensor, preprocessing: Preprocessing) -> Pending:
        """Start a batch.

        Parameters
        ----------
        pixels : torch.Tensor of shape (N, size, size, 3), uint8, on the device
        preprocessing : Preprocessing
            Only its mean and standard deviation are used here.

        Returns
        -------
        Pending
            A row that overflows in fp16 is computed again in fp32, alone.
        """
        import torch

        with numerics(self.device):
            start = _mark(self.device)
            images = self._normalise(pixels, preprocessing)
            if self._compiled is not None:
                features = self._run_full(images)
            else:
                features = self._run(images, self.dtype)
            parts = [part.to("cpu", non_blocking=self.device.type == "cuda") for part in features]
            end = _mark(self.device)
        fragile = self.dtype == torch.float16
        return Pending(
            parts,
            lambda: _seconds_between(start, end),
            (lambda features: self._recompute(features, images)) if fragile else _discard,
        )

    def _place(self, model: nn.Module) -> nn.Module:
        """Return the network on the device, in the layout and precision that it computes in."""
        import torch

        model = model.eval().requires_grad_(False).to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        if self.dtype == torch.bfloat16:
            _round_weights(model, self.dtype)
        return model

    def _normalise(self, pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
        """Return (N, 3, size, size) float32 with the backbone's mean and deviation taken out."""
        import torch

        mean = torch.tensor(preprocessing.mean, device=self.device).reshape(1, 3, 1, 1)
        std = torch.tensor(preprocessing.std, device=self.device).reshape(1, 3, 1, 1)
        images = pixels.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)
        return images.contiguous(memory_format=self.layout)

    def bytes_per_image(self, size: int) -> int:
        """Return what an image of ``size`` pixels a side takes in a pass, by looking at one.

        Parameters
        ----------
        size : int
            Side of the input in pixels.

        Returns
        -------
        int
            What an image of ``size`` pixels a side takes in a pass, by looking at one.
        """
        import torch

        with numerics(self.device):
            image = torch.zeros((1, 3, size, size), device=self.device)
            return bytes_of_forward(lambda: self._run(image, self.dtype))

    def _run_full(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the compiled network on a full batch: another shape would be compiled anew."""
        import torch

        n = len(images)
        self._full = max(self._full, n)
        if n < self._full:
            images = torch.cat([images, images[:1].expand(self._full - n, -1, -1, -1)])
        return tuple(part[:n] for part in self._run(images, self.dtype, self._compiled))

    def _run(
        self, images: torch.Tensor, dtype: torch.dtype, network: Callable[..., Any] | None = None
    ) -> tuple[torch.Tensor, ...]:
        import torch

        narrow = dtype != torch.float32
        with torch.autocast(self.device.type, dtype=dtype, enabled=narrow):
            # Not "or": a compiled network has a length only where its network has one.
            features = (self.model if network is None else network)(images)
        return tuple(part.float() for part in features)

    def _recompute(self, features: list[NDArray[np.float32]], images: torch.Tensor) -> None:
        """Compute the rows that are not finite again in fp32; the other rows stay as they are."""
        import torch

        bad = [~finite_rows(part) for part in features]
        rows = np.logical_or.reduce(bad)
        if rows.any():
            with numerics(self.device):
                again = self._run(images[torch.from_numpy(rows).to(self.device)], torch.float32)
            for part, bad_rows, recomputed in zip(features, bad, again, strict=True):
                part[bad_rows] = recomputed.cpu().numpy()[bad_rows[rows]]


def finite_rows(features: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for each row whether it has neither NaN nor Inf; shape (N,).

    Parameters
    ----------
    features : ndarray of float32 or float16
        Features of shape (n_samples, n_features).

    Returns
    -------
    ndarray of bool
        For each row whether it has neither NaN nor Inf.
    """
    return np.asarray(np.isfinite(features).all(axis=1))


@contextmanager
def numerics(device: torch.device) -> Iterator[None]:
    """Compute what the precision says, the same every time: no TF32 under the name of fp32.

    Parameters
    ----------
    device : torch.device
        Device that computes.

    Yields
    ------
    None
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        if (
            device.type == "cuda"
        ):  # a setting of the whole process: on CPUs several threads are here
            exact = {"benchmark": False, "deterministic": True, "allow_tf32": False}
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, **exact))
        yield


def _round_weights(model: nn.Module, dtype: torch.dtype) -> None:
    """Round the weights that autocast would round again for every batch; the results are the
    same bits.
    """
    from torch import nn

    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.to(dtype)


def _mark(device: torch.device) -> Any:
    """Return this moment in the order of the device's work."""
    import torch

    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def _seconds_between(start: Any, end: Any) -> float:
    """Wait for the second moment and return the seconds since the first."""
    if isinstance(start, float):
        return float(end - start)
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


def _discard(features: list[NDArray[np.float32]]) -> None:
    """Leave all rows as they are: bf16 has the range of fp32, so that nothing overflows in it
    alone.
    """


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
        """Return the features by request, waiting for the device.

        Parameters
        ----------
        times : StageTimes
            Seconds by stage; the function adds to them.

        Returns
        -------
        dict[str, ndarray of float32]
            The features by request, waiting for the device.
        """
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
            name: Forward(of_network, device, compiled)
            for name, of_network in group_by(requests, lambda request: request.network)
        }

    def start(
        self, samples: list[Loaded], requests: Sequence[Request], times: StageTimes
    ) -> PendingBatch:
        """Start every pass that a batch needs; the pixels of a stream go to the device once.

        Parameters
        ----------
        samples : list[Loaded]
            Samples, in the order of the rows.
        requests : Sequence[Request]
            Requested features.
        times : StageTimes
            Seconds by stage; the function adds to them.

        Returns
        -------
        PendingBatch
        """
        batch = PendingBatch(samples, [])
        for stream, of_stream in group_by(requests, lambda request: request.stream):
            arrays = [s.pixels[stream] for s in samples if stream in s.pixels]
            if not arrays:
                continue
            with times("transfer"):
                pixels = to_device(arrays, self.device)
            for (network, preprocessing), of_pass in group_by(of_stream, _pass_of):
                forward = self._forward[network]
                batch.passes.append((forward, of_pass, forward(pixels, preprocessing)))
        return batch

    def bytes_per_image(self) -> int:
        """Return what one image takes in the widest of the networks, by looking at one pass.

        Returns
        -------
        int
            What one image takes in the widest of the networks, by looking at one pass.
        """
        kinds = {(request.network, request.preprocessing.size) for request in self._requests}
        return max(self._forward[network].bytes_per_image(size) for network, size in kinds)


def to_device(arrays: list[NDArray[np.uint8]], device: torch.device) -> torch.Tensor:
    """Return the images as one batch on the device, (N, size, size, 3) uint8.

    For CUDA they are gathered in pinned memory, so that the copy runs beside the computation.

    Parameters
    ----------
    arrays : list[ndarray of uint8]
        Arrays, in order.
    device : torch.device
        Device that computes.

    Returns
    -------
    torch.Tensor
        The images as one batch on the device, (N, size, size, 3) uint8.
    """
    import torch

    shape = (len(arrays), *arrays[0].shape)
    host = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    np.stack(arrays, out=host.numpy())
    return host.to(device, non_blocking=True)


def group_by(items: Iterable[T], key: Callable[[T], K]) -> Iterable[tuple[K, list[T]]]:
    """Return (key, items) in the order in which the keys come up.

    Parameters
    ----------
    items : Iterable[T]
        Items, in order.
    key : Callable[[T], K]
        Function or text that identifies an item.

    Returns
    -------
    Iterable[tuple[K, list[T]]]
        (key, items) in the order in which the keys come up.

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
