"""Results of a probe run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featcache.results.base import UNKNOWN_CI, Interval, JsonResult, Number, short_repr


@dataclass(frozen=True, kw_only=True)
class GeneratorResult:
    """Metrics of a probe on one generator's fakes and reals, as fractions.

    Formulas are in :mod:`featcache.metrics.definitions`; NaN where a metric is not defined.

    Parameters
    ----------
    group : str
        Family of the generator.
    ap, auroc : float in [0, 1]
        Average precision, and area under the ROC curve.
    acc, r_acc, f_acc, bacc : float in [0, 1]
        Accuracy at ``EvalResult.threshold`` on all samples, on reals, on fakes, and the mean of the
        last two.
    acc_val : float in [0, 1]
        Balanced accuracy at ``EvalResult.val_threshold``, which was chosen on validation data.
    acc_oracle : float in [0.5, 1]
        Best balanced accuracy of any threshold *on this very test set*: an upper bound, because the
        threshold is chosen with the test labels.
    oracle_threshold : float
        Threshold of ``acc_oracle``.
    tpr_at_fpr1, tpr_at_fpr5 : float in [0, 1]
        Share of the fakes detected with at most 1 % and 5 % of the reals called fake.
    eer : float in [0, 1]
        Equal error rate.
    brier, ece : float in [0, 1]
        Brier score, and expected calibration error over ten equal bins.
    ap_prior : float in [0, 1]
        Average precision if a share ``EvalResult.prior`` of the images were fakes.
    n_real, n_fake : int
        Number of samples.
    n_sources : int
        Number of independent photographs behind them, which the bootstrap resamples.
    ap_ci, auroc_ci, acc_ci, r_acc_ci, f_acc_ci, bacc_ci, acc_val_ci, acc_oracle_ci : (float, float)
        95 % interval of the metric of that name.
    tpr_at_fpr1_ci, tpr_at_fpr5_ci, eer_ci, brier_ci, ece_ci, ap_prior_ci : (float, float)
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
    bacc_ci: Interval = UNKNOWN_CI
    acc_val_ci: Interval = UNKNOWN_CI
    acc_oracle_ci: Interval = UNKNOWN_CI
    tpr_at_fpr1_ci: Interval = UNKNOWN_CI
    tpr_at_fpr5_ci: Interval = UNKNOWN_CI
    eer_ci: Interval = UNKNOWN_CI
    brier_ci: Interval = UNKNOWN_CI
    ece_ci: Interval = UNKNOWN_CI
    ap_prior_ci: Interval = UNKNOWN_CI
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
        interval: Interval = getattr(self, f"{metric}_ci", UNKNOWN_CI)
        return interval


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The value of one metric with its interval; for several generators their unweighted mean.

    Parameters
    ----------
    value : float
        The metric, or its mean.
    ci : (float, float)
        95 % interval; of a mean from resamples that all generators share.
    """

    value: Number
    ci: Interval = UNKNOWN_CI


@dataclass(frozen=True, kw_only=True)
class GroupResult:
    """Unweighted means over generators, as fractions.

    Parameters
    ----------
    mAP, mean_acc, mean_auroc : float in [0, 1]
        Means of ``ap``, ``acc`` and ``auroc``.
    generators : list of str
        Generators that the means are over.
    means : dict of str to Mean
        Mean of every metric of :class:`GeneratorResult`, by name.
    unseen : GroupResult or None
        The same without the generators of the training set, where there are both (*GAN without
        ProGAN*).
    """

    mAP: Number
    mean_acc: Number
    mean_auroc: Number
    generators: list[str]
    means: dict[str, Mean] = field(default_factory=dict)
    unseen: GroupResult | None = None


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a head was fitted on.

    Parameters
    ----------
    generators : list of str
        Training generators.
    datasets : list of str
        Data sets that the samples come from.
    n_real, n_fake : int
        Number of training samples.
    n_sources : int
        Number of independent photographs behind them.
    views : list of str
        Views whose features were the rows.
    """

    generators: list[str]
    datasets: list[str]
    n_real: int
    n_fake: int
    n_sources: int
    views: list[str] = field(default_factory=lambda: ["clean"])


@dataclass(frozen=True, kw_only=True)
class PassCount:
    """How often a step went over features; passes of an engine's workers are not counted.

    Parameters
    ----------
    n : int
        Passes.
    n_bytes : int
        Bytes of the features that they read, in all.
    """

    n: int
    n_bytes: int

    @classmethod
    def of_steps(cls, passes: Mapping[str, tuple[int, int]]) -> dict[str, PassCount]:
        """Return the counts of a fit by step.

        Parameters
        ----------
        passes : mapping of str to (int, int)
            Passes and bytes of each step.

        Returns
        -------
        dict of str to PassCount
        """
        return {step: cls(n=n, n_bytes=n_bytes) for step, (n, n_bytes) in passes.items()}


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """How near a fit is to the optimum of its objective, ½‖w‖² + C Σ s·loss.

    Parameters
    ----------
    objective : float
        Value of the objective.
    gradient_norm : float
        ‖∇‖₂ at the end.
    gap : float
        Duality gap relative to the objective: a proven bound on how far it is above the minimum.
    n_iter : int
        Number of iterations.
    converged : bool
        Whether the gap is below the tolerance.
    """

    objective: Number
    gradient_norm: Number
    gap: Number
    n_iter: int
    converged: bool


@dataclass(frozen=True, kw_only=True)
class CPoint:
    """One value of C on the grid.

    Parameters
    ----------
    C : float
        Inverse strength of the penalty.
    score : float
        Mean of the validation metric over folds.
    standard_error : float
        Standard error of that mean; NaN with one fold.
    certificate : Certificate or None
        Of the head on the whole training set at this C.
    log_loss : float >= 0
        Mean log loss over the same folds; NaN in results of before.
    """

    C: float
    score: Number
    standard_error: Number
    certificate: Certificate | None = None
    log_loss: Number = math.nan


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How C and the threshold were chosen. Test samples are never used.

    Parameters
    ----------
    split_by : {"val", "generator", "source"}
        The data's own validation split; folds that each hold out a training generator; or folds of
        photographs.
    n_folds : int
        Number of folds.
    metric : str
        Metric that was maximised.
    path : list of CPoint
        Every value of C.
    C : float
        The chosen value.
    threshold : float
        Threshold of highest balanced accuracy on the validation samples.
    n_tied : int
        Values of C that share the best value of the metric; of several the one with the lowest log
        loss is chosen. 0 in results of before.
    """

    split_by: Literal["val", "generator", "source"]
    n_folds: int
    metric: str
    path: list[CPoint]
    C: float
    threshold: Number
    n_tied: int = 0

    @property
    def at_edge(self) -> bool:
        """Whether the chosen C is the smallest or the largest of at least three on the grid."""
        values = [point.C for point in self.path]
        return len(values) > 2 and self.C in (min(values), max(values))


@dataclass(frozen=True, kw_only=True)
class ViewResult:
    """The same head on the same test samples in another view, e.g. ``jpeg:75``.

    Parameters
    ----------
    view : str
        Name of the view.
    mAP, mean_acc : float in [0, 1]
        Unweighted means over generators.
    mAP_ci, mean_acc_ci : (float, float)
        Their 95 % intervals.
    generators : dict of str to GeneratorResult
        Result by generator; controls are included.
    means : dict of str to Mean
        Mean of every metric.
    """

    view: str
    mAP: Number
    mean_acc: Number
    mAP_ci: Interval
    mean_acc_ci: Interval
    generators: dict[str, GeneratorResult]
    means: dict[str, Mean] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A pattern of failure that the numbers show, and what it usually means.

    Parameters
    ----------
    code : str
        Stable name for programs: ``"threshold"``, ``"not-discriminative"``,
        ``"no-generalisation"``, ``"redundant"``, ``"leak"``, ``"few-samples"``, ``"control"``.
    sentence : str
        Explanation.
    generators : list of str
        Generators that show it.
    """

    code: str
    sentence: str
    generators: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class EvalResult(JsonResult):
    """The result of one probe run.

    Parameters
    ----------
    features : list of str
        Names of the joined features, in order.
    n_features : int
        Number of columns of all of them.
    train : TrainResult
        What the head was fitted on.
    C : float
        Inverse strength of the ridge penalty ½‖w‖² on the scaled features, against the *sum* of the
        losses, as in scikit-learn; the intercept is not penalised. NaN for a given head.
    threshold : float in [0, 1]
        Probability above which a sample is predicted fake.
    mAP, mean_acc : float in [0, 1]
        Unweighted means over ``generators``, without controls.
    mAP_ci, mean_acc_ci : (float, float)
        Their 95 % intervals.
    groups : dict of str to GroupResult
        Means by family.
    generators : dict of str to GeneratorResult
        Metrics by generator.
    controls : dict of str to GeneratorResult
        Metrics by control: processed photographs that no generator made.
    keys : list of dict
        Complete feature key of each feature.
    notes : list of str
        Caveats, one sentence each.
    versions : dict of str to str
        Versions of featcache and NumPy.
    head : str
        Name of the head.
    scaling : str
        How features are scaled before the head.
    means : dict of str to Mean
        Mean of every metric over ``generators``.
    unseen : GroupResult or None
        Means over the generators that were not trained on.
    val_threshold : float
        Threshold from validation data; NaN without validation.
    prior : float in (0, 1)
        Share of fakes for ``ap_prior``.
    at_priors : dict of str to dict of str to Mean
        AP at further shares of fakes, by share and generator; ``"mean"`` is the mean over them.
    certificate : Certificate or None
        None for heads that do not optimise.
    selection : Selection or None
        How C was chosen; None without validation.
    views : dict of str to ViewResult
        Results in further views of the test samples.
    diagnosis : list of Diagnosis
        Recognised patterns of failure.
    digest : str
        Name of the folder ``<cache>/results/<digest>`` of the result.
    mAP_generators_ci : (float, float)
        95 % interval of the mAP with generators resampled as well as images: for other generators
        of this kind. NaN with fewer than three, and in results of before.
    ci_method : {"percentile", "wilson-t"}
        How the intervals were made: percentiles of the bootstrap, in results of before, or
        :func:`featcache.metrics.score_ci`.
    passes : dict of str to PassCount
        By step, passes over features and their bytes.
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
    ci_method: str = "percentile"
    passes: dict[str, PassCount] = field(default_factory=dict)
    mAP_generators_ci: Interval = UNKNOWN_CI

    def _repr_html_(self) -> str:
        head = "<tr><th></th><th>AP</th><th>AUROC</th><th>accuracy</th></tr>"
        rows = "".join(
            f"<tr><th>{escape(name)}</th>"
            f"<td>{m.ap:.3f}</td><td>{m.auroc:.3f}</td><td>{m.acc:.3f}</td></tr>"
            for name, m in self.generators.items()
        )
        title = f"{' + '.join(self.features)}, {self.head}, C = {self.C:g}: mAP {self.mAP:.3f}"
        return f"<table><caption>{escape(title)}</caption>{head}{rows}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain dicts, lists and numbers, ready for JSON.

        Returns
        -------
        dict[str, Any]
            The result as plain dicts, lists and numbers, ready for JSON.
        """
        return asdict(self)


@dataclass(frozen=True, kw_only=True, repr=False)
class Scores:
    """Scores of a head: one row per test sample and generator.

    A real that is paired with several generators has a row for each of them.

    Parameters
    ----------
    generator : ndarray of shape (n_rows,), object (str)
        Generator whose test set the row belongs to, also for reals.
    split : ndarray of shape (n_rows,), object (str)
        Split of the sample.
    path : ndarray of shape (n_rows,), object (str)
        Path of the file; with surrogate escapes where it is not UTF-8.
    sample_id : ndarray of shape (n_rows,), object (str)
        Id of the sample's content.
    source : ndarray of shape (n_rows,), object (str)
        Photograph that the sample comes from.
    label : ndarray of shape (n_rows,), int64
        0 real, 1 fake.
    score : ndarray of shape (n_rows,), float64
        Probability of fake in [0, 1].
    logit : ndarray of shape (n_rows,), float64
        Output of the head before the sigmoid.
    """

    generator: NDArray[np.object_]
    split: NDArray[np.object_]
    path: NDArray[np.object_]
    sample_id: NDArray[np.object_]
    source: NDArray[np.object_]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    logit: NDArray[np.float64]

    def __repr__(self) -> str:
        return short_repr(self)
