"""The engine of probe and ablation: feature sets x values of C x training sets, in one joint solve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.engines import Engine
from featcache.evaluate.rows import chunked
from featcache.probes import Linear, Scorer, Training, fit_heads, fit_kind, kinds
from featcache.probes.solver import Heads, Source
from featcache.results import Certificate


@dataclass(frozen=True)
class Cell:
    """One head to fit: which features (positions), which C, which training set (a row of weights)."""

    blocks: tuple[int, ...]
    C: float
    task: int


@dataclass(frozen=True)
class Fit:
    """A fitted cell; ``certificate`` is None for heads that are no optimisation."""

    scorer: Scorer
    certificate: Certificate | None


def fit_cells(
    source: Source,
    labels: NDArray[np.int64],
    tasks: NDArray[np.float64],
    cells: Sequence[Cell],
    *,
    head: str,
    scaling: str,
    memory: int | None,
    engine: Engine | None = None,
    units: NDArray[np.str_] | None = None,
    k: int = 1,
    seed: int = 0,
) -> list[Fit]:
    """Fit every cell.

    Parameters
    ----------
    source : Source
        Raw features of the training rows, a block per feature.
    labels : ndarray of shape (n_rows,), int
    tasks : ndarray of shape (n_tasks, n_rows), float64
        Weight of each row in each training set; 0 leaves it out.
    cells : sequence of Cell
    head, scaling : str
    memory : int, bytes, optional
    engine : Engine, optional
        For logistic heads: holds the features in parts.
    units : ndarray of shape (n_rows,), optional
        The photograph of each row, for heads that hold some out.
    k, seed : int
        Of the heads other than logistic.
    """
    if head == "logistic":
        return _fit_logistic(source, labels, tasks, cells, scaling, memory, engine)
    x = np.empty((source.n_rows, sum(source.widths)), dtype=np.float32)
    for rows, part in chunked(source):
        x[rows] = part
    known: dict[tuple[tuple[int, ...], int, float], Fit] = {}
    takes_C = "C" in kinds()[head].takes
    for cell in cells:
        name = (cell.blocks, cell.task, cell.C if takes_C else 0.0)
        if name in known:
            continue
        keep, seen = tasks[cell.task] > 0, seen_columns(source.widths, cell.blocks)
        training = Training(
            features=x[np.ix_(keep, seen)],
            labels=labels[keep],
            units=None if units is None else units[keep],
            widths=[source.widths[b] for b in sorted(cell.blocks)],
        )
        known[name] = Fit(fit_kind(head, training, C=cell.C, k=k, seed=seed), None)
    return [known[cell.blocks, cell.task, cell.C if takes_C else 0.0] for cell in cells]


def _fit_logistic(
    source: Source,
    labels: NDArray[np.int64],
    tasks: NDArray[np.float64],
    cells: Sequence[Cell],
    scaling: str,
    memory: int | None,
    engine: Engine | None,
) -> list[Fit]:
    n = len(source.widths)
    heads = Heads(
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
        fits.append(Fit(linear, fitted.certificates[i]))
    return fits


def seen_columns(widths: list[int], blocks: Sequence[int]) -> NDArray[np.intp]:
    """Return the columns of some blocks, in the order of the blocks of the source."""
    stops = np.cumsum(widths)
    return np.concatenate([np.arange(stops[b] - widths[b], stops[b]) for b in sorted(blocks)])


def logits_of(source: Source, cells: Sequence[Cell], fits: Sequence[Fit]) -> NDArray[np.float64]:
    """Return the logit of every row from every cell's head, shape (n_cells, n_rows), in one pass."""
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
