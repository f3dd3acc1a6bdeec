"""Artefacts of generators under control: each a short pure function with a strength.

Pixels are float64 in [0, 255], shape (H, W, 3). Strength 0 changes nothing and the change is
linear in it, so that a curve over strengths says from which amplitude on a feature sees the
artefact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, gaussian_filter

Pixels: TypeAlias = NDArray[np.float64]
Artefact: TypeAlias = Callable[[Pixels, np.random.RandomState], Pixels]

PEAK_LEVELS, NOISE_LEVELS = 32.0, 32.0
"""Amplitude of the peaks and deviation of the noise at strength 1, in 8-bit levels."""

SMOOTH_SIGMA = 2.0
PERIOD = 8
"""Pixels; the peaks lie at multiples of 1/8 cycle per pixel, where 8x upsampling leaves them."""


def zero_insertion(pixels: Pixels, state: np.random.RandomState) -> Pixels:
    """Copies of the spectrum around the Nyquist frequencies, as zeros between the pixels leave
    them.

    Parameters
    ----------
    pixels : Pixels
        Pixels of shape (height, width, 3), uint8 or float64 in [0, 255].
    state : random.RandomState
        Random numbers.

    Returns
    -------
    Pixels
    """
    gain = np.zeros(pixels.shape[:2])
    gain[::2, ::2] = 4.0
    return pixels * gain[..., None]


def nearest(pixels: Pixels, state: np.random.RandomState) -> Pixels:
    """Half the size and back by repeating pixels.

    Parameters
    ----------
    pixels : Pixels
        Pixels of shape (height, width, 3), uint8 or float64 in [0, 255].
    state : random.RandomState
        Random numbers.

    Returns
    -------
    Pixels
    """
    doubled = halve(pixels).repeat(2, axis=0).repeat(2, axis=1)
    return np.asarray(doubled[: pixels.shape[0], : pixels.shape[1]])


def bilinear(pixels: Pixels, state: np.random.RandomState) -> Pixels:
    """Half the size and back by linear interpolation.

    Parameters
    ----------
    pixels : Pixels
        Pixels of shape (height, width, 3), uint8 or float64 in [0, 255].
    state : random.RandomState
        Random numbers.

    Returns
    -------
    Pixels
    """
    return _filter(nearest(pixels, state), [0.25, 0.5, 0.25])


def transposed(pixels: Pixels, state: np.random.RandomState) -> Pixels:
    """Half the size and back by a transposed convolution, stride 2 and kernel 3: uneven overlap.

    Parameters
    ----------
    pixels : Pixels
        Pixels of shape (height, width, 3), uint8 or float64 in [0, 255].
    state : random.RandomState
        Random numbers.

    Returns
    -------
    Pixels
    """
    small = halve(pixels)
    spread = np.zeros((2 * small.shape[0], 2 * small.shape[1], 3))
    spread[::2, ::2] = small
    # Kernel (1, 1, 1) at stride 2 covers every other pixel twice; 4/3 keeps the mean.
    made = _filter(spread, [2 / 3, 2 / 3, 2 / 3])
    return np.asarray(made[: pixels.shape[0], : pixels.shape[1]])


def peaks(pixels: Pixels, state: np.random.RandomState) -> Pixels:
    """Peaks in the spectrum: waves of a fixed period along both axes.

    Parameters
    ----------
    pixels : Pixels
        Pixels of shape (height, width, 3), uint8 or float64 in [0, 255].
    state : random.RandomState
        Random numbers.

    Returns
    -------
    Pixels
    """
    rows, columns = np.indices(pixels.shape[:2])
    waves = np.cos(2 * np.pi * rows / PERIOD) + np.cos(2 * np.pi * columns / PERIOD)
    return np.asarray(pixels + PEAK_LEVELS / 2 * waves[..., None])


def smoothing(pixels: Pixels, state: np.random.RandomState) -> Pixels:
    """Lost detail: a Gaussian of sigma 2.

    Parameters
    ----------
    pixels : Pixels
        Pixels of shape (height, width, 3), uint8 or float64 in [0, 255].
    state : random.RandomState
        Random numbers.

    Returns
    -------
    Pixels
    """
    return np.asarray(gaussian_filter(pixels, (SMOOTH_SIGMA, SMOOTH_SIGMA, 0)))


def noise(pixels: Pixels, state: np.random.RandomState) -> Pixels:
    """White noise.

    Parameters
    ----------
    pixels : Pixels
        Pixels of shape (height, width, 3), uint8 or float64 in [0, 255].
    state : random.RandomState
        Random numbers.

    Returns
    -------
    Pixels
    """
    return pixels + NOISE_LEVELS * state.standard_normal(pixels.shape)


ARTEFACTS: dict[str, Artefact] = {
    "zero-insertion": zero_insertion,
    "nearest": nearest,
    "bilinear": bilinear,
    "transposed": transposed,
    "peaks": peaks,
    "smoothing": smoothing,
    "noise": noise,
}
"""All artefacts by name."""


def apply_artefact(
    name: str, strength: float, pixels: NDArray[np.uint8], state: np.random.RandomState
) -> NDArray[np.uint8]:
    """Return the pixels with so much of an artefact.

    Parameters
    ----------
    name : str
        One of :data:`ARTEFACTS`.
    strength : float in [0, 1]
    pixels : ndarray of shape (H, W, 3), uint8
    state : RandomState

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
    """
    clean = pixels.astype(np.float64)
    full = ARTEFACTS[name](clean, state)
    mixed = clean + strength * (full - clean)
    return np.rint(mixed).clip(0, 255).astype(np.uint8)


def halve(pixels: Pixels) -> Pixels:
    """Return the means of blocks of 2 by 2; an odd side is first extended by its last pixel.

    Parameters
    ----------
    pixels : Pixels
        Pixels of shape (height, width, 3), uint8 or float64 in [0, 255].

    Returns
    -------
    Pixels
        The means of blocks of 2 by 2.
    """
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2, 3)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _filter(pixels: Pixels, kernel: list[float]) -> Pixels:
    for axis in (0, 1):
        pixels = np.asarray(convolve1d(pixels, kernel, axis=axis, mode="nearest"))
    return pixels
