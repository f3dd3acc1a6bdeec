"""The metrics: each a function of resamples counted along the sorted scores.

Metrics by name: of one set of scores, and of many resamples of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import SettingsError, unknown_name
from featcache.metrics.sorted_scores import Float, ResampledCounts, SortedScores
from featcache.registry import Registry

TINY = float(np.finfo(np.float64).tiny)


def average_precision(counted: ResampledCounts) -> Float:
    """Sum precision over the steps of recall, ties in one step, no interpolation.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    Float
    """
    total = np.maximum(counted.tp + counted.fp, TINY)  # an empty step adds 0, not 0/0
    return _weighted_sum(counted.delta_tp, counted.tp / total) / counted.n_fake


def ap_at_prior(counted: ResampledCounts, prior: float) -> Float:
    """Return the average precision if the share ``prior`` of the images were fakes.

    Parameters
    ----------
    counted : Counted
    prior : float in (0, 1)

    Returns
    -------
    ndarray of shape (n_resamples,)

    Raises
    ------
    SettingsError
        If the prior is no share.

    Notes
    -----
    Precision at a step is π·TPR / (π·TPR + (1 - π)·FPR): reals are weighted so that the classes
    stand in that ratio. At the test set's own share it is the average precision.
    """
    if not 0 < prior < 1:
        raise SettingsError(f"A prior is a share of fakes between 0 and 1, not {prior}.")
    odds = ((1 - prior) / prior * counted.n_fake / counted.n_real)[:, None]
    total = np.maximum(counted.tp + odds * counted.fp, TINY)
    return _weighted_sum(counted.delta_tp, counted.tp / total) / counted.n_fake


def auroc(counted: ResampledCounts) -> Float:
    """Return the chance that a fake scores above a real, ties half.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    Float
        The chance that a fake scores above a real, ties half.
    """
    passed = counted.fp
    if counted.fp_before is not counted.fp:
        passed = 0.5 * (passed + counted.fp_before)
    return 1.0 - _weighted_sum(counted.delta_tp, passed) / (counted.n_fake * counted.n_real)


def _weighted_sum(weights: Float, values: Float) -> Float:
    total: Float = np.einsum("ij,ij->i", weights, values)
    return total


def fake_accuracy(counted: ResampledCounts) -> Float:
    """Return the share of the fakes above the threshold.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    Float
        The share of the fakes above the threshold.
    """
    return _rates(counted, counted.ranked.called)[0]


def real_accuracy(counted: ResampledCounts) -> Float:
    """Return the share of the reals at or below the threshold.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    Float
        The share of the reals at or below the threshold.
    """
    return 1.0 - _rates(counted, counted.ranked.called)[1]


def balanced_accuracy(counted: ResampledCounts) -> Float:
    """Return the mean of the accuracies on reals and fakes.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    Float
        The mean of the accuracies on reals and fakes.
    """
    return _balanced(counted, counted.ranked.called)


def validated_accuracy(counted: ResampledCounts) -> Float:
    """Return the balanced accuracy at the validation threshold.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    Float
        The balanced accuracy at the validation threshold.
    """
    return _balanced(counted, counted.ranked.called_val)


def _balanced(counted: ResampledCounts, called: tuple[int, int] | None) -> Float:
    tpr, fpr = _rates(counted, called)
    return 0.5 * (tpr + 1.0 - fpr)


def _rates(counted: ResampledCounts, called: tuple[int, int] | None) -> tuple[Float, Float]:
    """Return the shares of fakes and of reals that are called fake."""
    if called is None:
        return np.full_like(counted.n_fake, np.nan), np.full_like(counted.n_real, np.nan)
    fakes, reals = called
    return (
        counted.fakes_up_to[:, fakes] / counted.n_fake,
        counted.reals_up_to[:, reals] / counted.n_real,
    )


def accuracy(counted: ResampledCounts) -> Float:
    """Return the share of all samples on the right side of the threshold.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    Float
        The share of all samples on the right side of the threshold.
    """
    if counted.ranked.called is None:
        return np.full_like(counted.n_fake, np.nan)
    fakes, reals = counted.ranked.called
    right = counted.fakes_up_to[:, fakes] + counted.n_real - counted.reals_up_to[:, reals]
    return np.asarray(right / (counted.n_fake + counted.n_real))


def oracle_accuracy(counted: ResampledCounts) -> Float:
    """Return the best balanced accuracy over all thresholds, chosen with the answers at hand.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    Float
        The best balanced accuracy over all thresholds, chosen with the answers at hand.
    """
    return np.asarray(0.5 + 0.5 * _youden(counted).max(axis=1, initial=0.0))


def oracle_threshold(counted: ResampledCounts) -> Float:
    """Return the highest threshold of the best balanced accuracy, halfway to the next lower score.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    Float
        The highest threshold of the best balanced accuracy, halfway to the next lower score.
    """
    youden, ranked = _youden(counted), counted.ranked
    best = youden.argmax(axis=1)
    level, below = ranked.levels[best], ranked.below[best]
    middle = level + 0.5 * (below - level)
    middle = np.where(middle < level, middle, below)  # two neighbouring floats have no middle
    # at the highest score nothing is called fake
    return np.asarray(np.where(youden.max(axis=1) > 0, middle, ranked.top))


def _youden(counted: ResampledCounts) -> Float:
    return np.asarray(counted.tpr - counted.fpr)


def hit_rate_at(counted: ResampledCounts, percent: int) -> Float:
    """Return the largest share of fakes caught with at most ``percent`` % of the reals called fake.

    A threshold cannot part tied scores, so there is no interpolation between steps.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.
    percent : int
        False positive rate in percent.

    Returns
    -------
    Float
        The largest share of fakes caught with at most ``percent`` % of the reals called fake.
    """
    allowed = percent * counted.n_real / 100
    rows = zip(counted.reals_up_to, allowed, strict=True)
    reals = [row.searchsorted(limit, side="right") - 1 for row, limit in rows]
    steps = counted.ranked.fp.searchsorted(reals, side="right")
    positions = np.append(0, counted.ranked.tp)[steps]
    caught = counted.fakes_up_to[np.arange(len(positions)), positions]
    return np.asarray(caught / counted.n_fake)


def equal_error_rate(counted: ResampledCounts) -> Float:
    """Return the error rate where the ROC curve, drawn through its ties, has FPR = 1 - TPR.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    Float
        The error rate where the ROC curve, drawn through its ties, has FPR = 1 - TPR.
    """
    tpr, fpr = counted.tpr, counted.fpr
    rows = np.arange(len(tpr))
    step = np.minimum((tpr + fpr < 1).sum(axis=1), tpr.shape[1] - 1)
    tpr_after, fpr_after = tpr[rows, step], fpr[rows, step]
    tpr_before = tpr_after - counted.delta_tp[rows, step] / counted.n_fake
    fpr_before = counted.fp_before[rows, step] / counted.n_real
    missing = 1.0 - tpr_before - fpr_before  # > 0: the crossing lies on the step, not before it
    rise = (tpr_after - tpr_before) + (fpr_after - fpr_before)
    share = np.divide(missing, rise, out=np.zeros_like(rise), where=rise > 0)
    crossing = fpr_before + share * (fpr_after - fpr_before)
    return np.asarray(np.where(missing > 0, crossing, 1.0 - tpr_before))


def brier(counted: ResampledCounts) -> Float:
    """Return the mean squared error of the probability; NaN where scores are none.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    Float
        The mean squared error of the probability.
    """
    if counted.error_sums is None:
        return np.full_like(counted.n_fake, np.nan)
    return np.asarray(counted.error_sums[:, -1] / (counted.n_fake + counted.n_real))


def calibration_error(counted: ResampledCounts) -> Float:
    """Return the expected calibration error over ten equal bins; NaN where scores are no
    probabilities.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    Float
        The expected calibration error over ten equal bins.
    """
    if counted.error_sums is None:
        return np.full_like(counted.n_fake, np.nan)
    gaps = np.abs(counted.error_sums[:, :-1]).sum(axis=1)
    return np.asarray(gaps / (counted.n_fake + counted.n_real))


def fpr_at_tpr95(counted: ResampledCounts) -> Float:
    """Return the smallest share of reals called fake at which 95 % of the fakes are.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    ndarray of shape (n_resamples,)
        In [0, 1]; no interpolation between the steps of the ROC curve.
    """
    reached = counted.tpr >= 0.95 - 1e-12
    return np.asarray(np.where(reached, counted.fpr, 1.0).min(axis=1, initial=1.0))


def matthews(counted: ResampledCounts) -> Float:
    """Return the Matthews correlation coefficient at the threshold.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    ndarray of shape (n_resamples,)
        In [-1, 1]; 0 where all samples are called alike, as in scikit-learn.
    """
    tpr, fpr = _rates(counted, counted.ranked.called)
    tp, fp = tpr * counted.n_fake, fpr * counted.n_real
    fn, tn = counted.n_fake - tp, counted.n_real - fp
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return np.asarray((tp * tn - fp * fn) / np.sqrt(np.where(product > 0, product, np.inf)))


def f1(counted: ResampledCounts) -> Float:
    """Return the F1 score of the fakes at the threshold.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.

    Returns
    -------
    ndarray of shape (n_resamples,)
        In [0, 1].
    """
    tpr, fpr = _rates(counted, counted.ranked.called)
    tp = tpr * counted.n_fake
    return np.asarray(2 * tp / (tp + fpr * counted.n_real + counted.n_fake))


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: all that tables, JSON, sorting and documents need to know of it.

    Parameters
    ----------
    name : str
        Key in JSON and name for ``--sort``.
    label : str
        Heading of its column.
    function : callable
        From :class:`ResampledCounts` to an array of shape (n_resamples,).
    help : str
        What it is, in a few words.
    higher_is_better : bool
    low, high : float
        Range of its values.
    formula, reference : str
        How it is defined, and where.
    """

    name: str
    label: str
    function: Callable[[ResampledCounts], Float]
    help: str = ""
    higher_is_better: bool = True
    low: float = 0.0
    high: float = 1.0
    formula: str = ""
    reference: str = ""


def _at_even_prior(counted: ResampledCounts) -> Float:
    return ap_at_prior(counted, EVEN)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="ap",
            label="AP",
            function=average_precision,
            help="average precision",
            formula="sum over distinct scores of (R_n - R_{n-1}) P_n",
            reference="scikit-learn, average_precision_score",
        ),
        Metric(
            name="auroc",
            label="AUROC",
            function=auroc,
            help="area under the ROC curve",
            formula="P(score of a fake > score of a real) + 0.5 P(equal)",
            reference="Hanley and McNeil 1982",
        ),
        Metric(
            name="acc",
            label="Acc",
            function=accuracy,
            help="accuracy at the threshold",
            formula="(TP + TN) / n",
        ),
        Metric(
            name="r_acc",
            label="Real acc",
            function=real_accuracy,
            help="accuracy on the reals",
            formula="TN / n_real",
        ),
        Metric(
            name="f_acc",
            label="Fake acc",
            function=fake_accuracy,
            help="accuracy on the fakes",
            formula="TP / n_fake",
        ),
        Metric(
            name="bacc",
            label="Bal. acc",
            function=balanced_accuracy,
            help="mean of real and fake accuracy",
            formula="(TPR + TNR) / 2",
        ),
        Metric(
            name="acc_val",
            label="Bal. acc, val",
            function=validated_accuracy,
            help="balanced accuracy at the threshold that validation data chose",
        ),
        Metric(
            name="acc_oracle",
            label="Oracle acc",
            function=oracle_accuracy,
            help="best balanced accuracy of any threshold, chosen on the test data: no result",
            formula="0.5 + max over thresholds of (TPR - FPR) / 2",
        ),
        Metric(
            name="tpr_at_fpr1",
            label="TPR at 1 % FPR",
            function=lambda counted: hit_rate_at(counted, 1),
            help="fakes caught",
        ),
        Metric(
            name="tpr_at_fpr5",
            label="TPR at 5 % FPR",
            function=lambda counted: hit_rate_at(counted, 5),
            help="fakes caught",
        ),
        Metric(
            name="eer",
            label="EER",
            function=equal_error_rate,
            help="equal error rate, lower is better",
            higher_is_better=False,
            formula="the rate at which FPR = FNR",
        ),
        Metric(
            name="brier",
            label="Brier",
            function=brier,
            help="times 100, lower is better",
            higher_is_better=False,
            formula="mean of (p - y)^2",
            reference="Brier 1950",
        ),
        Metric(
            name="ece",
            label="ECE",
            function=calibration_error,
            help="calibration error, lower is better",
            higher_is_better=False,
            formula="sum over 10 equal bins of |sum of (p - y)| / n",
            reference="Naeini et al. 2015",
        ),
        Metric(
            name="ap_prior",
            label="AP at prior",
            function=_at_even_prior,
            help="at the stated prior",
        ),
        Metric(
            name="fpr_at_tpr95",
            label="FPR at 95 % TPR",
            function=fpr_at_tpr95,
            help="reals called fake where 95 % of the fakes are caught, lower is better",
            higher_is_better=False,
            reference="Hendrycks and Gimpel 2017",
        ),
        Metric(
            name="mcc",
            label="MCC",
            function=matthews,
            help="Matthews correlation at the threshold",
            low=-1.0,
            formula="(TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN))",
            reference="Matthews 1975",
        ),
        Metric(
            name="f1",
            label="F1",
            function=f1,
            help="F1 of the fakes at the threshold",
            formula="2 TP / (2 TP + FP + FN)",
        ),
    )
}
"""Every metric by name. Plug-ins add theirs through the entry-point group ``featcache.metrics``;
:func:`register_metric` adds one to this process.
"""


def register_metric(metric: Metric) -> None:
    """Add a metric; tables, JSON, ``--sort`` and reports then have it.

    Parameters
    ----------
    metric : Metric
        The metric; one of the same name is replaced.
    """
    METRICS[metric.name] = metric


def load_plugins() -> None:
    """Add the metrics of installed plug-ins; one that fails is left out with a warning."""
    for metric in Registry("metric", "featcache.metrics", Metric).all().values():
        METRICS.setdefault(metric.name, metric)


EVEN = 0.5
"""The share of fakes that ``ap_prior`` is stated for unless another is asked for."""


def compute_metrics(
    y: NDArray[np.int64],
    score: Float,
    threshold: float,
    *,
    val_threshold: float = math.nan,
    prior: float = EVEN,
) -> dict[str, float]:
    """Return every metric of one set of scores.

    Parameters
    ----------
    y : ndarray of shape (n_samples,), int
        0 real, 1 fake; both must be there.
    score : ndarray of shape (n_samples,), float64
    threshold : float
        A score above it is called fake.
    val_threshold : float
        A score above it is called fake.
    prior : float in (0, 1)
        Share of fakes that ``ap_prior`` is stated for.

    Returns
    -------
    dict of str to float in [0, 1]
        One value for each name in :data:`METRICS`; NaN where a metric lacks its ground.

    Raises
    ------
    DataError
        If a score is not a number or a class is missing.

    Notes
    -----
    AP = sum over distinct scores of (R_n - R_{n-1}) P_n, ties in one step, no interpolation. AUROC
    counts ties half.

    Examples
    --------
    >>> y, score = np.array([0, 1, 1, 0]), np.array([0.0, 0.5, 0.7, 0.8])
    >>> round(compute_metrics(y, score, 0.5)["ap"], 4)
    0.5833
    """
    return point_metrics(SortedScores.of(y, score, threshold, val_threshold), prior=prior)


def point_metrics(
    ranked: SortedScores, names: Sequence[str] | None = None, prior: float = EVEN
) -> dict[str, float]:
    """Return metrics of scores that are sorted already, each sample counted once.

    Parameters
    ----------
    ranked : SortedScores
        Sorted scores.
    names : Sequence[str]
        Names, in order.
    prior : float
        Share of fakes, between 0 and 1.

    Returns
    -------
    dict[str, float]
        Metrics of scores that are sorted already, each sample counted once.
    """
    values = counted_metrics(_once(ranked), names, prior)
    return {name: float(column[0]) for name, column in values.items()}


def best_threshold(ranked: SortedScores) -> float:
    """Return the threshold of ``acc_oracle``: it looked at the answers.

    Parameters
    ----------
    ranked : SortedScores
        Sorted scores.

    Returns
    -------
    float
        The threshold of ``acc_oracle``.
    """
    return float(oracle_threshold(_once(ranked))[0])


def _once(ranked: SortedScores) -> ResampledCounts:
    fakes, reals = (np.ones((1, len(rows)), np.int32) for rows in (ranked.fakes, ranked.reals))
    return ResampledCounts(ranked, fakes, reals)


def weighted_metrics(
    ranked: SortedScores,
    weights: NDArray[Any],
    names: Sequence[str] | None = None,
    prior: float = EVEN,
) -> dict[str, Float]:
    """Return metrics for each row of weights.

    Parameters
    ----------
    ranked : Sorted
    weights : ndarray of shape (n_resamples, n_samples)
        How often each sample counts, in the original order of the samples; at least 0.
    names : sequence of str
        Which metrics.
    prior : float in (0, 1)
        For ``ap_prior``.

    Returns
    -------
    dict of str to ndarray of shape (n_resamples,)
        NaN where a resample lacks a class.
    """
    counted = ResampledCounts(ranked, weights[:, ranked.fakes], weights[:, ranked.reals])
    return counted_metrics(counted, names, prior)


def counted_metrics(
    counted: ResampledCounts, names: Sequence[str] | None, prior: float
) -> dict[str, Float]:
    """Return metrics of resamples that are counted already; NaN where one lacks a class.

    Parameters
    ----------
    counted : ResampledCounts
        Cumulative counts of every resample along the sorted scores.
    names : Sequence[str]
        Names, in order.
    prior : float
        Share of fakes, between 0 and 1.

    Returns
    -------
    dict[str, Float]
        Metrics of resamples that are counted already.
    """
    metrics = {}
    complete = (counted.n_fake > 0) & (counted.n_real > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        for name in METRICS if names is None else names:
            values = _one(counted, name, prior)
            metrics[name] = values if complete.all() else np.where(complete, values, np.nan)
    return metrics


def _one(counted: ResampledCounts, name: str, prior: float) -> Float:
    if name == "ap_prior":
        return ap_at_prior(counted, prior)
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    return METRICS[name].function(counted)


load_plugins()
