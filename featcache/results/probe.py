"""What one probe run found.

The score of every test sample.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featcache.results.numbers import UNKNOWN, Interval, Number


@dataclass(frozen=True, kw_only=True)
class GeneratorResult:
    """What a probe does on one generator's fakes against its reals; metrics are fractions.

    Parameters
    ----------
    group : str
        Family of the generator.
    ap, auroc : float
        Average precision and area under the ROC curve.
    acc, r_acc, f_acc, bacc : float
        Accuracy at ``EvalResult.threshold`` on all samples, on the reals, on the fakes, and the
        mean of the last two.
    acc_val : float
        Balanced accuracy at ``EvalResult.val_threshold``, which comes from validation data.
    acc_oracle : float
        The best balanced accuracy that any threshold reaches *on this very test set*: an upper
        bound that looked at the answers, never a result. ``oracle_threshold`` is where it is
        reached.
    tpr_at_fpr1, tpr_at_fpr5 : float
        Share of the fakes caught with at most 1 % and 5 % of the reals called fake.
    eer : float
        Equal error rate.
    brier, ece : float
        Mean squared error of the probability; expected calibration error over ten equal bins.
    ap_prior : float
        Average precision if ``EvalResult.prior`` of the images were fakes.
    n_real, n_fake, n_sources : int
        Samples, and independent photographs behind them: the unit that the intervals resample.
    *_ci : (float, float)
        95 % interval of the metric of that name.
    """

    group: str
    ap: Number
    auroc: Number
    acc: Number
    r_acc: Number
    f_acc: Number
    n_real: int
    n_fake: int
    n_sources: int
    ap_ci: Interval
    auroc_ci: Interval
    acc_ci: Interval
    r_acc_ci: Interval
    f_acc_ci: Interval
    bacc: Number = math.nan
    acc_val: Number = math.nan
    acc_oracle: Number = math.nan
    tpr_at_fpr1: Number = math.nan
    tpr_at_fpr5: Number = math.nan
    eer: Number = math.nan
    brier: Number = math.nan
    ece: Number = math.nan
    ap_prior: Number = math.nan
    bacc_ci: Interval = UNKNOWN
    acc_val_ci: Interval = UNKNOWN
    acc_oracle_ci: Interval = UNKNOWN
    tpr_at_fpr1_ci: Interval = UNKNOWN
    tpr_at_fpr5_ci: Interval = UNKNOWN
    eer_ci: Interval = UNKNOWN
    brier_ci: Interval = UNKNOWN
    ece_ci: Interval = UNKNOWN
    ap_prior_ci: Interval = UNKNOWN
    oracle_threshold: Number = math.nan
    more: dict[str, Mean] = field(default_factory=dict)

    def value(self, metric: str) -> float:
        """Return a metric by name, NaN where the result lacks it.

        Parameters
        ----------
        metric : str
            Name of a metric, such as ``ap``.

        Returns
        -------
        float
        """
        if metric in self.more:
            return self.more[metric].value
        return float(getattr(self, metric, math.nan))

    def ci(self, metric: str) -> Interval:
        """Return the interval of a metric by name.

        Parameters
        ----------
        metric : str
            Name of a metric, such as ``ap``.

        Returns
        -------
        (float, float)
        """
        if metric in self.more:
            return self.more[metric].ci
        interval: Interval = getattr(self, f"{metric}_ci", UNKNOWN)
        return interval


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The unweighted mean of one metric over generators, with its jointly resampled interval."""

    value: Number
    ci: Interval = UNKNOWN


@dataclass(frozen=True, kw_only=True)
class GroupResult:
    """Unweighted means over the generators of one group, as fractions.

    ``means`` has every metric of :class:`GeneratorResult` by name. ``unseen`` is the same
    without the generators of the training set, where the group holds both (*GAN without
    ProGAN*); else None.
    """

    mAP: Number
    mean_acc: Number
    mean_auroc: Number
    generators: list[str]
    means: dict[str, Mean] = field(default_factory=dict)
    unseen: GroupResult | None = None


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What the head was fitted on; ``views`` are the views whose features were its rows."""

    generators: list[str]
    datasets: list[str]
    n_real: int
    n_fake: int
    n_sources: int
    views: list[str] = field(default_factory=lambda: ["clean"])


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """How near the fit is to the optimum of its objective, ½‖w‖² + C Σ s·loss.

    ``gap`` is the duality gap relative to the objective: the objective is at most that share
    above the minimum, proven. ``gradient_norm`` is ‖∇‖₂ at the end.
    """

    objective: Number
    gradient_norm: Number
    gap: Number
    n_iter: int
    converged: bool


@dataclass(frozen=True, kw_only=True)
class CPoint:
    """One value of C on the grid: its validation score, mean and standard error over the folds."""

    C: float
    score: Number
    standard_error: Number
    certificate: Certificate | None = None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How C and the threshold were chosen: from which data, by which metric, what the others gave.

    ``split_by`` is ``"val"`` (the data's own validation split), ``"generator"`` (each fold holds
    out a training generator) or ``"source"`` (folds of photographs). Test samples are in none of
    them.
    """

    split_by: Literal["val", "generator", "source"]
    n_folds: int
    metric: str
    path: list[CPoint]
    C: float
    threshold: Number


@dataclass(frozen=True, kw_only=True)
class ViewResult:
    """The same head on the same test samples seen through another view (``jpeg:75``)."""

    view: str
    mAP: Number
    mean_acc: Number
    mAP_ci: Interval
    mean_acc_ci: Interval
    generators: dict[str, GeneratorResult]
    means: dict[str, Mean] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A signature of failure that the numbers show: what is seen, and what it usually means.

    ``code`` is a stable word for programs: ``"threshold"``, ``"not-discriminative"``,
    ``"no-generalisation"``, ``"redundant"``, ``"leak"``, ``"few-samples"``, ``"control"``.
    """

    code: str
    sentence: str
    generators: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """All that one probe run found.

    Parameters
    ----------
    features : list of str
        Names of the features that were joined, in order.
    n_features : int
        Width of the joined feature.
    train : TrainResult
    C : float
        Inverse strength of the ridge penalty ½‖w‖² on the scaled features, against the *sum* of the
        losses, as scikit-learn counts it; the intercept is not penalised.
    threshold : float
        The fake probability above which a sample is called fake.
    mAP, mean_acc : float
        Unweighted means over ``generators``, as fractions. Controls are not in them.
    generators, controls : dict of str to GeneratorResult
        Per generator; controls are processed photographs that no generator made.
    keys : list of dict
        The complete feature key of each feature.
    notes : list of str
        What a careful reader must know, one sentence each.
    head, scaling : str
        Kind of head, and how features are scaled before it.
    means : dict of str to Mean
        Every metric's mean over ``generators``; ``unseen`` the same over those not trained on.
    val_threshold : float
        Threshold from validation data; NaN where none was chosen.
    prior : float
        Share of fakes that ``ap_prior`` is stated for.
    at_priors : dict of str to dict of str to Mean
        AP at stated shares of fakes: share to generator to value and interval, ``"mean"`` over
        them.
    certificate : Certificate or None
        None for heads that are no optimisation.
    selection : Selection or None
        None where C was given.
    views : dict of str to ViewResult
        Results on further views of the test samples.
    diagnosis : list of Diagnosis
    digest : str
        Name of the folder ``<cache>/results/<digest>`` that this result is saved in; empty if it is
        not.
    """

    features: list[str]
    n_features: int
    train: TrainResult
    C: Number
    threshold: float
    mAP: Number
    mean_acc: Number
    mAP_ci: Interval
    mean_acc_ci: Interval
    groups: dict[str, GroupResult]
    generators: dict[str, GeneratorResult]
    controls: dict[str, GeneratorResult] = field(default_factory=dict)
    keys: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    head: str = "logistic"
    scaling: str = "standardise"
    means: dict[str, Mean] = field(default_factory=dict)
    unseen: GroupResult | None = None
    val_threshold: Number = math.nan
    prior: float = 0.5
    at_priors: dict[str, dict[str, Mean]] = field(default_factory=dict)
    certificate: Certificate | None = None
    selection: Selection | None = None
    views: dict[str, ViewResult] = field(default_factory=dict)
    diagnosis: list[Diagnosis] = field(default_factory=list)
    digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain dicts, lists and numbers, ready for JSON.

        Returns
        -------
        dict[str, Any]
            The result as plain dicts, lists and numbers, ready for JSON.
        """
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One row per test sample and generator; all arrays have shape (n_rows,).

    A real that serves several generators has a row for each of them.

    Parameters
    ----------
    generator, split, path, sample_id, source : ndarray of object (str)
        ``generator`` is the test set that the row belongs to, also for reals. ``path`` may hold
        surrogate escapes where a file name is not UTF-8.
    label : ndarray of int
        0 real, 1 fake.
    score : ndarray of float64 in [0, 1]
        Probability of fake.
    logit : ndarray of float64
        The head's output before the sigmoid.
    """

    generator: NDArray[np.object_]
    split: NDArray[np.object_]
    path: NDArray[np.object_]
    sample_id: NDArray[np.object_]
    source: NDArray[np.object_]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    logit: NDArray[np.float64]
