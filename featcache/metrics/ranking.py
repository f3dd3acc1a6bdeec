"""Metrics of the ranking alone: areas under curves, rates at a rate, the best threshold.

Like all metrics they are functions of :class:`ResampledCounts` and return one value for each
resample. Those at a given threshold are in :mod:`featcache.metrics.definitions`.
"""

from __future__ import annotations

import numpy as np

from featcache.errors import SettingsError
from featcache.metrics.sorted_scores import Float, ResampledCounts

TINY = float(np.finfo(np.float64).tiny)


def average_precision(counts: ResampledCounts) -> Float:
    """Return the average precision (AP): the area under the stepwise precision-recall curve.

    AP = Σ_n (R_n - R_{n-1}) P_n over the distinct scores, from the highest on, with precision P and
    recall R; tied scores are one step, and nothing is interpolated. It is the definition of
    ``sklearn.metrics.average_precision_score``.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Values in [0, 1]; the share of fakes for uninformative scores.
    """
    n_predicted = np.maximum(counts.tp + counts.fp, TINY)  # an empty step adds 0, not 0/0
    return _row_dot(counts.delta_tp, counts.tp / n_predicted) / counts.n_fake


def ap_at_prior(counts: ResampledCounts, prior: float) -> Float:
    """Return the average precision that a share ``prior`` of fakes among the images would give.

    AP = Σ_n (R_n - R_{n-1}) P_n with P = π TPR / (π TPR + (1 - π) FPR): reals are weighted so that
    the classes stand in the ratio π : 1 - π. At the test set's own share of fakes it is
    :func:`average_precision`.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.
    prior : float in (0, 1)
        Share of fakes π.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Values in [0, 1]; ``prior`` for uninformative scores.

    Raises
    ------
    SettingsError
        If the prior is not between 0 and 1.
    """
    if not 0 < prior < 1:
        raise SettingsError(f"A prior is a share of fakes between 0 and 1, not {prior}.")
    odds = ((1 - prior) / prior * counts.n_fake / counts.n_real)[:, None]
    n_predicted = np.maximum(counts.tp + odds * counts.fp, TINY)
    return _row_dot(counts.delta_tp, counts.tp / n_predicted) / counts.n_fake


def auroc(counts: ResampledCounts) -> Float:
    """Return the area under the ROC curve: P(fake scores above real) + ½ P(both score the same).

    It is the Mann-Whitney U statistic divided by n_fake n_real, and equals
    ``sklearn.metrics.roc_auc_score``.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Values in [0, 1]; 0.5 for uninformative scores.
    """
    reals_above = counts.fp
    if counts.fp_before is not counts.fp:
        reals_above = 0.5 * (reals_above + counts.fp_before)
    return 1.0 - _row_dot(counts.delta_tp, reals_above) / (counts.n_fake * counts.n_real)


def partial_auroc(counts: ResampledCounts, max_fpr: float) -> Float:
    """Return the area under the ROC curve up to a false positive rate, standardised.

    With A = ∫ TPR d FPR over FPR in [0, f] it is ½ (1 + (A - f²/2) / (f - f²/2)) (McClish 1989),
    as in ``sklearn.metrics.roc_auc_score(max_fpr=f)``.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.
    max_fpr : float in (0, 1)
        Largest false positive rate f.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        1 for a perfect ranking, 0.5 for uninformative scores; can be below 0.5.
    """
    # A = ∫ max(f - FPR, 0) d TPR, and FPR rises linearly from `before` to `after` on a step.
    before, after = counts.fp_before / counts.n_real[:, None], counts.fpr
    rise = after - before
    partly = (max_fpr - before) ** 2 / (2 * np.where(rise > 0, rise, 1.0))
    missing = np.where(after <= max_fpr, max_fpr - 0.5 * (before + after), partly)
    missing = np.where(before < max_fpr, missing, 0.0)
    area = _row_dot(counts.delta_tp, missing) / counts.n_fake
    chance = 0.5 * max_fpr**2
    return np.asarray(0.5 * (1 + (area - chance) / (max_fpr - chance)))


def _row_dot(weights: Float, values: Float) -> Float:
    """Return the scalar product of each pair of rows."""
    return np.asarray(np.einsum("ij,ij->i", weights, values))


def oracle_accuracy(counts: ResampledCounts) -> Float:
    """Return the best balanced accuracy over all thresholds: ½ + ½ max(TPR - FPR).

    The maximum is Youden's index (Youden 1950). The threshold is chosen on the test labels, so the
    value is an upper bound and not a result.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Values in [0.5, 1].
    """
    youden = np.asarray(counts.tpr - counts.fpr)
    return np.asarray(0.5 + 0.5 * youden.max(axis=1, initial=0.0))


def oracle_threshold(counts: ResampledCounts) -> Float:
    """Return the highest threshold that reaches :func:`oracle_accuracy`.

    It lies halfway between the score of the optimal step and the next lower score.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Thresholds; the highest score, above which nothing lies, where no step is better than
        chance.
    """
    youden, scores = np.asarray(counts.tpr - counts.fpr), counts.scores
    best = youden.argmax(axis=1)
    score, lower = scores.thresholds[best], scores.next_lower[best]
    middle = score + 0.5 * (lower - score)
    middle = np.where(middle < score, middle, lower)  # adjacent floats have no middle
    return np.asarray(np.where(youden.max(axis=1) > 0, middle, scores.highest))


def tpr_at_fpr(counts: ResampledCounts, percent: float) -> Float:
    """Return the highest TPR of a threshold whose FPR is at most ``percent`` %.

    A threshold cannot separate tied scores, so nothing is interpolated between steps. Below 1 %
    the rate must be one that the reals can show: 0.1 % needs 1,000 of them.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.
    percent : float
        Largest false positive rate, in percent.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Values in [0, 1]; NaN for a rate below 1 % with fewer than 100 / ``percent`` reals.
    """
    if percent < 1 and len(counts.scores.reals) * percent < 100 * (1 - 1e-9):
        return np.full_like(counts.n_fake, np.nan)
    limits = percent * counts.n_real / 100 + 1e-9  # 0.1 has no exact float
    rows = zip(counts.cumulative_reals, limits, strict=True)
    n_reals = [row.searchsorted(limit, side="right") - 1 for row, limit in rows]
    steps = counts.scores.fp.searchsorted(n_reals, side="right")
    n_fakes = np.append(0, counts.scores.tp)[steps]
    tp = counts.cumulative_fakes[np.arange(len(n_fakes)), n_fakes]
    return np.asarray(tp / counts.n_fake)


def equal_error_rate(counts: ResampledCounts) -> Float:
    """Return the equal error rate: FPR where FPR = 1 - TPR on the linearly interpolated ROC curve.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        Values in [0, 1]; lower is better, 0.5 for uninformative scores.
    """
    tpr, fpr = counts.tpr, counts.fpr
    rows = np.arange(len(tpr))
    step = np.minimum((tpr + fpr < 1).sum(axis=1), tpr.shape[1] - 1)
    tpr_after, fpr_after = tpr[rows, step], fpr[rows, step]
    tpr_before = tpr_after - counts.delta_tp[rows, step] / counts.n_fake
    fpr_before = counts.fp_before[rows, step] / counts.n_real
    missing = 1.0 - tpr_before - fpr_before  # > 0: the crossing lies on the step, not before it
    rise = (tpr_after - tpr_before) + (fpr_after - fpr_before)
    share = np.divide(missing, rise, out=np.zeros_like(rise), where=rise > 0)
    crossing = fpr_before + share * (fpr_after - fpr_before)
    return np.asarray(np.where(missing > 0, crossing, 1.0 - tpr_before))


def fpr_at_tpr95(counts: ResampledCounts) -> Float:
    """Return the smallest share of reals called fake at which 95 % of the fakes are.

    Parameters
    ----------
    counts : ResampledCounts
        Resamples of the scores.

    Returns
    -------
    ndarray of shape (n_resamples,), float64
        In [0, 1]; no interpolation between the steps of the ROC curve.
    """
    reached = counts.tpr >= 0.95 - 1e-12
    return np.asarray(np.where(reached, counts.fpr, 1.0).min(axis=1, initial=1.0))
