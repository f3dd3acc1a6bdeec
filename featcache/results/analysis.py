"""Results of embedding, attention maps and spectra, as plain arrays."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Separation:
    """How far reals and one set of fakes lie apart in feature space, in all its dimensions.

    Parameters
    ----------
    name : str
        Whose fakes: ``"all"``, a family or a generator.
    kind : {"all", "group", "generator"}
        What ``name`` is.
    n_real, n_fake : int
        Number of samples.
    auroc : float in [0, 1]
        AUROC of a linear score on held-out photographs; 0.5 for no separation.
    purity : float in [0, 1]
        Share of the nearest neighbours (of other photographs, by cosine) that have the same class,
        mean of both classes; 0.5 for no separation.
    silhouette : float in [-1, 1]
        Silhouette coefficient by cosine (Rousseeuw 1987); near 0 the classes overlap.
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
    """Where samples lie on maps of two dimensions.

    Parameters
    ----------
    features : list of str
        Names of the joined features.
    n_features : int
        Number of columns of all of them.
    maps : dict of str to ndarray of shape (n_samples, 2), float64
        By method: ``umap``, ``pca``, ``tsne``, ``probe``.
    sample_id, path : ndarray of shape (n_samples,), object (str)
        Id and path of each sample.
    generator, group : ndarray of shape (n_samples,), object (str)
        Generator and its family; ``"real"`` for photographs.
    label : ndarray of shape (n_samples,), int64
        0 real, 1 fake.
    separations : list of Separation
        For all fakes, and by family and generator.
    settings : dict of str to dict
        Settings of each method.
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
        """Return the result as plain values, ready for JSON.

        Returns
        -------
        dict of str to Any
            Arrays of samples and maps become lists.
        """
        arrays = ("sample_id", "path", "generator", "group", "label")
        return {
            "features": self.features,
            "n_features": self.n_features,
            "n_samples": len(self.label),
            "separations": [asdict(separation) for separation in self.separations],
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
        Attention of the class token in the last layer; attention rollout over all layers (Abnar &
        Zuidema 2020); how much each patch raises the head's logit (signed); or, without a head, the
        energy of the feature.
    values : ndarray of shape (rows, columns), float64
        Value of each patch. Attention sums to ``mass``; the rest of 1 goes to the class token and
        registers.
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
        Path of the image.
    backbone : str
        Name of the backbone.
    pixels : ndarray of shape (size, size, 3), uint8
        What the network sees: resized and cropped.
    maps : tuple of AttentionMap
        The maps.
    n_layers, n_heads : int
        Of the network; 0 without attention.
    row_error : float
        Largest deviation of a row of attention from the sum 1, over all layers, heads and rows; NaN
        without attention.
    logit : float
        Logit of the head; NaN without one.
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
        """Return the map of a kind that is the mean over all attention heads.

        Parameters
        ----------
        kind : {"attention", "rollout", "response", "energy"}
            Kind of the map.

        Returns
        -------
        AttentionMap or None
            None where there is no such map.
        """
        return next((m for m in self.maps if m.kind == kind and m.head is None), None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pixels as plain values, ready for JSON.

        Returns
        -------
        dict of str to Any
            Maps become nested lists.
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
        Name of the generator, or ``"real"``.
    n : int
        Number of images.
    values : ndarray of shape (size, size), float64
        Mean log power, with frequency 0 in the middle.
    radial : ndarray of shape (size // 2 + 1,), float64
        Mean over directions, from frequency 0 to the Nyquist frequency.
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
    """Spectra of the reals and of every generator.

    Parameters
    ----------
    size : int
        Side of the crops, in pixels.
    spectra : list of Spectrum
        One for the reals and for each generator.
    """

    size: int
    spectra: list[Spectrum]

    def to_dict(self) -> dict[str, Any]:
        """Return radial means and counts as plain values, ready for JSON.

        Returns
        -------
        dict of str to Any
            Without the two-dimensional spectra.
        """
        return {
            "size": self.size,
            "spectra": [
                {"name": s.name, "n": s.n, "radial": s.radial.tolist(), "example": s.example}
                for s in self.spectra
            ],
        }
