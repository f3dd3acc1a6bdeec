"""How a network behaved when its features were made: what it gives for a few built-in images.

The key says what should determine a feature; libraries are not in it. So the features of some fixed
images are kept beside each key, and compared whenever the network is loaded again.
"""

from __future__ import annotations

import base64
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache import layout
from featcache.errors import FeatcacheWarning
from featcache.files import read_file, store_error, write_atomic
from featcache.parsing import MAX_JSON_BYTES, parse_json

TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 1e-2}
"""Relative change of a feature vector that devices and batch sizes explain, by precision."""


@dataclass(frozen=True)
class NetworkFingerprint:
    """Features of the built-in images, and what computed them.

    Parameters
    ----------
    features : ndarray of shape (n_images, n_features), float32
    versions : dict of str to str
    """

    features: NDArray[np.float32]
    versions: dict[str, str]


def read_fingerprint(folder: Path) -> NetworkFingerprint | None:
    """Return what is kept in a key's folder; None where there is nothing usable.

    Parameters
    ----------
    folder : Path
        Folder that is read or written.

    Returns
    -------
    NetworkFingerprint | None
        What is kept in a key's folder.

    Raises
    ------
    StoreError
        If the store cannot be read or written.
    """
    try:
        data = parse_json(read_file(folder / layout.FINGERPRINT_FILE, MAX_JSON_BYTES))
        shape = tuple(map(int, data["shape"]))
        values = np.frombuffer(base64.b64decode(data["features"], validate=True), "<f4")
        versions = {str(name): str(value) for name, value in data["versions"].items()}
        return NetworkFingerprint(values.reshape(shape), versions)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise store_error(error, folder / layout.FINGERPRINT_FILE, verb="read") from error
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def write_fingerprint(folder: Path, fingerprint: NetworkFingerprint) -> None:
    """Store the fingerprint in a key's folder.

    Parameters
    ----------
    folder : Path
        Folder that is read or written.
    fingerprint : NetworkFingerprint
        Features of the built-in images.
    """
    features = np.ascontiguousarray(fingerprint.features, "<f4")
    document = {
        "features": base64.b64encode(features.tobytes()).decode("ascii"),
        "shape": list(features.shape),
        "versions": fingerprint.versions,
    }
    write_atomic(folder / layout.FINGERPRINT_FILE, json.dumps(document, sort_keys=True).encode())


def check_fingerprint(
    folder: Path, name: str, precision: str, current: NetworkFingerprint
) -> float:
    """Compare a network with the stored fingerprint of its key, or store it.

    Parameters
    ----------
    folder : Path
        Of the key.
    name : str
        Of the feature.
    precision : str
        Of the feature.
    current : NetworkFingerprint

    Returns
    -------
    float
        Largest relative change of a feature vector; 0 where nothing was kept before.

    Warns
    -----
    FeatcacheWarning
        If it moved beyond what the precision explains: says which libraries changed.
    """
    before = read_fingerprint(folder)
    if before is None:
        write_fingerprint(folder, current)
        return 0.0
    change = relative_change(before.features, current.features)
    if change > TOLERANCE.get(precision, 1e-3):
        changed = [
            f"{package} {before.versions.get(package, 'none')} ->"
            f" {current.versions.get(package, 'none')}"
            for package in sorted({*before.versions, *current.versions})
            if before.versions.get(package) != current.versions.get(package)
        ]
        why = f"since then changed: {', '.join(changed)}" if changed else "no version changed"
        warnings.warn(
            f"The network of {name!r} does not behave as when the features in the store were made:"
            f" vectors of the built-in images moved by {change:.2g} ({why}). New features will not"
            " match the old ones: use the old versions, or make all anew in another --cache.",
            FeatcacheWarning,
            2,
        )
    return change


def relative_change(before: NDArray[Any], current: NDArray[Any]) -> float:
    """Return the largest |now - before| / |before| over vectors; infinite where shapes differ.

    Parameters
    ----------
    before : ndarray
        Stored features.
    current : ndarray
        Features of the loaded network.

    Returns
    -------
    float
        The largest |now - before| / |before| over vectors.
    """
    if before.shape != current.shape or not (
        np.isfinite(before).all() and np.isfinite(current).all()
    ):
        return float("inf")
    lengths = np.maximum(np.linalg.norm(before, axis=1), 1e-12)
    return float((np.linalg.norm(current - before, axis=1) / lengths).max(initial=0.0))
