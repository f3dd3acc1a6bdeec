"""Fitting the heads of a task: feature sets x values of C x training sets, in one joint solve.

Every combination is a :class:`HeadSpec`. For late fusion each feature has a head of its own, and
their logits are added up. C and the threshold of each feature set are chosen on held-out logits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache import threads
from featcache.errors import DataError
from featcache.evaluate.feature_rows import iter_joined, read_rows
from featcache.evaluate.model_selection import select_C
from featcache.evaluate.scoring import Evaluation, evaluate_scores
from featcache.evaluate.task import ProbeTask
from featcache.probes import (
    Linear,
    LogisticProbe,
    Scorer,
    Training,
    fit_head,
    fit_heads,
    head_kind,
)
from featcache.probes.solver import HeadBatch, Source
from featcache.progress import add_pass, progress
from featcache.results import Certificate, Scores, Selection

FeatureSet = tuple[int, ...]
"""Positions of features in ``ProbeOptions.features``, in rising order."""


@dataclass(frozen=True)
class HeadSpec:
    """One head to fit.

    Parameters
    ----------
    features : tuple of int
        Positions of its features.
    C : float
        Inverse strength of the penalty.
    training_set : int
        Row of the training weights.
    """

    features: FeatureSet
    C: float
    training_set: int = 0


@dataclass(frozen=True)
class HeadFit:
    """A fitted head.

    Parameters
    ----------
    scorer : Scorer
        From raw features to logits.
    certificate : Certificate or None
        How near the optimum it is; None for heads that do not optimise.
    """

    scorer: Scorer
    certificate: Certificate | None


def fit_specs(
    task: ProbeTask, source: Source, weights: NDArray[np.float64], specs: Sequence[HeadSpec]
) -> list[HeadFit]:
    """Fit heads on training sets of a task.

    Parameters
    ----------
    task : ProbeTask
        Its options name the kind of head and its parameters.
    source : Source
        Features of the training rows, a block for each feature.
    weights : ndarray of shape (n_training_sets, n_rows), float64
        Weight of each row in each training set; 0 leaves it out.
    specs : sequence of HeadSpec
        Heads to fit.

    Returns
    -------
    list of HeadFit
        In the same order.
    """
    options = task.options
    if options.head == "logistic":
        return _fit_logistic(task, source, weights, specs)
    features, labels, sources = read_rows(source), task.labels, task.sources
    val_features = val_labels = None  # for heads that stop early
    if task.folds is not None and task.folds.on_val_split:
        val_features, val_labels = read_rows(task.val_rows()), task.folds.labels
    kind = head_kind(options.head)
    has_C = kind is not None and "C" in kind.takes
    fits: dict[tuple[FeatureSet, int, float], HeadFit] = {}
    keys = [(spec.features, spec.training_set, spec.C if has_C else 0.0) for spec in specs]
    for key, spec in zip(keys, specs, strict=True):
        if key in fits:  # the same head at another C
            continue
        selected = weights[spec.training_set] > 0
        columns = feature_columns(source.widths, spec.features)
        training = Training(
            features=features[np.ix_(selected, columns)],
            labels=labels[selected],
            sources=sources[selected],
            widths=[source.widths[b] for b in sorted(spec.features)],
            val_features=None if val_features is None else val_features[:, columns],
            val_labels=val_labels,
        )
        scorer = fit_head(options.head, training, C=spec.C, k=options.k, seed=options.seed)
        fits[key] = HeadFit(scorer, None)
    return [fits[key] for key in keys]


def _fit_logistic(
    task: ProbeTask, source: Source, weights: NDArray[np.float64], specs: Sequence[HeadSpec]
) -> list[HeadFit]:
    """Fit logistic heads in one joint solve."""
    n_features = len(source.widths)
    batch = HeadBatch(
        uses=np.array([[b in spec.features for b in range(n_features)] for spec in specs]),
        C=np.array([spec.C for spec in specs]),
        task=np.array([spec.training_set for spec in specs], dtype=np.intp),
    )
    fitted = fit_heads(
        source,
        np.repeat(task.labels[None], len(weights), axis=0),
        batch,
        weights=weights,
        scaling=task.options.scaling,
        memory=task.options.memory,
        engine=task.engine(),
    )
    fits = []
    for i, spec in enumerate(specs):
        linear = Linear(
            weight=fitted.weight[i][feature_columns(source.widths, spec.features)],
            bias=float(fitted.bias[i]),
            widths=[source.widths[b] for b in sorted(spec.features)],
            l2=fitted.l2,
        )
        fits.append(HeadFit(linear, fitted.certificates[i]))
    return fits


def feature_columns(widths: list[int], features: Sequence[int]) -> NDArray[np.intp]:
    """Return the columns of some features among all features joined side by side.

    Parameters
    ----------
    widths : list of int
        Number of columns of each feature.
    features : sequence of int
        Positions of the features.

    Returns
    -------
    ndarray of intp
        Columns in rising order.
    """
    stops = np.cumsum(widths)
    return np.concatenate([np.arange(stops[b] - widths[b], stops[b]) for b in sorted(features)])


def predict_logits(
    source: Source, feature_sets: Sequence[FeatureSet], scorers: Sequence[Scorer]
) -> NDArray[np.float64]:
    """Compute the logits of several heads in one pass over the rows.

    Parameters
    ----------
    source : Source
        Feature rows.
    feature_sets : sequence of tuple of int
        Positions of the features of each head.
    scorers : sequence of Scorer
        The heads.

    Returns
    -------
    ndarray of shape (n_heads, n_rows), float64
        Logit of being fake.
    """
    logits = np.empty((len(scorers), source.n_rows))
    columns = [feature_columns(source.widths, features) for features in feature_sets]
    # Linear heads on raw rows share one matrix product; those that normalise rows cannot.
    linear = [i for i, s in enumerate(scorers) if isinstance(s, Linear) and not s.l2]
    weight = np.zeros((len(linear), sum(source.widths)))
    bias = np.zeros((len(linear), 1))
    for row, i in enumerate(linear):
        scorer = scorers[i]
        assert isinstance(scorer, Linear)
        weight[row, columns[i]], bias[row] = scorer.weight, scorer.bias
    nonlinear = sorted(set(range(len(scorers))) - set(linear))
    add_pass("predict", source.n_rows * sum(source.widths) * np.dtype(source.dtype).itemsize)
    with progress("predict", source.n_rows, "rows") as advance, threads.thread_pool():
        for rows, part in iter_joined(source):

            def predict(
                piece: slice, start: int = rows.start, part: NDArray[np.float32] = part
            ) -> None:
                here = slice(start + piece.start, start + piece.stop)
                logits[linear, here] = weight @ part[piece].T.astype(np.float64) + bias

            if linear:
                threads.parallel_map(predict, threads.parts(len(part), 2048))
            for i in nonlinear:
                logits[i, rows] = scorers[i].logits(part[:, columns[i]])
            advance(len(part))
    return logits


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """The head of one feature set at the chosen C.

    Parameters
    ----------
    features : tuple of int
        Positions of its features.
    C : float
        Given or chosen by validation.
    scorer : Scorer
        From raw features to logits.
    certificate : Certificate or None
        How near the optimum it is; of fused heads the worst.
    selection : Selection or None
        How C and the threshold were chosen; None without validation.
    by_C : dict of float to Scorer
        The heads at all values of C.
    """

    features: FeatureSet
    C: float
    scorer: Scorer
    certificate: Certificate | None
    selection: Selection | None
    by_C: dict[float, Scorer]

    @property
    def val_threshold(self) -> float:
        """Threshold chosen on validation data; NaN without validation."""
        return self.selection.threshold if self.selection else math.nan


def fit_feature_sets(task: ProbeTask, feature_sets: Sequence[FeatureSet]) -> list[FittedHead]:
    """Fit feature sets at all values of C and on all folds in one joint solve, and choose C.

    Parameters
    ----------
    task : ProbeTask
        Training samples, folds and options.
    feature_sets : sequence of tuple of int
        Positions of the features of each set, in rising order.

    Returns
    -------
    list of FittedHead
        One for each set.
    """
    options, weights = task.options, task.train_weights
    grid = options.grid or [options.C]
    fused = options.fusion != "concat"
    parts, specs = head_specs(task, feature_sets)
    task = task.within_memory(len(specs))
    source = task.train_rows()
    fits = fit_specs(task, source, weights, specs)
    shape = (len(parts), len(grid), len(weights))
    held_out = _held_out_logits(task, source, specs, fits, shape)
    whole_set = np.arange(len(fits)).reshape(shape)[:, :, 0]
    heads = []
    for features in feature_sets:
        members = [parts.index((b,)) for b in features] if fused else [parts.index(features)]
        fits_by_C = [[fits[i] for i in column] for column in whole_set[members].T]
        logits = None if held_out is None else held_out[members]
        heads.append(_fuse_and_select(task, features, grid, fits_by_C, logits))
    return heads


def head_specs(
    task: ProbeTask, feature_sets: Sequence[FeatureSet]
) -> tuple[list[FeatureSet], list[HeadSpec]]:
    """Return the heads of a joint solve.

    Parameters
    ----------
    task : ProbeTask
        Training samples, folds and options.
    feature_sets : sequence of tuple of int
        Positions of the features of each set.

    Returns
    -------
    parts : list of tuple of int
        The sets that heads are fitted on. With late fusion each feature has a head of its own,
        which the sets share.
    specs : list of HeadSpec
        Every part at every C on the whole training set and on those of the folds.
    """
    parts: list[FeatureSet] = list(feature_sets)
    if task.options.fusion != "concat":
        parts = sorted({(b,) for features in feature_sets for b in features})
    grid, n_folds = task.options.grid or [task.options.C], len(task.train_weights)
    return parts, [HeadSpec(part, C, t) for part in parts for C in grid for t in range(n_folds)]


def score_head(task: ProbeTask, head: FittedHead, scores: Scores) -> Evaluation:
    """Evaluate the scores of a fitted head with the options of its task.

    Parameters
    ----------
    task : ProbeTask
        Its options hold thresholds, prior and bootstrap.
    head : FittedHead
        The head, for its validation threshold.
    scores : Scores
        Its scores on the test samples.

    Returns
    -------
    Evaluation
        Results with intervals.
    """
    options = task.options
    return evaluate_scores(
        scores,
        task.groups,
        threshold=options.threshold,
        val_threshold=head.val_threshold,
        prior=options.prior,
        n_resamples=options.n_resamples,
        seed=options.seed,
    )


def _held_out_logits(
    task: ProbeTask,
    source: Source,
    specs: Sequence[HeadSpec],
    fits: Sequence[HeadFit],
    shape: tuple[int, int, int],
) -> NDArray[np.float64] | None:
    """Return held-out logits (n_parts, n_grid, n_samples); NaN for samples in no fold."""
    folds = task.folds
    if folds is None:
        return None
    rows = task.val_rows() if folds.on_val_split else source
    logits = predict_logits(rows, [spec.features for spec in specs], [fit.scorer for fit in fits])
    # Only the first training view is validated on: its rows come first.
    n_samples = len(folds.labels)
    logits = logits.reshape(*shape, -1)[..., :n_samples]
    if folds.on_val_split:
        return logits[:, :, 0]
    held_out_logits = np.full((shape[0], shape[1], n_samples), np.nan)
    for i, held_out in enumerate(folds.held_out):
        held_out_logits[:, :, held_out] = logits[:, :, 1 + i, held_out]
    return held_out_logits


def _fuse_and_select(
    task: ProbeTask,
    features: FeatureSet,
    grid: Sequence[float],
    fits_by_C: list[list[HeadFit]],
    logits: NDArray[np.float64] | None,
) -> FittedHead:
    """Fuse the parts of a set at each C, and choose C; ``logits`` is (n_parts, n_grid, n)."""
    widths = [task.widths[b] for b in features]
    scorers, certificates, fused_logits = [], [], []
    for c, fits in enumerate(fits_by_C):
        coefficients, bias = _fusion_weights(
            task, len(fits), None if logits is None else logits[:, c]
        )
        scorers.append(_fuse([fit.scorer for fit in fits], widths, coefficients, bias))
        known = [fit.certificate for fit in fits if fit.certificate is not None]
        certificates.append(max(known, key=lambda certificate: certificate.gap, default=None))
        if logits is not None:
            fused_logits.append(coefficients @ logits[:, c] + bias)
    selection = None
    if task.folds is not None and fused_logits:
        selection = select_C(task.folds, grid, np.array(fused_logits), certificates)
    best = 0 if selection is None else list(grid).index(selection.C)
    return FittedHead(
        features=features,
        C=float(grid[best]),
        scorer=scorers[best],
        certificate=certificates[best],
        selection=selection,
        by_C=dict(zip(grid, scorers, strict=True)),
    )


def _fusion_weights(
    task: ProbeTask, n_parts: int, logits: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], float]:
    """Return coefficients and bias of the parts' logits: a mean, or stacked on held-out logits."""
    if task.options.fusion != "stacking" or n_parts == 1:
        return np.full(n_parts, 1.0 / n_parts), 0.0
    if logits is None or task.folds is None:
        raise DataError(
            "Stacking learns from held-out samples, and there are none: it needs a val split,"
            " several training generators, or several photographs of each class. Use --fusion"
            " mean-logit."
        )
    known = np.isfinite(logits).all(axis=0)
    return fit_stacking(logits[:, known], task.folds.labels[known])


def fit_stacking(
    logits: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """Fit the logistic regression that stacks the logits of several heads (Wolpert 1992).

    Parameters
    ----------
    logits : ndarray of shape (n_heads, n_samples), float64
        Held-out logits.
    labels : ndarray of shape (n_samples,), int64
        0 real, 1 fake.

    Returns
    -------
    coefficients : ndarray of shape (n_heads,), float64
        Weight of each head's logit.
    bias : float
        Intercept.
    """
    stacked = LogisticProbe(C=1.0).fit(logits.T, labels)
    return stacked.coef_[0], float(stacked.intercept_[0])


@dataclass(frozen=True)
class FusedHeads:
    """Several heads on their own features; their weighted logits are added up.

    Parameters
    ----------
    parts : list of Scorer
        Head of each feature.
    widths : list of int
        Number of columns of each feature.
    coefficients : ndarray of shape (n_parts,), float64
        Weight of each head's logit.
    bias : float
        Added to the sum.
    """

    parts: list[Scorer]
    widths: list[int]
    coefficients: NDArray[np.float64]
    bias: float

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the fused logit of each row.

        Parameters
        ----------
        features : ndarray of shape (n_samples, n_features), float32
            Raw features joined side by side.

        Returns
        -------
        ndarray of shape (n_samples,), float64
            Logit of being fake.
        """
        blocks = np.split(features, np.cumsum(self.widths)[:-1], axis=1)
        logits = [part.logits(block) for part, block in zip(self.parts, blocks, strict=True)]
        return np.asarray(self.coefficients @ np.array(logits) + self.bias)


def _fuse(
    parts: list[Scorer], widths: list[int], coefficients: NDArray[np.float64], bias: float
) -> Scorer:
    """Return one head on the joined features; linear where the parts are."""
    if len(parts) == 1 and coefficients[0] == 1.0:
        return parts[0]
    linear = [part for part in parts if isinstance(part, Linear)]
    if len(linear) < len(parts):
        return FusedHeads(parts, widths, coefficients, bias)
    pairs = list(zip(coefficients, linear, strict=True))
    return Linear(
        weight=np.concatenate([a * part.weight for a, part in pairs]),
        bias=float(sum(a * part.bias for a, part in pairs) + bias),
        widths=widths,
        l2=linear[0].l2,
    )
