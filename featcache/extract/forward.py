"""The forward pass: pixels in, features out, on one device in one precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcache.backbones import BackboneSpec, Preprocessing
from featcache.errors import SettingsError

if TYPE_CHECKING:
    import torch


class Forward:
    """A backbone on a device.

    Parameters
    ----------
    spec : BackboneSpec
    preprocessing : Preprocessing
        Only its mean and standard deviation are used here.
    device : str
        As torch names it; ``"auto"`` takes the GPU where there is one.
    precision : {"fp32", "bf16", "fp16"}
    """

    def __init__(
        self, spec: BackboneSpec, preprocessing: Preprocessing, device: str, precision: str
    ) -> None:
        import torch

        self.device = choose_device(device)
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
            precision
        ]
        self.model = spec.build(spec.find_weights()).eval().requires_grad_(False).to(self.device)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(preprocessing.mean, device=self.device).reshape(shape)
        self._std = torch.tensor(preprocessing.std, device=self.device).reshape(shape)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of a batch.

        Parameters
        ----------
        pixels : ndarray of shape (N, size, size, 3), uint8

        Returns
        -------
        ndarray of shape (N, n_features), float32
            A row that overflowed in a narrow precision is computed again in fp32.
        """
        import torch

        with torch.inference_mode():
            images = self._normalise(torch.from_numpy(pixels).to(self.device))
            features = self._run(images, self.dtype)
            if self.dtype != torch.float32 and not np.isfinite(features).all():
                features = self._run(images, torch.float32)
        return features

    def _normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, 3, size, size) float32 with the backbone's mean and deviation taken out."""
        images = pixels.permute(0, 3, 1, 2).float().div(255)
        return images.sub(self._mean).div(self._std).contiguous()

    def _run(self, images: torch.Tensor, dtype: torch.dtype) -> NDArray[np.float32]:
        import torch

        narrow = dtype != torch.float32
        with torch.autocast(self.device.type, dtype=dtype, enabled=narrow):
            features = self.model(images)
        array: NDArray[np.float32] = features.float().cpu().numpy()
        return array


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
