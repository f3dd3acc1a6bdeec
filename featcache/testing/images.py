"""Help for tests, ours and those of plug-ins: small trees of images that a probe can tell apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter


def make_images(n: int, *, seed: int, blur: float = 0.0, size: int = 64) -> list[Image.Image]:
    """Return images of smooth noise; ``blur`` (sigma, pixels) is the trace of a made-up generator.

    Parameters
    ----------
    n : int
        Number of items.
    seed : int
        Seed of the random numbers.
    blur : float
        Standard deviation of the blur in pixels.
    size : int
        Side of the input in pixels.

    Returns
    -------
    list[Image.Image]
        Images of smooth noise.
    """
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        noise = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
        images.append(noise.filter(ImageFilter.GaussianBlur(1.0 + blur)))
    return images


def make_tree(
    root: Path,
    *,
    generators: Iterable[str] = ("progan", "biggan"),
    splits: Iterable[str] = ("train", "test"),
    n: int = 8,
    size: int = 64,
) -> Path:
    """Write ``<root>/<split>/<generator>/{0_real,1_fake}/*.png`` and return the root.

    Parameters
    ----------
    root : Path
        Root folder.
    generators : Iterable[str]
        Names of generators; empty for all.
    splits : Iterable[str]
        Names of the splits.
    n : int
        Number of items.
    size : int
        Side of the input in pixels.

    Returns
    -------
    Path
    """
    for i, split in enumerate(splits):
        for j, generator in enumerate(generators):
            for label, name in enumerate(("0_real", "1_fake")):
                folder = root / split / generator / name
                folder.mkdir(parents=True)
                seed = 100 * i + 10 * j + label
                images = make_images(n, seed=seed, blur=label * (0.6 + 0.4 * j), size=size)
                for k, image in enumerate(images):
                    image.save(folder / f"{k:03d}.png")
    return root
