"""What a probe run and an ablation are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

GRID = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2]
"""The values of C that ``--C grid`` tries."""


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """What to fit and how to judge it.

    Parameters
    ----------
    features : list of str
        Feature names, joined side by side in this order.
    train : list of str
        Generators whose training samples are used; empty means all.
    C : float > 0
        Inverse strength of the penalty.
    grid : list of float
        Values of C to choose from by validation; empty means that ``C`` holds.
    head : str
        Name of the head: one of :data:`featcache.probes.HEADS`.
    scaling : str
        One of :data:`featcache.probes.scaling.SCALINGS`; only the logistic head has a choice.
    fusion : {"concat", "mean-logit", "stacking"}
        Features joined before one head, or one head each whose logits are averaged or stacked.
    train_views, test_views : list of str
        Views of the same samples: rows to train on, and to test the head on besides the first view.
    validate : bool
        Choose a threshold on validation data (and C, with a grid).
    n_folds : int
        Folds by photograph, where neither a validation split nor several generators are there.
    threshold : float in [0, 1]
        Fake probability above which a sample is called fake.
    prior : float in (0, 1)
        Share of fakes that ``ap_prior`` is stated for.
    priors : list of float in (0, 1)
        Further shares that a probe states the AP for, with intervals.
    intersection : bool
        Leave out samples that lack one of the features, instead of an error.
    wanted : dict of str to str or None
        Further leaves of the feature keys, where the store has several kinds; None means any.
    weights : dict of str to str
        Weights of the feature keys by backbone (``"blake2b:..."``), where the store has several.
    memory : int, bytes, optional
        Features that need more are read again for every pass.
    engine, address, processes : str, str, int
        What holds the training features of logistic heads and adds up their sums: ``"local"`` is
        this process.
    k : int
        Neighbours of the head ``knn``.
    n_resamples, seed : int
        Of the bootstrap.
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
        All features of the ablation, and everything that holds for every row. Every test view has
        rows of its own, of the same heads.
    heads : list of str
        Rows for each of these heads; empty means the probe's.
    train_sets : list of list of str
        Rows for each of these training sets (generators); empty means the probe's.
    train_views : list of list of str
        Rows for each of these sets of views in training; empty means the probe's.
    subsets : list of list of str
        Feature sets to fit; empty means all non-empty subsets.
    baseline : list of str
        The feature set that every other is compared with; the first single one by default.
    sort : str
        Metric that rows are sorted by, the best first: ``"mAP"`` or a name of a metric.
    kept : Path, optional
        Folder below which saved results are looked for; the store by default.
    """

    probe: ProbeOptions
    heads: list[str] = field(default_factory=list)
    train_sets: list[list[str]] = field(default_factory=list)
    train_views: list[list[str]] = field(default_factory=list)
    subsets: list[list[str]] = field(default_factory=list)
    baseline: list[str] = field(default_factory=list)
    sort: str = "mAP"
    kept: Path | None = None
