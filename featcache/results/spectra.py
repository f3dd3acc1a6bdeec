"""Mean residual spectra, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """The mean log spectrum of one generator's residuals.

    Parameters
    ----------
    name : str
    n : int
        Images.
    values : ndarray of shape (size, size), float64
        Frequency 0 in the middle.
    radial : ndarray of shape (size // 2 + 1,)
        Mean over directions, from frequency 0 to Nyquist's.
    example : str
        Path of one of the images.
    """

    name: str
    n: int
    values: NDArray[np.float64]
    radial: NDArray[np.float64]
    example: str


@dataclass(frozen=True, kw_only=True)
class SpectraResult:
    """Spectra of the reals and of every generator, from crops of ``size`` pixels."""

    size: int
    spectra: list[Spectrum]

    def to_dict(self) -> dict[str, Any]:
        """Return the radial means and counts as plain values."""
        return {
            "size": self.size,
            "spectra": [
                {"name": s.name, "n": s.n, "radial": s.radial.tolist(), "example": s.example}
                for s in self.spectra
            ],
        }
