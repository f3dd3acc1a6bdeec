"""Heads for feature sets: fitted jointly on every training set, C and threshold chosen, fused late
if asked.

The engine of probe and ablation: feature sets x values of C x training sets, in one joint solve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.engines import Engine
from featcache.errors import DataError
from featcache.evaluate.data import chunked
from featcache.evaluate.model_selection import choose
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
from featcache.results import Certificate, Scores, Selection


@dataclass(frozen=True)
class HeadSpec:
    """One head to fit: which features (positions), which C, which training set (a row of
    weights).
    """

    blocks: tuple[int, ...]
    C: float
    task: int


@dataclass(frozen=True)
class HeadFit:
    """A fitted cell; ``certificate`` is None for heads that are no optimisation."""

    scorer: Scorer
    certificate: Certificate | None


def fit_head_specs(
    source: Source,
    labels: NDArray[np.int64],
    tasks: NDArray[np.float64],
    cells: Sequence[HeadSpec],
    *,
    head: str,
    scaling: str,
    memory: int | None,
    engine: Engine | None = None,
    sources: NDArray[np.str_] | None = None,
    validation: tuple[Source, NDArray[np.int64]] | None = None,
    k: int = 1,
    seed: int = 0,
) -> list[HeadFit]:
    """Fit every cell.

    Parameters
    ----------
    source : Source
        Raw features of the training rows, a block per feature.
    labels : ndarray of shape (n_rows,), int
    tasks : ndarray of shape (n_tasks, n_rows), float64
        Weight of each row in each training set; 0 leaves it out.
    cells : sequence of Cell
    head : str
    scaling : str
    memory : int, bytes, optional
    engine : Engine, optional
        For logistic heads: holds the features in parts.
    sources : ndarray of shape (n_rows,), optional
        The photograph of each row, for heads that hold some out.
    validation : (Source, ndarray of int), optional
        Rows and labels of the val split, for heads that stop early on them.
    k : int
        Of the heads other than logistic.
    seed : int
        Of the heads other than logistic.

    Returns
    -------
    list[HeadFit]
    """
    if head == "logistic":
        return _fit_logistic(source, labels, tasks, cells, scaling, memory, engine)
    x = _whole_matrix(source)
    x_val = None if validation is None else _whole_matrix(validation[0])
    known: dict[tuple[tuple[int, ...], int, float], HeadFit] = {}
    kind = head_kind(head)
    takes_C = kind is not None and "C" in kind.takes
    for cell in cells:
        name = (cell.blocks, cell.task, cell.C if takes_C else 0.0)
        if name in known:
            continue
        keep, seen = tasks[cell.task] > 0, seen_columns(source.widths, cell.blocks)
        training = Training(
            features=x[np.ix_(keep, seen)],
            labels=labels[keep],
            sources=None if sources is None else sources[keep],
            widths=[source.widths[b] for b in sorted(cell.blocks)],
            val_features=None if x_val is None else x_val[:, seen],
            val_labels=None if validation is None else validation[1],
        )
        known[name] = HeadFit(fit_head(head, training, C=cell.C, k=k, seed=seed), None)
    return [known[cell.blocks, cell.task, cell.C if takes_C else 0.0] for cell in cells]


def _whole_matrix(source: Source) -> NDArray[np.float32]:
    """Return all rows of a source side by side."""
    x = np.empty((source.n_rows, sum(source.widths)), dtype=np.float32)
    for rows, part in chunked(source):
        x[rows] = part
    return x


def _fit_logistic(
    source: Source,
    labels: NDArray[np.int64],
    tasks: NDArray[np.float64],
    cells: Sequence[HeadSpec],
    scaling: str,
    memory: int | None,
    engine: Engine | None,
) -> list[HeadFit]:
    n = len(source.widths)
    heads = HeadBatch(
        uses=np.array([[b in cell.blocks for b in range(n)] for cell in cells]),
        C=np.array([cell.C for cell in cells]),
        task=np.array([cell.task for cell in cells], dtype=np.intp),
    )
    targets = np.repeat(labels[None], len(tasks), axis=0)
    fitted = fit_heads(
        source, targets, heads, weights=tasks, scaling=scaling, memory=memory, engine=engine
    )
    fits = []
    for i, cell in enumerate(cells):
        seen = seen_columns(source.widths, cell.blocks)
        widths = [source.widths[b] for b in sorted(cell.blocks)]
        linear = Linear(
            weight=fitted.weight[i][seen], bias=float(fitted.bias[i]), widths=widths, l2=fitted.l2
        )
        fits.append(HeadFit(linear, fitted.certificates[i]))
    return fits


def seen_columns(widths: list[int], blocks: Sequence[int]) -> NDArray[np.intp]:
    """Return the columns of some blocks, in the order of the blocks of the source.

    Parameters
    ----------
    widths : list[int]
        Number of columns of each feature block.
    blocks : Sequence[int]
        Indices of the feature blocks.

    Returns
    -------
    ndarray of intp
        The columns of some blocks, in the order of the blocks of the source.
    """
    stops = np.cumsum(widths)
    return np.concatenate([np.arange(stops[b] - widths[b], stops[b]) for b in sorted(blocks)])


def logits_of(
    source: Source, cells: Sequence[HeadSpec], fits: Sequence[HeadFit]
) -> NDArray[np.float64]:
    """Return the logit of every row from every cell's head, shape (n_cells, n_rows), in one pass.

    Parameters
    ----------
    source : Source
        Feature rows, read in chunks.
    cells : Sequence[HeadSpec]
        Specifications of the heads.
    fits : Sequence[HeadFit]
        Fitted heads.

    Returns
    -------
    ndarray of float64
        The logit of every row from every cell's head, shape (n_cells, n_rows), in one pass.
    """
    out = np.empty((len(cells), source.n_rows))
    columns = [seen_columns(source.widths, cell.blocks) for cell in cells]
    linear = [
        i for i, fit in enumerate(fits) if isinstance(fit.scorer, Linear) and not fit.scorer.l2
    ]
    weight = np.zeros((len(linear), sum(source.widths)))
    bias = np.zeros((len(linear), 1))
    for row, i in enumerate(linear):
        scorer = fits[i].scorer
        assert isinstance(scorer, Linear)
        weight[row, columns[i]], bias[row] = scorer.weight, scorer.bias
    others = sorted(set(range(len(fits))) - set(linear))
    for rows, part in chunked(source):
        if linear:
            out[linear, rows] = weight @ part.T.astype(np.float64) + bias
        for i in others:
            out[i, rows] = fits[i].scorer.logits(part[:, columns[i]])
    return out


Set = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """The head of one feature set.

    Parameters
    ----------
    blocks : tuple of int
        Positions of its features.
    C : float
    scorer : Scorer
    certificate : Certificate or None
    selection : Selection or None
        How C and the threshold were chosen; None without validation.
    by_C : dict of float to Scorer
        The heads at all values of C, for the curve.
    """

    blocks: Set
    C: float
    scorer: Scorer
    certificate: Certificate | None
    selection: Selection | None
    by_C: dict[float, Scorer]

    @property
    def val_threshold(self) -> float:
        """Threshold chosen on validation data; NaN where there are none."""
        return self.selection.threshold if self.selection else math.nan


def fit_feature_sets(study: ProbeTask, sets: Sequence[Set]) -> list[FittedHead]:
    """Fit feature sets: all x all values of C x all training sets of the validation, in one solve.

    Parameters
    ----------
    study : Study
    sets : sequence of tuple of int
        Positions of the features of each set, in rising order.

    Returns
    -------
    list[FittedHead]
    """
    options, tasks = study.options, study.tasks
    grid = options.grid or [options.C]
    fused = options.fusion != "concat"
    unit_sets: list[Set] = sorted({(b,) for s in sets for b in s}) if fused else list(sets)
    cells = [HeadSpec(u, C, t) for u in unit_sets for C in grid for t in range(len(tasks))]
    source = study.train_rows()
    fits = fit_tasks(study, source, tasks, cells)
    shape = (len(unit_sets), len(grid), len(tasks))
    selections = _validation(study, source, cells, fits, shape)
    out = []
    for s in sets:
        members = [unit_sets.index((b,)) for b in s] if fused else [unit_sets.index(s)]
        heads = [
            [fits[((u * shape[1] + c) * shape[2] + 0)] for u in members] for c in range(len(grid))
        ]
        logits = None if selections is None else selections[members]
        out.append(_finish(study, s, grid, heads, logits))
    return out


def fit_tasks(
    study: ProbeTask, source: Source, tasks: NDArray[np.float64], cells: Sequence[HeadSpec]
) -> list[HeadFit]:
    """Fit cells on training sets of a study as its options say.

    Parameters
    ----------
    study : Study
    source : Source
        Its training rows.
    tasks : ndarray of shape (n_tasks, n_rows), float64
        Weight of each row in each training set.
    cells : sequence of Cell

    Returns
    -------
    list[HeadFit]
    """
    options = study.options
    return fit_head_specs(
        source,
        study.labels,
        tasks,
        cells,
        head=options.head,
        scaling=options.scaling,
        memory=options.memory,
        engine=study.engine(),
        sources=study.sources,
        validation=_validation_rows(study),
        k=options.k,
        seed=options.seed,
    )


def _validation_rows(study: ProbeTask) -> tuple[Source, NDArray[np.int64]] | None:
    """Return the rows of the val split, for heads that use them while they are fitted."""
    if study.folds is None or study.folds.split_by != "val":
        return None
    return study.val_rows(), study.folds.labels


def score_head(study: ProbeTask, fitted: FittedHead, scores: Scores) -> Evaluation:
    """Judge the scores of a fitted set as the study's options say.

    Parameters
    ----------
    study : ProbeTask
        Prepared task: samples, features and folds.
    fitted : FittedHead
        Fitted head of one feature set.
    scores : Scores
        Labels, logits and probabilities of the test samples.

    Returns
    -------
    Evaluation
    """
    options = study.options
    return evaluate_scores(
        scores,
        study.groups,
        threshold=options.threshold,
        val_threshold=fitted.val_threshold,
        prior=options.prior,
        n_resamples=options.n_resamples,
        seed=options.seed,
    )


def _validation(
    study: ProbeTask,
    source: Source,
    cells: list[HeadSpec],
    fits: list[HeadFit],
    shape: tuple[int, int, int],
) -> NDArray[np.float64] | None:
    """Return held-out logits (n_units, n_grid, n_samples), NaN for samples in no fold."""
    folds = study.folds
    if folds is None:
        return None
    rows = study.val_rows() if folds.split_by == "val" else source
    n = len(folds.labels)
    every = logits_of(rows, cells, fits).reshape(*shape, -1)[..., :n]
    if folds.split_by == "val":
        return every[:, :, 0]
    out = np.full((shape[0], shape[1], n), np.nan)
    for i, held in enumerate(folds.held_out):
        out[:, :, held] = every[:, :, 1 + i, held]
    return out


def _finish(
    study: ProbeTask,
    blocks: Set,
    grid: Sequence[float],
    heads: list[list[HeadFit]],
    logits: NDArray[np.float64] | None,
) -> FittedHead:
    """Fuse, choose, and put together one set; ``logits`` is (n_parts, n_grid, n_samples)."""
    scorers, joint, certificates = [], [], []
    widths = [study.widths[b] for b in blocks]
    for c, parts in enumerate(heads):
        shares, bias = _shares(study, len(parts), None if logits is None else logits[:, c])
        scorers.append(_fuse([part.scorer for part in parts], widths, shares, bias))
        certificates.append(_worst([part.certificate for part in parts]))
        if logits is not None:
            joint.append(shares @ logits[:, c] + bias)
    selection = None
    if study.folds is not None and joint:
        selection = choose(study.folds, grid, np.array(joint), certificates)
    best = 0 if selection is None else list(grid).index(selection.C)
    return FittedHead(
        blocks=blocks,
        C=float(grid[best]),
        scorer=scorers[best],
        certificate=certificates[best],
        selection=selection,
        by_C=dict(zip(grid, scorers, strict=True)),
    )


def _shares(
    study: ProbeTask, n: int, logits: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], float]:
    """Return how the logits of the parts are added up: equally, or as stacked on held-out
    logits.
    """
    if study.options.fusion != "stacking" or n == 1:
        return np.full(n, 1.0 / n), 0.0
    if logits is None or study.folds is None:
        raise DataError(
            "Stacking learns from held-out samples, and there are none: it needs a val split,"
            " several training generators, or several photographs of each class. Use --fusion"
            " mean-logit."
        )
    known = np.isfinite(logits).all(axis=0)
    return stack_shares(logits[:, known], study.folds.labels[known])


def stack_shares(
    logits: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """Return the weights and the intercept that stack the logits of several heads.

    Parameters
    ----------
    logits : ndarray of shape (n_heads, n_samples), float64
        Held-out logits.
    labels : ndarray of shape (n_samples,), int
        0 real, 1 fake.

    Returns
    -------
    (ndarray of shape (n_heads,), float)
    """
    stacked = LogisticProbe(C=1.0).fit(logits.T, labels)
    return stacked.coef_[0], float(stacked.intercept_[0])


@dataclass(frozen=True)
class Fused:
    """Several heads on their own features; their logits are added up."""

    parts: list[Scorer]
    widths: list[int]
    shares: NDArray[np.float64]
    bias: float

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the weighted sum of the parts' logits.

        Parameters
        ----------
        features : ndarray of float32
            Features of shape (n_samples, n_features).

        Returns
        -------
        ndarray of float64
            The weighted sum of the parts' logits.
        """
        blocks = np.split(features, np.cumsum(self.widths)[:-1], axis=1)
        part_logits = [part.logits(block) for part, block in zip(self.parts, blocks, strict=True)]
        return np.asarray(self.shares @ np.array(part_logits) + self.bias)


def _fuse(
    parts: list[Scorer], widths: list[int], shares: NDArray[np.float64], bias: float
) -> Scorer:
    """Return one scorer on the joined features; linear where the parts are."""
    if len(parts) == 1 and shares[0] == 1.0:
        return parts[0]
    linear = [part for part in parts if isinstance(part, Linear)]
    if len(linear) == len(parts):
        weight = np.concatenate([a * part.weight for a, part in zip(shares, linear, strict=True)])
        total = float(sum(a * part.bias for a, part in zip(shares, linear, strict=True)) + bias)
        return Linear(weight=weight, bias=total, widths=widths, l2=linear[0].l2)
    return Fused(parts, widths, shares, bias)


def _worst(certificates: Sequence[Certificate | None]) -> Certificate | None:
    known = [c for c in certificates if c is not None]
    return max(known, key=lambda c: c.gap) if known else None
