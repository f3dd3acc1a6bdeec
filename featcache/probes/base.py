"""The heads by name, and what they have in common: raw features in, logits of being fake out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featcache.errors import DataError, SettingsError, unknown_name
from featcache.registry import Registry

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
        ``fit(training, **parameters)``; it gets the parameters that it names, and of ``C`` and
        ``seed`` what is in ``takes``.
    summary : str
        One line for a person.
    takes : frozenset of str
        Which of ``C``, ``k`` and ``seed`` mean something to it.
    parameters : mapping of str to int, float, bool or str
        Its hyper-parameters with their defaults, for ``--head NAME:key=value``.
    linear : bool
        Whether it can be saved as a head in raw feature space.
    needs : frozenset of int
        The classes that must be in its training set.
    """

    fit: Fit
    summary: str
    takes: frozenset[str] = frozenset()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    linear: bool = True
    needs: frozenset[int] = BOTH


HEADS: Registry[HeadKind] = Registry("head", "featcache.heads", HeadKind)
"""The kinds of heads beside ``logistic``, which has a solver of its own."""


def head_kinds() -> dict[str, HeadKind]:
    """Return every kind of head beside ``logistic``, which has a solver of its own.

    Returns
    -------
    dict of str to HeadKind
        The built-in ones and those of plug-ins, from the entry-point group ``featcache.heads``.
    """
    return HEADS.all()


def head_kind(text: str) -> HeadKind | None:
    """Return the kind of head that a text such as ``knn:k=5`` names, None for ``logistic``.

    Parameters
    ----------
    text : str
        Name and hyper-parameters.

    Returns
    -------
    HeadKind or None

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    SettingsError
        If it has no such hyper-parameter, or a value cannot be read.
    """
    name, _ = parse_head(text)
    return None if name == "logistic" else HEADS.get(name)


def parse_head(text: str) -> tuple[str, dict[str, Any]]:
    """Parse ``NAME:key=value,key=value``.

    Parameters
    ----------
    text : str
        Name of a head and, after a colon, its hyper-parameters.

    Returns
    -------
    (str, dict of str to object)
        Values have the types of the defaults.

    Raises
    ------
    UnknownNameError
        If there is no such head.
    SettingsError
        If it has no such hyper-parameter, or a value cannot be read.

    Examples
    --------
    >>> parse_head("knn:k=5")
    ('knn', {'k': 5})
    """
    name, _, rest = text.partition(":")
    if name != "logistic" and name not in HEADS.names():
        raise unknown_name("head", name, ["logistic", *HEADS.names()])
    known = dict(HEADS.get(name).parameters) if name != "logistic" and rest else {}
    values: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key not in known:
            listed = ", ".join(known) or "none"
            raise SettingsError(f"The head {name} has no parameter {key!r}; it has: {listed}.")
        kind = type(known[key])
        try:
            values[key] = value == "true" if kind is bool else kind(value)
        except ValueError as error:
            raise SettingsError(
                f"--head {text}: {key}={value} is no {kind.__name__}; the default is "
                f"{known[key]!r}."
            ) from error
    return name, values


def fit_head(text: str, training: Training, **options: Any) -> Scorer:
    """Fit a head by its name, with its hyper-parameters.

    Parameters
    ----------
    text : str
        See :func:`parse_head`.
    training : Training
        What it is fitted on.
    **options
        ``C``, ``k``, ``seed``; what the kind does not take is left out. Hyper-parameters in the
        text win.

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
    name, values = parse_head(text)
    kind = HEADS.get(name)
    training.require(kind.needs)
    given = {key: options[key] for key in kind.takes if key in options}
    return kind.fit(training, **{**kind.parameters, **given, **values})


def sklearn_head(estimator: Any, summary: str = "") -> HeadKind:
    """Return a scikit-learn classifier as a kind of head, to be registered with ``HEADS.add``.

    Parameters
    ----------
    estimator : sklearn classifier
        It is cloned for each fit. Its ``decision_function`` gives the logit; without one the
        log-odds of ``predict_proba`` do.
    summary : str
        One line for a person.

    Returns
    -------
    HeadKind
        Its hyper-parameters are those of the estimator that are numbers, texts or booleans.
    """
    from sklearn.base import clone

    simple = {
        key: value
        for key, value in estimator.get_params().items()
        if isinstance(value, (bool, int, float, str))
    }

    def fit(training: Training, **parameters: Any) -> Scorer:
        model = clone(estimator).set_params(**parameters)
        return _SklearnScorer(model.fit(training.features, training.labels))

    name = type(estimator).__name__
    return HeadKind(fit=fit, summary=summary or name, parameters=simple, linear=False)


@dataclass(frozen=True)
class _SklearnScorer:
    """A fitted scikit-learn classifier."""

    model: Any

    def logits(self, features: Features) -> Float:
        if hasattr(self.model, "decision_function"):
            return np.asarray(self.model.decision_function(features), dtype=np.float64)
        p = np.clip(self.model.predict_proba(features)[:, 1], EPS, 1 - EPS)
        return np.asarray(np.log(p) - np.log1p(-p))


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
    kind = head_kind(head)
    return BOTH if kind is None else kind.needs


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
