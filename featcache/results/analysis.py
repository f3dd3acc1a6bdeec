"""Where networks look in images, and what pushes a head's score, as plain arrays.

Maps of a feature space, and numbers that say whether what they show is there, as plain arrays.

Mean residual spectra, as plain arrays.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

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
        Share of the nearest neighbours (other photographs', by cosine) of the same class, mean of
        both classes; 0.5 is nothing.
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
        """Return the result as plain dicts and lists, ready for JSON.

        Returns
        -------
        dict[str, Any]
            The result as plain dicts and lists, ready for JSON.
        """
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


MapKind = Literal["attention", "rollout", "response", "energy"]


@dataclass(frozen=True, kw_only=True)
class AttentionMap:
    """One map over an image.

    Parameters
    ----------
    kind : {"attention", "rollout", "response", "energy"}
        Attention of the class token in the last layer; the same rolled out over all layers; how
        much each place pushes the head's logit up (signed); or, without a head, the feature's
        energy.
    values : ndarray of shape (rows, columns), float64
        Attention sums to ``mass`` over the image; the rest goes to the class token and registers.
    head : int or None
        Attention head; None for the mean over heads.
    mass : float
        Sum of ``values``.
    """

    kind: MapKind
    values: NDArray[np.float64]
    head: int | None = None
    mass: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class Attended:
    """All maps of one backbone over one image.

    Parameters
    ----------
    path : str
    backbone : str
    pixels : ndarray of shape (size, size, 3), uint8
        What the network saw: resized and cropped.
    maps : tuple of AttentionMap
    n_layers, n_heads : int
        0 for networks without attention.
    row_error : float
        Largest distance of a row of attention from summing to 1, over all layers, heads and rows;
        NaN without attention.
    logit : float
        Of the head; NaN without one.
    """

    path: str
    backbone: str
    pixels: NDArray[np.uint8]
    maps: tuple[AttentionMap, ...]
    n_layers: int
    n_heads: int
    row_error: float
    logit: float = float("nan")

    def find(self, kind: MapKind) -> AttentionMap | None:
        """Return the map of a kind over all heads, or None.

        Parameters
        ----------
        kind : MapKind
            Kind of the requested item.

        Returns
        -------
        AttentionMap | None
            The map of a kind over all heads, or None.
        """
        return next((m for m in self.maps if m.kind == kind and m.head is None), None)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the pixels as plain values.

        Returns
        -------
        dict[str, Any]
            All but the pixels as plain values.
        """
        return {
            "path": self.path,
            "backbone": self.backbone,
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "row_error": self.row_error,
            "logit": self.logit,
            "maps": [
                {"kind": m.kind, "head": m.head, "mass": m.mass, "values": m.values.tolist()}
                for m in self.maps
            ],
        }


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
        """Return the radial means and counts as plain values.

        Returns
        -------
        dict[str, Any]
            The radial means and counts as plain values.
        """
        return {
            "size": self.size,
            "spectra": [
                {"name": s.name, "n": s.n, "radial": s.radial.tolist(), "example": s.example}
                for s in self.spectra
            ],
        }
