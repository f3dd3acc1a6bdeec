"""Mean Fourier spectrum of what is left of images when their content is taken out: generators'
fingerprints.

Upsampling leaves periodic traces that show as bright points and crosses; the picture of the
field since Zhang et al. (2019) and Frank et al. (2020).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from featcache.datasets import Manifest, Sample, expand
from featcache.embed.run import REAL, choose
from featcache.errors import DataError, ImageError
from featcache.files import read_file
from featcache.images import decode
from featcache.progress import track
from featcache.results.analysis import SpectraResult, Spectrum

SIZE = 128
"""Side of the centre crop, pixels; smaller images are left out."""

MOST = 200
"""Images per generator."""


def spectra(
    manifest: Manifest, *, split: str = "test", size: int = SIZE, most: int = MOST
) -> SpectraResult:
    """Return the mean residual spectrum of the reals and of every generator.

    Parameters
    ----------
    manifest : Manifest
    split : str
        Whose images: ``"test"``, ``"train"``, ``"val"`` or ``"all"``.
    size : int, pixels
        Side of the crop out of the middle; nothing is resized, which would leave traces of its own.
    most : int
        Images per generator.

    Returns
    -------
    SpectraResult
        The mean residual spectrum of the reals and of every generator.

    Raises
    ------
    DataError
        If there are no reals or no fakes, or all images are smaller than the crop.
    """
    chosen = choose(expand(manifest.usable()).samples, split, most)
    sets: dict[str, list[Sample]] = defaultdict(list)
    for sample in chosen:
        sets[sample.generator if sample.label else REAL].append(sample)
    results = []
    for name in sorted(sets, key=lambda name: (name != REAL, name)):
        one = _spectrum(name, sets[name][:most], size)
        if one is not None:
            results.append(one)
    if not results:
        raise DataError(f"All images are smaller than {size} pixels: choose a smaller --size.")
    return SpectraResult(size=size, spectra=results)


def _spectrum(name: str, samples: Sequence[Sample], size: int) -> Spectrum | None:
    total, n, example = np.zeros((size, size)), 0, ""
    for sample in track(samples, f"spectrum of {name}", len(samples)):
        grey = _grey(sample.path, size)
        if grey is not None:
            total += log_spectrum(grey)
            n, example = n + 1, example or sample.path
    if not n:
        return None
    mean = total / n
    return Spectrum(name=name, n=n, values=mean, radial=radial_mean(mean), example=example)


def _grey(path: str, size: int) -> Image.Image | None:
    """Return the middle of an image in grey; None where it is too small or unreadable."""
    try:
        image = decode(read_file(path))
    except (ImageError, OSError):
        return None
    left, top = (image.width - size) // 2, (image.height - size) // 2
    if left < 0 or top < 0:
        return None
    return image.convert("L").crop((left, top, left + size, top + size))


def log_spectrum(grey: Image.Image) -> NDArray[np.float64]:
    """Return the log magnitude of the Fourier transform of an image less its median-filtered self.

    Parameters
    ----------
    grey : Image.Image
        Grey image.

    Returns
    -------
    ndarray of shape (height, width)
        Frequency 0 in the middle.
    """
    smooth = grey.filter(ImageFilter.MedianFilter(3))
    residual = np.asarray(grey, np.float64) - np.asarray(smooth, np.float64)
    return np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(residual))))


def radial_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over all directions for each whole frequency, up to Nyquist's.

    Parameters
    ----------
    values : ndarray of float64
        Values to read.

    Returns
    -------
    ndarray of float64
        The mean over all directions for each whole frequency, up to Nyquist's.
    """
    side = values.shape[0]
    y, x = np.indices(values.shape) - side // 2
    radius = np.hypot(x, y).round().astype(int).ravel()
    sums = np.bincount(radius, values.ravel())
    return np.asarray((sums / np.bincount(radius))[: side // 2 + 1])
