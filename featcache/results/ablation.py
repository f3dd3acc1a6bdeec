"""Results of an ablation: every feature set at its C, compared and sorted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from featcache.results.base import UNKNOWN_CI, Interval, JsonResult, Number
from featcache.results.comparison import Comparison
from featcache.results.probe import Certificate, Mean, PassCount, Selection, TrainResult


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """One feature set with one head, trained on one training set, in one test view.

    Parameters
    ----------
    features : list of str
        Names of the joined features, in order.
    n_features : int
        Number of columns of all of them.
    C : float
        Given or chosen on validation data, never on test data.
    train : list of str
        Training generators.
    fusion : {"concat", "mean-logit", "stacking"}
        How features are joined.
    head : str
        Name of the head.
    train_views : list of str
        Views of the training samples.
    view : str
        View of the test samples.
    mAP, mean_acc : float in [0, 1]
        Unweighted means over generators.
    mAP_ci, mean_acc_ci : (float, float)
        Their 95 % intervals.
    means : dict of str to Mean
        Mean of every metric over generators.
    generators : dict of str to dict of str to float
        Every metric by generator; controls are included.
    val_threshold : float
        Threshold from validation data; NaN without validation.
    selection : Selection or None
        How C was chosen; None without validation.
    certificate : Certificate or None
        None for heads that do not optimise.
    vs_best_single : Comparison or None
        Comparison with the best single feature of the same training set, head and view; None for
        that feature itself.
    vs_baseline : Comparison or None
        Comparison with the baseline of the first training set and head in the same view; None for
        the baseline itself.
    by_C : dict of str to dict of str to float
        ``mAP`` and ``mean_acc`` at each C of the grid; not used for the choice.
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
    """The contribution of one feature to mAP.

    Parameters
    ----------
    feature : str
        Name of the feature.
    shapley : float
        Shapley value: what it adds to mAP on average over all orders of adding features.
    ci : (float, float)
        95 % interval of the Shapley value.
    alone : float
        mAP of the feature alone.
    last : float
        What it adds to the mAP of all the others.
    """

    feature: str
    shapley: Number
    ci: Interval = UNKNOWN_CI
    alone: Number = math.nan
    last: Number = math.nan


@dataclass(frozen=True, kw_only=True, repr=False)
class AblationResult(JsonResult):
    """The result of one ablation.

    Parameters
    ----------
    features : list of str
        All features that sets were made of.
    rows : list of AblationRow
        Sorted by ``sort``, the best first.
    sort : str
        Metric that rows are sorted by.
    best_single : list of str
        Best single feature, chosen on validation data where there are any; with several heads,
        training sets or views that of the first.
    baseline : list of str
        Feature set that rows are compared with.
    train : TrainResult
        Training samples of the first training set.
    contributions : list of Contribution
        One for each feature; empty unless all subsets were fitted.
    similarity : dict of str to dict of str to float
        Linear CKA between features on the training samples.
    groups : dict of str to str
        Family of each generator.
    controls : list of str
        Names of the controls.
    keys : list of dict
        Complete feature key of each feature.
    notes : list of str
        Caveats, one sentence each.
    versions : dict of str to str
        Versions of featcache and NumPy.
    head : str
        Names of the heads.
    scaling : str
        How features are scaled before the head.
    C_grid : list of float
        Values of C.
    threshold : float in [0, 1]
        Probability above which a sample is predicted fake.
    seconds : float
        Time that it took, in seconds.
    digest : str
        Name of the folder ``<cache>/results/<digest>`` of the result.
    passes : dict of str to PassCount
        By step, passes over features and their bytes.
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
    passes: dict[str, PassCount] = field(default_factory=dict)
