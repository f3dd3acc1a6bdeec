"""The forward pass: pixels in, features out, on one device in one precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcache.backbones import Preprocessing, build_network
from featcache.errors import SettingsError
from featcache.extract.requests import Request

if TYPE_CHECKING:
    import torch


class Forward:
    """One network on a device, for all requests that run it.

    Parameters
    ----------
    requests : sequence of Request
        Of one network and precision.
    device : torch.device
    """

    def __init__(self, requests: Sequence[Request], device: torch.device) -> None:
        import torch

        specs = {request.key.name: request.spec for request in requests}
        self.names = list(specs)
        self.device = device
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
            requests[0].precision
        ]
        self.model = build_network(list(specs.values())).to(device)

    def __call__(
        self, pixels: NDArray[np.uint8], preprocessing: Preprocessing
    ) -> dict[str, NDArray[np.float32]]:
        """Return the features of a batch.

        Parameters
        ----------
        pixels : ndarray of shape (N, size, size, 3), uint8
        preprocessing : Preprocessing
            Only its mean and standard deviation are used here.

        Returns
        -------
        dict of str to ndarray of shape (N, n_features), float32
            By feature name. A row that overflowed in a narrow precision is computed again in fp32.
        """
        import torch

        with torch.inference_mode():
            images = self._normalise(torch.from_numpy(pixels).to(self.device), preprocessing)
            features = self._run(images, self.dtype)
            if self.dtype != torch.float32:
                self._mend(features, images)
        return dict(zip(self.names, features, strict=True))

    def _normalise(self, pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
        """Return (N, 3, size, size) float32 with the backbone's mean and deviation taken out."""
        import torch

        mean = torch.tensor(preprocessing.mean, device=self.device).reshape(1, 3, 1, 1)
        std = torch.tensor(preprocessing.std, device=self.device).reshape(1, 3, 1, 1)
        images = pixels.permute(0, 3, 1, 2).float().div(255)
        return images.sub(mean).div(std).contiguous()

    def _run(self, images: torch.Tensor, dtype: torch.dtype) -> list[NDArray[np.float32]]:
        import torch

        narrow = dtype != torch.float32
        with torch.autocast(self.device.type, dtype=dtype, enabled=narrow):
            features = self.model(images)
        return [part.float().cpu().numpy() for part in features]

    def _mend(self, features: list[NDArray[np.float32]], images: torch.Tensor) -> None:
        """Compute the rows that are not finite again in fp32; the other rows stay as they are."""
        import torch

        bad = [~finite_rows(part) for part in features]
        rows = np.logical_or.reduce(bad)
        if rows.any():
            again = self._run(images[torch.from_numpy(rows).to(self.device)], torch.float32)
            for part, mine, whole in zip(features, bad, again, strict=True):
                part[mine] = whole[mine[rows]]


def finite_rows(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return for each row whether it has neither NaN nor Inf; shape (N,)."""
    return np.asarray(np.isfinite(features).all(axis=1))


def choose_device(name: str) -> torch.device:
    """Return the torch device of that name.

    Raises
    ------
    SettingsError
        If this machine has no such device; nothing falls back silently to another.
    """
    import torch

    has_gpu = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(
            f"The device {name!r} cannot be used here: {reason}. Use --device cpu, or see 'featcache doctor'."
        ) from error
    return device
