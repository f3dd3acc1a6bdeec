"""The fingerprint of a network: its features of a few built-in images, the same
everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.cache import FeatureStore
from featcache.cache.fingerprint import NetworkFingerprint, check_fingerprint
from featcache.errors import ImageError
from featcache.extract.forward import Networks
from featcache.extract.loading import Loaded
from featcache.extract.plan import Request
from featcache.extract.profiling import StageTimes

SIZE = 256
"""Side of the built-in images, in pixels: larger than any crop of theirs."""


def built_in_images() -> list[Image.Image]:
    """Return four RGB images of 256 x 256 pixels: slopes, waves, noise and blocks; integers only.

    Returns
    -------
    list[Image.Image]
        Four RGB images of 256 x 256 pixels.
    """
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.int64)
    noise = ((x * 1103515245 + y * 12345 + (x * y) * 2654435761) >> 7) & 255
    pictures = (
        np.stack([x, y, (x + y) // 2], axis=-1),
        np.stack([(x * x // 64) & 255, (y * y // 64) & 255, (x * y // 64) & 255], axis=-1),
        np.stack([noise, noise[::-1], noise[:, ::-1]], axis=-1),
        np.stack(
            [(x // 32 * 73) & 255, (y // 32 * 151) & 255, ((x ^ y) // 16 * 37) & 255], axis=-1
        ),
    )
    return [Image.fromarray((picture & 255).astype(np.uint8)) for picture in pictures]


def check_network_fingerprints(
    networks: Networks,
    requests: Sequence[Request],
    store: FeatureStore,
    versions: dict[str, str],
) -> None:
    """Compare each network with what it was when its features in the store were made.

    Warns
    -----
    FeatcacheWarning
        Before features are mixed that do not match.

    Parameters
    ----------
    networks : Networks
        Loaded networks.
    requests : Sequence[Request]
        Requested features.
    store : FeatureStore
        Feature store.
    versions : dict[str, str]
        Versions of the libraries.
    """
    times = StageTimes()
    features: dict[str, list[NDArray[np.float32]]] = {}
    for number, image in enumerate(built_in_images()):  # alone: no batch size shapes the result
        sample = _load(image, number, requests)
        for name, block in networks.start([sample], requests, times).result(times).items():
            features.setdefault(name, []).append(block)
    for request in requests:
        if request.id in features:  # a view may take no built-in image
            current = NetworkFingerprint(np.concatenate(features[request.id]), versions)
            folder = store.folder(request.key)
            check_fingerprint(folder, request.key.name, request.precision, current)


def _load(image: Image.Image, number: int, requests: Sequence[Request]) -> Loaded:
    loaded = Loaded(f"{number:032x}", "")
    for request in requests:
        if request.stream not in loaded.pixels:
            try:
                loaded.pixels[request.stream], _ = request.prepare(image, loaded.sample_id)
            except ImageError:
                continue
    return loaded
