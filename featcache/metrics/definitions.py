"""The record of every metric by name, and the metrics at a given threshold.

A metric is a function of :class:`ResampledCounts` and returns one value for each resample, so point
values, bootstrap replicates and weighted values come from the same code. A new metric is a function
and an entry of :data:`METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from featcache.metrics.ranking import (
    ap_at_prior,
    auroc,
    average_precision,
    equal_error_rate,
    fpr_at_tpr95,
    oracle_accuracy,
    partial_auroc,
    tpr_at_fpr,
)
from featcache.metrics.sorted_scores import Float, ResampledCounts
from featcache.registry import Registry


def accuracy(counts: ResampledCounts) -> Float:
    """Return the accuracy at the decision threshold: (TP + TN) / (n_fake + n_real).

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Values in [0, 1]; NaN without a threshold.
    """
    if counts.scores.n_above is None:
        return np.full_like(counts.n_fake, np.nan)
    fakes, reals = counts.scores.n_above
    correct = counts.cumulative_fakes[:, fakes] + counts.n_real - counts.cumulative_reals[:, reals]
    return np.asarray(correct / (counts.n_fake + counts.n_real))


def real_accuracy(counts: ResampledCounts) -> Float:
    """Return the share of reals at or below the decision threshold: the true negative rate.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Values in [0, 1]; NaN without a threshold.
    """
    return 1.0 - _rates_above(counts, counts.scores.n_above)[1]


def fake_accuracy(counts: ResampledCounts) -> Float:
    """Return the share of fakes above the decision threshold: the true positive rate.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Values in [0, 1]; NaN without a threshold.
    """
    return _rates_above(counts, counts.scores.n_above)[0]


def balanced_accuracy(counts: ResampledCounts, *, validated: bool = False) -> Float:
    """Return the balanced accuracy: ½ (TPR + TNR) at the decision or the validation threshold.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.
    validated : bool
        Use the threshold that was chosen on validation data.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Values in [0, 1], 0.5 for uninformative scores; NaN without that threshold.
    """
    n_above = counts.scores.n_above_val if validated else counts.scores.n_above
    tpr, fpr = _rates_above(counts, n_above)
    return 0.5 * (tpr + 1.0 - fpr)


def _rates_above(counts: ResampledCounts, n_above: tuple[int, int] | None) -> tuple[Float, Float]:
    """Return TPR and FPR at a threshold with ``n_above`` fakes and reals above it."""
    if n_above is None:
        return np.full_like(counts.n_fake, np.nan), np.full_like(counts.n_real, np.nan)
    fakes, reals = n_above
    return (
        counts.cumulative_fakes[:, fakes] / counts.n_fake,
        counts.cumulative_reals[:, reals] / counts.n_real,
    )


def brier_score(counts: ResampledCounts) -> Float:
    """Return the Brier score: the mean of (p - y)² over all samples (Brier 1950).

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores, which are probabilities p.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Values in [0, 1], lower is better; NaN where scores are outside [0, 1].
    """
    if counts.error_sums is None:
        return np.full_like(counts.n_fake, np.nan)
    return np.asarray(counts.error_sums[:, -1] / (counts.n_fake + counts.n_real))


def calibration_error(counts: ResampledCounts) -> Float:
    """Return the expected calibration error: Σ_b (n_b / n) |mean p - share of fakes| in bin b.

    The ten bins of the probability p have equal width (Naeini et al. 2015; Guo et al. 2017).

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores, which are probabilities p.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Values in [0, 1], lower is better; NaN where scores are outside [0, 1].
    """
    if counts.error_sums is None:
        return np.full_like(counts.n_fake, np.nan)
    gaps = np.abs(counts.error_sums[:, :-1]).sum(axis=1)
    return np.asarray(gaps / (counts.n_fake + counts.n_real))


def matthews_correlation(counts: ResampledCounts) -> Float:
    """Return the Matthews correlation coefficient at the threshold.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        In [-1, 1]; 0 where all samples are called alike, as in scikit-learn.
    """
    tp = fake_accuracy(counts) * counts.n_fake
    tn = real_accuracy(counts) * counts.n_real
    fp, fn = counts.n_real - tn, counts.n_fake - tp
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return np.asarray((tp * tn - fp * fn) / np.sqrt(np.where(product > 0, product, np.inf)))


def f1_score(counts: ResampledCounts) -> Float:
    """Return the F1 score of the fakes at the threshold.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        In [0, 1].
    """
    tp = fake_accuracy(counts) * counts.n_fake
    fp = counts.n_real - real_accuracy(counts) * counts.n_real
    return np.asarray(2 * tp / (tp + fp + counts.n_fake))


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
        From :class:`ResampledCounts` to one value for each resample; with ``needs_prior`` the
        share of fakes is its second argument.
    help : str
        What it is, in a few words.
    higher_is_better : bool
        False for errors.
    needs_prior : bool
        Whether the metric depends on an assumed share of fakes.
    low, high : float
        Range of its values.
    formula, reference : str
        How it is defined, and where.
    """

    name: str
    label: str
    function: Callable[..., Float]
    help: str = ""
    higher_is_better: bool = True
    needs_prior: bool = False
    low: float = 0.0
    high: float = 1.0
    formula: str = ""
    reference: str = ""


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
            function=partial(balanced_accuracy, validated=True),
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
            function=partial(tpr_at_fpr, percent=1),
            help="fakes caught",
        ),
        Metric(
            name="tpr_at_fpr5",
            label="TPR at 5 % FPR",
            function=partial(tpr_at_fpr, percent=5),
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
            function=brier_score,
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
            function=ap_at_prior,
            needs_prior=True,
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
            name="tpr_at_fpr0_1",
            label="TPR at 0.1 % FPR",
            function=partial(tpr_at_fpr, percent=0.1),
            help="fakes caught; needs 1,000 reals",
        ),
        Metric(
            name="pauroc",
            label="pAUROC, FPR < 5 %",
            function=partial(partial_auroc, max_fpr=0.05),
            help="area under the ROC curve up to 5 % FPR, 0.5 for chance",
            low=0.5 * (1 - 0.05 / 1.95),  # no fake among the reals of highest score
            formula="(1 + (A - f^2/2) / (f - f^2/2)) / 2 with A up to FPR f = 0.05",
            reference="McClish 1989",
        ),
        Metric(
            name="mcc",
            label="MCC",
            function=matthews_correlation,
            help="Matthews correlation at the threshold",
            low=-1.0,
            formula="(TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN))",
            reference="Matthews 1975",
        ),
        Metric(
            name="f1",
            label="F1",
            function=f1_score,
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
