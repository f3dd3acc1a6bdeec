"""Options of a probe run and of an ablation; every field accepts what its flag accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featcache.backbones.weights import weights_identities
from featcache.errors import SettingsError
from featcache.probes.base import HEADS, sklearn_head
from featcache.settings import split_names

GRID = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2]
"""Values of C of ``--C grid``."""


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """What to fit and how to evaluate it.

    Lists may be one text with commas, as flags are: ``features="clip,synclr"``, ``C="grid"``,
    ``memory="2G"``.

    Parameters
    ----------
    features : list of str
        Names of the features, joined side by side in this order.
    train : list of str
        Training generators; empty for all.
    C : float > 0
        Inverse strength of the penalty. Several values, or ``"grid"``, become ``grid``.
    grid : list of float > 0
        Values of C to choose from by validation; empty to use ``C``.
    head : str
        ``"logistic"`` or a name of :func:`featcache.probes.head_kinds`; or a scikit-learn
        classifier, which gets its ``repr`` as name.
    scaling : str
        One of :data:`featcache.probes.scaling.SCALINGS`, for the logistic head.
    fusion : {"concat", "mean-logit", "stacking"}
        One head on the joined features, or a head for each feature whose logits are averaged or
        stacked.
    train_views : list of str
        Views of the training samples; every sample is a row in each.
    test_views : list of str
        Views of the test samples: the first is the main one, the others are reported besides it.
    validate : bool
        Choose the threshold (and C, with a grid) on validation data.
    n_folds : int
        Folds by photograph, where there is neither a validation split nor a second generator.
    threshold : float in [0, 1]
        Probability above which a sample is predicted fake.
    prior : float in (0, 1)
        Share of fakes for ``ap_prior``. A text or several shares, as in ``--prior``, become
        ``priors`` too.
    priors : list of float in (0, 1)
        Further shares of fakes to report the AP at.
    intersection : bool
        Leave out samples that lack one of the features, instead of raising an error.
    wanted : dict of str to str or None
        Further leaves of the feature keys, where the store has several of a name; None for any.
    weights : dict of str to str
        Digest of the weights (``"blake2b:..."``) by backbone, where the store has several.
    memory : int or None
        Memory budget in bytes; larger features are streamed from the store in every pass. None for
        what is free.
    engine : str
        Where the training features of logistic heads are held; ``"local"`` is this process.
    address : str
        Address of the engine's cluster.
    processes : int
        Number of the engine's workers; 0 for its default.
    k : int
        Number of neighbours of the head ``knn``.
    n_resamples : int
        Number of bootstrap resamples.
    seed : int
        Seed of the bootstrap and of heads that draw random numbers.
    """

    features: list[str]
    train: list[str] = field(default_factory=list)
    C: float = 1.0
    grid: list[float] = field(default_factory=list)
    head: str = "logistic"
    scaling: str = "standardise"
    fusion: str = "concat"
    train_views: list[str] = field(default_factory=lambda: ["clean"])
    test_views: list[str] = field(default_factory=lambda: ["clean"])
    validate: bool = True
    n_folds: int = 5
    threshold: float = 0.5
    prior: float = 0.5
    priors: list[float] = field(default_factory=list)
    intersection: bool = False
    wanted: Mapping[str, str | None] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    memory: int | None = None
    engine: str = "local"
    address: str = ""
    processes: int = 0
    k: int = 1
    n_resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        values = parse_C(self.C)
        grid = parse_C(self.grid) if self.grid else []
        if len(values) > 1:
            if grid and grid != values:
                raise SettingsError(f"C = {self.C!r} and grid = {self.grid!r} differ. Name one.")
            grid = values
        priors = parse_shares(self.priors)
        if not isinstance(self.prior, float):
            priors = parse_shares(self.prior) or priors
        features = split_list(self.features)
        weights: Any = self.weights
        if not isinstance(weights, Mapping):
            weights = weights_identities(map(str, split_list(weights)), features)
        changes = {
            "features": features,
            "train": split_list(self.train),
            "C": values[0],
            "grid": grid,
            "head": self.head if isinstance(self.head, str) else head_of(self.head),
            "train_views": split_list(self.train_views) or ["clean"],
            "test_views": split_list(self.test_views) or ["clean"],
            "prior": self.prior if isinstance(self.prior, float) else (*priors, 0.5)[0],
            "priors": priors,
            "weights": weights,
            "memory": parse_size(self.memory),
        }
        for name, value in changes.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, kw_only=True)
class AblateOptions:
    """Which feature sets to compare, and how.

    Parameters
    ----------
    probe : ProbeOptions
        All features, and everything that holds for every row. Each test view has rows of its own.
    heads : list of str
        Names of heads to have rows for; empty for that of ``probe``.
    train_sets : list of list of str
        Training sets (generators) to have rows for; empty for that of ``probe``.
    train_views : list of list of str
        Sets of training views to have rows for; empty for that of ``probe``.
    subsets : list of list of str
        Feature sets to fit; empty for all non-empty subsets.
    baseline : list of str
        Feature set that every row is compared with; by default the first single feature.
    sort : str
        Metric that rows are sorted by, the best first: ``"mAP"`` or a name of a metric.
    kept : Path, optional
        Cache in which a saved result is looked for; the store by default.
    """

    probe: ProbeOptions
    heads: list[str] = field(default_factory=list)
    train_sets: list[list[str]] = field(default_factory=list)
    train_views: list[list[str]] = field(default_factory=list)
    subsets: list[list[str]] = field(default_factory=list)
    baseline: list[str] = field(default_factory=list)
    sort: str = "mAP"
    kept: Path | None = None

    def __post_init__(self) -> None:
        for name in ("train_sets", "train_views", "subsets"):
            value: Any = getattr(self, name)
            sets = [value] if isinstance(value, str) else value
            object.__setattr__(self, name, [split_list(item) for item in sets])
        for name in ("heads", "baseline"):
            object.__setattr__(self, name, split_list(getattr(self, name)))
        if self.kept is not None:
            object.__setattr__(self, "kept", Path(self.kept))


def split_list(value: Any) -> list[Any]:
    """Return names as a list: of one text with commas, or of several that may hold several.

    Parameters
    ----------
    value : str, Path, iterable or None
        What a flag or a caller says.

    Returns
    -------
    list
        The names in order; None gives none.

    Examples
    --------
    >>> split_list("clip, synclr"), split_list(["clip,synclr", "dinov2"])
    (['clip', 'synclr'], ['clip', 'synclr', 'dinov2'])
    """
    if value is None:
        return []
    parts = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    return [name for part in parts for name in split_names(str(part))]


def parse_C(value: Any) -> list[float]:
    """Return the values of C that a number, a text or several of them mean.

    Parameters
    ----------
    value : float, str or iterable of float
        ``"grid"`` means :data:`GRID`.

    Returns
    -------
    list of float > 0

    Raises
    ------
    SettingsError
        If a value is not a positive number.

    Examples
    --------
    >>> parse_C("0.1,1"), parse_C(2)
    ([0.1, 1.0], [2.0])
    """
    if value == "grid":
        return list(GRID)
    try:
        values = [float(part) for part in split_list(value)]
    except ValueError as error:
        raise SettingsError(
            f"C = {value!r} is not a number, several with commas, or 'grid'."
        ) from error
    if not values or not all(0 < number < float("inf") for number in values):
        raise SettingsError(f"C = {value} is not allowed: it must be positive.")
    return values


def parse_shares(value: Any) -> list[float]:
    """Return the shares of fakes that a number, a text or several of them mean.

    Parameters
    ----------
    value : float, str or iterable of float
        Shares between 0 and 1; empty for none.

    Returns
    -------
    list of float in (0, 1)

    Raises
    ------
    SettingsError
        If a value is no share.
    """
    try:
        values = [float(part) for part in split_list(value)]
    except ValueError as error:
        raise SettingsError(f"prior = {value!r} is no share such as 0.1, or several.") from error
    if not all(0 < share < 1 for share in values):
        raise SettingsError(f"prior = {value} is not allowed: a share lies between 0 and 1.")
    return values


def parse_size(value: int | str | None) -> int | None:
    """Return a size in bytes.

    Parameters
    ----------
    value : int, str or None
        ``"500M"``, ``"2G"`` or a number of bytes.

    Returns
    -------
    int or None
        None for None.

    Raises
    ------
    SettingsError
        If it is no size, or not positive.

    Examples
    --------
    >>> parse_size("2K")
    2048
    """
    if value is None:
        return None
    text = str(value)
    multipliers = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    multiplier = multipliers.get(text[-1:].upper(), 1)
    try:
        size = int(float(text if multiplier == 1 else text[:-1]) * multiplier)
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"memory = {text!r} is not a size such as 500M or 2G.") from error
    if size <= 0:
        raise SettingsError(f"memory = {text!r} is not allowed: it must be positive.")
    return size


def head_of(estimator: Any) -> str:
    """Make a scikit-learn classifier a head of this process and return its name.

    Parameters
    ----------
    estimator : sklearn classifier
        With ``fit``, and ``decision_function`` or ``predict_proba``; it is cloned.

    Returns
    -------
    str
        Its ``repr``, which holds every parameter that is not the default.

    Raises
    ------
    SettingsError
        If it is no classifier.
    """
    if not all(hasattr(estimator, name) for name in ("fit", "get_params")):
        raise SettingsError(
            f"head = {estimator!r} is neither the name of a head nor a scikit-learn classifier."
        )
    name = " ".join(repr(estimator).split()).replace(":", "=")  # a colon starts parameters
    HEADS.add(name, sklearn_head(estimator))
    return name
