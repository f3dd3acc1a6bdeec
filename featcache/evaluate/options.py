"""Options of a probe run and of an ablation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

GRID = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2]
"""Values of C of ``--C grid``."""


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """What to fit and how to evaluate it.

    Parameters
    ----------
    features : list of str
        Names of the features, joined side by side in this order.
    train : list of str
        Training generators; empty for all.
    C : float > 0
        Inverse strength of the penalty.
    grid : list of float > 0
        Values of C to choose from by validation; empty to use ``C``.
    head : str
        ``"logistic"`` or a name of :func:`featcache.probes.head_kinds`.
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
        Share of fakes for ``ap_prior``.
    priors : list of float in (0, 1)
        Further shares of fakes to report the AP at.
    intersection : bool
        Leave out samples that lack one of the features, instead of raising an error.
    wanted : dict of str to str or None
        Further leaves of the feature keys, where the store has several of a name; None for any.
    weights : dict of str to str
        Digest of the weights (``"blake2b:..."``) by backbone, where the store has several.
    memory : int or None
        Memory budget in bytes; larger features are streamed from the store in every pass.
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
