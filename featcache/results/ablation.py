"""What an ablation found, as plain data: every feature set at its C, compared and ranked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from featcache.results.comparison import Comparison
from featcache.results.numbers import UNKNOWN, Interval, Number
from featcache.results.probe import Certificate, Mean, Selection, TrainResult


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """One feature set, trained on one training set.

    Parameters
    ----------
    features : list of str
        The joined features, in order.
    n_features : int
    C : float
        Given or chosen on validation data, never on test data; ``selection`` says how.
    train : list of str
        Generators trained on.
    fusion : str
        ``"concat"``, ``"mean-logit"`` or ``"stacking"``.
    mAP, mean_acc : float, with intervals
    means : dict of str to Mean
        Every metric's mean over generators.
    generators : dict of str to dict of str to float
        Every metric per generator.
    head : str
    train_views : list of str
    view : str
        Of the test samples.
    vs_best_single, vs_baseline : Comparison or None
        None for the partner itself. The best single feature is the one of the same training set,
        head and view, the baseline that of the first on the same view.
    by_C : dict of str to dict of str to float
        ``mAP`` and ``mean_acc`` at each C of the grid, for the curve; not used to choose.
    """

    features: list[str]
    n_features: int
    C: Number
    train: list[str]
    fusion: str = "concat"
    head: str = "logistic"
    train_views: list[str] = field(default_factory=lambda: ["clean"])
    view: str = "clean"
    mAP: Number
    mean_acc: Number
    mAP_ci: Interval
    mean_acc_ci: Interval
    means: dict[str, Mean] = field(default_factory=dict)
    generators: dict[str, dict[str, Number]] = field(default_factory=dict)
    val_threshold: Number = math.nan
    selection: Selection | None = None
    certificate: Certificate | None = None
    vs_best_single: Comparison | None = None
    vs_baseline: Comparison | None = None
    by_C: dict[str, dict[str, Number]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one feature adds to mAP on average over all orders of adding (its Shapley value)."""

    feature: str
    shapley: Number
    ci: Interval = UNKNOWN
    alone: Number = math.nan
    last: Number = math.nan


@dataclass(frozen=True, kw_only=True)
class AblationResult:
    """All that one ablation found.

    Parameters
    ----------
    features : list of str
        All features that subsets were made of.
    rows : list of AblationRow
        Sorted by ``sort``, the best first.
    contributions : list of Contribution
        Empty unless all subsets were fitted. ``alone`` is the feature's own mAP, ``last`` what it
        adds to all the others.
    similarity : dict of str to dict of str to float
        Linear CKA between the features on the training samples.
    best_single, baseline : list of str
        The feature sets that rows are compared with; ``best_single`` is chosen on validation data
        where there are any (with several heads, training sets or views: the first one's).
    groups : dict of str to str
        Family of each generator.
    """

    features: list[str]
    rows: list[AblationRow]
    sort: str
    best_single: list[str]
    baseline: list[str]
    train: TrainResult
    contributions: list[Contribution] = field(default_factory=list)
    similarity: dict[str, dict[str, Number]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    controls: list[str] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    head: str = "logistic"
    scaling: str = "standardise"
    C_grid: list[float] = field(default_factory=list)
    threshold: float = 0.5
    seconds: float = 0.0
    digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain dicts, lists and numbers, ready for JSON.

        Returns
        -------
        dict[str, Any]
            The result as plain dicts, lists and numbers, ready for JSON.
        """
        return asdict(self)
