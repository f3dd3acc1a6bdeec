"""The heads by name, and what they have in common: raw features in, logits of being fake out."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featcache.errors import DataError, unknown_name

Float = NDArray[np.float64]
Features = NDArray[np.float32]

BOTH = frozenset({0, 1})
"""The classes: reals and fakes."""

EPS = 1e-12
"""Norms below this count as zero."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a head is fitted on.

    Parameters
    ----------
    features : ndarray of shape (n_samples, n_features), float32
        Raw, as cached, joined side by side.
    labels : ndarray of shape (n_samples,), int
        0 real, 1 fake.
    sources : ndarray of shape (n_samples,), optional
        The photograph that each sample comes from; every sample its own by default.
    widths : list of int
        Width of each joined feature; one block by default.
    val_features, val_labels : ndarray, optional
        Validation samples, for heads that stop early. Never test samples.
    """

    features: Features
    labels: NDArray[np.int64]
    sources: NDArray[Any] | None = None
    widths: list[int] = field(default_factory=list)
    val_features: Features | None = None
    val_labels: NDArray[np.int64] | None = None

    def require(self, labels: Collection[int]) -> None:
        """Raise :class:`DataError` if a class that a head needs has no sample.

        Parameters
        ----------
        labels : Collection[int]
            Classes that the head needs: 0 real, 1 fake.

        Raises
        ------
        DataError
            If a class has no training sample.
        """
        if missing := set(labels) - set(self.labels.tolist()):
            raise lacks_class(missing)

    @property
    def groups(self) -> NDArray[Any]:
        """The unit of each sample."""
        return np.arange(len(self.labels)) if self.sources is None else self.sources


class Scorer(Protocol):
    """A fitted head."""

    def logits(self, features: Features) -> Float:
        """Return a number per row of ``features``; above 0 means fake, higher means more fake.

        Parameters
        ----------
        features : Features
            Features of shape (n_samples, n_features).

        Returns
        -------
        Float
            A number per row of ``features``.
        """


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A linear head in raw feature space.

    Parameters
    ----------
    weight : ndarray of shape (n_features,), float64
    bias : float
    l2 : bool
        Each block of a row is divided by its Euclidean norm first.
    widths : list of int
        Of the blocks; one by default.
    """

    weight: Float
    bias: float
    l2: bool = False
    widths: list[int] = field(default_factory=list)

    def logits(self, features: Features) -> Float:
        """Return the logit of being fake of each row.

        Parameters
        ----------
        features : Features
            Features of shape (n_samples, n_features).

        Returns
        -------
        Float
            The logit of being fake of each row.
        """
        rows = normalized(features, self.widths) if self.l2 else features
        return np.asarray(rows.astype(np.float64) @ self.weight + self.bias)


Fit = Callable[..., Scorer]


@dataclass(frozen=True, kw_only=True)
class HeadKind:
    """A kind of head.

    Parameters
    ----------
    fit : callable
        ``fit(training, C=..., k=..., seed=...)``; each takes what it needs.
    summary : str
        One line for a person.
    takes : frozenset of str
        Which of ``C``, ``k`` and ``seed`` mean something to it.
    linear : bool
        Whether it can be saved as a head in raw feature space.
    needs : frozenset of int
        The classes that must be in its training set.
    """

    fit: Fit
    summary: str
    takes: frozenset[str] = frozenset()
    linear: bool = True
    needs: frozenset[int] = BOTH


def fit_head(name: str, training: Training, **options: Any) -> Scorer:
    """Fit a head by the name of its kind.

    Parameters
    ----------
    name : str
        See :func:`head_kinds`.
    training : Training
    **options
        ``C``, ``k``, ``seed``; what the kind does not take is left out.

    Returns
    -------
    Scorer

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    DataError
        If a class that it needs is missing.
    """
    known = head_kinds()
    if name not in known:
        raise unknown_name("head", name, known)
    kind = known[name]
    training.require(kind.needs)
    return kind.fit(training, **{key: options[key] for key in kind.takes if key in options})


def head_kinds() -> dict[str, HeadKind]:
    """Return every kind of head beside ``logistic``, which has a solver of its own.

    Returns
    -------
    dict[str, HeadKind]
        Every kind of head beside ``logistic``, which has a solver of its own.
    """
    from featcache.probes.heads.gaussian import fit_lda, fit_oneclass
    from featcache.probes.heads.neighbours import fit_knn, fit_prototype
    from featcache.probes.heads.ridge import fit_ridge
    from featcache.probes.heads.univfd_sgd import fit_univfd_sgd

    return {
        "knn": HeadKind(
            fit=fit_knn,
            summary="UnivFD's nearest neighbours: cosine, vote of the k nearest",
            takes=frozenset({"k"}),
            linear=False,
        ),
        "prototype": HeadKind(fit=fit_prototype, summary="nearest class mean, cosine"),
        "ridge": HeadKind(
            fit=fit_ridge, summary="least squares on the labels", takes=frozenset({"C"})
        ),
        "lda": HeadKind(fit=fit_lda, summary="linear discriminant, Ledoit-Wolf covariance"),
        "univfd-sgd": HeadKind(
            fit=fit_univfd_sgd,
            summary="UnivFD's own recipe: AdamW on raw features, early stopping",
            takes=frozenset({"seed"}),
        ),
        "oneclass": HeadKind(
            fit=fit_oneclass,
            summary="fitted on the fakes alone: Mahalanobis distance to them",
            takes=frozenset({"seed"}),
            linear=False,
            needs=frozenset({1}),
        ),
    }


def classes_needed(head: str) -> frozenset[int]:
    """Return the classes that must be in the training set of a head, ``logistic`` among them.

    Parameters
    ----------
    head : str
        Fitted head, if there is one.

    Returns
    -------
    frozenset[int]
        The classes that must be in the training set of a head, ``logistic`` among them.
    """
    known = head_kinds()
    return known[head].needs if head in known else BOTH


def lacks_class(missing: Collection[int]) -> DataError:
    """Return the error for a training set without reals (0), fakes (1) or both.

    Parameters
    ----------
    missing : Collection[int]
        Labels without training samples.

    Returns
    -------
    DataError
        The error for a training set without reals (0), fakes (1) or both.
    """
    names = " and no ".join(("reals", "fakes")[label] for label in sorted(missing))
    needs = "; the head oneclass does without reals" if set(missing) == {0} else ""
    return DataError(f"The training set has no {names}: a probe needs both classes{needs}.")


def normalized(features: Features, widths: list[int]) -> Features:
    """Return rows whose blocks have Euclidean norm 1; a block of zeros stays.

    Parameters
    ----------
    features : Features
        Features of shape (n_samples, n_features).
    widths : list[int]
        Number of columns of each feature block.

    Returns
    -------
    Features
        Rows whose blocks have Euclidean norm 1.
    """
    stops = np.cumsum(widths or [features.shape[1]])[:-1]
    blocks = np.split(features, stops, axis=1)
    return np.concatenate(
        [b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), EPS) for b in blocks], axis=1
    )


def standardisation(features: Features) -> tuple[Float, Float]:
    """Return mean and deviation of each column; a dead one gets deviation infinity, so weight 0.

    Parameters
    ----------
    features : Features
        Features of shape (n_samples, n_features).

    Returns
    -------
    tuple[Float, Float]
        Mean and deviation of each column.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    dead = deviation <= 1e-7 * np.maximum(np.abs(mean), 1e-30)
    return mean, np.where(dead, np.inf, deviation)
