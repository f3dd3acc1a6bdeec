"""Maps of a feature space, and numbers that say whether what they show is there, as plain arrays."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Separation:
    """How far reals and one set of fakes lie apart in all dimensions, not in the map.

    Parameters
    ----------
    name : str
        Whose fakes: ``"all"``, a family or a generator.
    kind : {"all", "group", "generator"}
    n_real, n_fake : int
    auroc : float
        Of a linear score on held-out photographs; 0.5 is nothing.
    purity : float
        Share of the nearest neighbours (other photographs', by cosine) of the same class, mean of both
        classes; 0.5 is nothing.
    silhouette : float in [-1, 1]
        By cosine; near 0 the classes interleave.
    """

    name: str
    kind: str
    n_real: int
    n_fake: int
    auroc: float
    purity: float
    silhouette: float


@dataclass(frozen=True, kw_only=True)
class EmbeddingResult:
    """Where samples lie on maps of two dimensions; all arrays have n_samples rows.

    Parameters
    ----------
    features : list of str
    n_features : int
    maps : dict of str to ndarray of shape (n_samples, 2), float64
        By method: ``umap``, ``pca``, ``tsne``, ``probe``.
    sample_id, path, generator, group : ndarray of object (str)
        ``generator`` and ``group`` are ``"real"`` for photographs.
    label : ndarray of int
    separations : list of Separation
    settings : dict
        Of the maps, by method.
    """

    features: list[str]
    n_features: int
    maps: dict[str, NDArray[np.float64]]
    sample_id: NDArray[np.object_]
    path: NDArray[np.object_]
    generator: NDArray[np.object_]
    group: NDArray[np.object_]
    label: NDArray[np.int64]
    separations: list[Separation]
    settings: dict[str, dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain dicts and lists, ready for JSON."""
        arrays = ("sample_id", "path", "generator", "group", "label")
        return {
            "features": self.features,
            "n_features": self.n_features,
            "n_samples": len(self.label),
            "separations": [asdict(one) for one in self.separations],
            "settings": self.settings,
            "samples": {name: getattr(self, name).tolist() for name in arrays},
            "maps": {name: points.tolist() for name, points in self.maps.items()},
        }
