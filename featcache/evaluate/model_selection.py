"""Choosing C and the decision threshold on validation data. Test samples are never used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from featcache.datasets import Manifest
from featcache.datasets.columns import Texts
from featcache.datasets.pairings import members
from featcache.metrics import SortedScores, best_threshold, point_metrics
from featcache.results import Certificate, CPoint, Selection

METRIC = "auroc"
"""Metric that is maximised: it does not depend on the share of fakes. Where validation is easy
several C have the same value, mostly 1: the log loss tells them apart.
"""

TIED = 1e-12
"""Values of the metric that differ by less are equal."""

SplitBy = Literal["val", "generator", "source"]


@dataclass(frozen=True)
class Folds:
    """How validation is done.

    Parameters
    ----------
    split_by : {"val", "generator", "source"}
        On the validation split, or on folds of training generators or sources.
    train_weights : ndarray of shape (1 or 1 + n_folds, n_rows), float64
        Weight of each training row: row 0 is the whole training set, row 1 + i that of fold i.
    held_out : list of ndarray of intp
        Samples that each fold is evaluated on: positions in the training samples, with ``"val"`` in
        the validation samples.
    labels : ndarray of shape (n_samples,), int64
        Labels of the samples that ``held_out`` refers to.
    generators : ndarray of shape (n_samples,), str
        Generator that each of them is paired with.
    """

    split_by: SplitBy
    train_weights: NDArray[np.float64]
    held_out: list[NDArray[np.intp]]
    labels: NDArray[np.int64]
    generators: NDArray[np.str_]

    @property
    def on_val_split(self) -> bool:
        """Whether validation samples are those of the validation split."""
        return self.split_by == "val"


MAX_GENERATOR_FOLDS = 20
"""With more training generators than folds, a fold holds out several: a head is fitted for each."""


def plan_folds(
    train: Manifest, val: Manifest, paired: Texts, n_views: int, n_folds: int
) -> Folds | None:
    """Plan the validation: on the validation split, else by generator, else by source.

    Folds by source are also used where several generators were made from the same photographs, so
    that none can be held out.

    Parameters
    ----------
    train : Manifest
        Training samples, each content once.
    val : Manifest
        Validation samples; used if both classes are present.
    paired : Texts
        Training generators that each training sample is paired with, ``|`` between them.
    n_views : int
        Number of training views.
    n_folds : int
        Number of folds by source.

    Returns
    -------
    Folds or None
        None where no fold would have both classes on both sides.
    """
    if len(np.unique(val.labels)) == 2:
        weights = np.ones((1, len(train) * n_views))
        generators = np.array(val.strings("paired_with"))
        return Folds("val", weights, [np.arange(len(val))], val.labels, generators)
    # Sources are numbered in a random order that is the same at every call.
    codes, n_sources = _source_codes(train)
    rank = np.empty(n_sources, np.intp)
    rank[np.random.default_rng(0).permutation(n_sources)] = np.arange(n_sources)
    numbers = rank[codes]
    lists = {code: members(text) for code, text in paired.values().items()}
    known = sorted({name for names in lists.values() for name in names})
    if len(known) > 1:
        # A shared real is held out with one of its generators; sources are dealt out in turn.
        position = {name: i % MAX_GENERATOR_FOLDS for i, name in enumerate(known)}
        fold_of = np.empty(len(train), np.intp)
        for code, names in lists.items():
            rows = np.flatnonzero(paired.codes == code)
            fold_of[rows] = np.array([position[n] for n in names])[numbers[rows] % len(names)]
        folds = _hold_out("generator", train, codes, fold_of, n_views)
        if folds is not None and len(folds.held_out) > 1:
            return folds
    return _hold_out("source", train, codes, numbers % max(n_folds, 2), n_views)


def _source_codes(samples: Manifest) -> tuple[NDArray[np.intp], int]:
    """Return the source of each sample as its position among the sorted names; how many."""
    _, first, codes = np.unique(samples.source_codes(), return_index=True, return_inverse=True)
    names = samples.subset(first).source_names()
    # Bytes are a quarter of the memory of text, and sort in the same order.
    ascii_only = all(map(str.isascii, names))
    order = np.argsort(np.array(names, "S" if ascii_only else "U"), kind="stable")
    position = np.empty(len(names), np.intp)
    position[order] = np.arange(len(names))
    return position[codes.reshape(-1)], len(names)


def _hold_out(
    split_by: SplitBy,
    train: Manifest,
    sources: NDArray[np.intp],
    fold_of: NDArray[np.intp],
    n_views: int,
) -> Folds | None:
    """Return the folds that have both classes on both sides; None if there are none."""
    labels = train.labels
    weights, held_out = [np.ones(len(train))], []
    for fold in np.unique(fold_of):
        out = fold_of == fold
        is_out = np.zeros(len(sources), bool)
        is_out[sources[out]] = True
        fitted = ~out & ~is_out[sources]  # a source is on one side only
        if all(len(np.unique(labels[side])) == 2 for side in (out, fitted)):
            weights.append(fitted.astype(float))
            held_out.append(np.flatnonzero(out))
    if not held_out:
        return None
    train_weights = np.array(weights)
    if n_views > 1:  # a copy
        train_weights = np.tile(train_weights, (1, n_views))
    generators = np.array(train.strings("paired_with"))
    return Folds(split_by, train_weights, held_out, labels, generators)


def select_C(
    folds: Folds,
    grid: Sequence[float],
    logits: NDArray[np.float64],
    certificates: Sequence[Certificate | None],
) -> Selection:
    """Choose C by the mean AUROC over folds, and the threshold on the held-out scores at that C.

    Parameters
    ----------
    folds : Folds
        What is held out.
    grid : sequence of float
        Values of C, in rising order.
    logits : ndarray of shape (n_grid, n_samples), float64
        Logit of every held-out sample, by the head of its fold; NaN for samples in no fold.
    certificates : sequence of Certificate or None
        Of the head on the whole training set, for each C.

    Returns
    -------
    Selection
        The chosen C, the threshold, and the score of each C. On a validation split the mean is over
        generators.

    Notes
    -----
    Of equally good values the one with the lowest log loss on the same folds is chosen: the first
    would be the strongest penalty, whose probabilities are all near 0.5. The threshold has the
    highest balanced accuracy.
    """
    parts = folds.held_out
    if folds.on_val_split:
        names = np.unique(folds.generators)
        parts = [np.flatnonzero(folds.generators == name) for name in names]
    path = []
    for C, row, certificate in zip(grid, logits, certificates, strict=True):
        usable = [
            part
            for part in parts
            if len(set(folds.labels[part].tolist())) == 2 and np.isfinite(row[part]).all()
        ]
        aurocs = np.array(
            [
                point_metrics(SortedScores.of(folds.labels[part], row[part]), (METRIC,))[METRIC]
                for part in usable
            ]
        )
        losses = [log_loss(folds.labels[part], row[part]) for part in usable]
        n = len(aurocs)
        path.append(
            CPoint(
                C=C,
                score=float(aurocs.mean()) if n else float("nan"),
                standard_error=float(aurocs.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan"),
                certificate=certificate,
                log_loss=float(np.mean(losses)) if n else float("nan"),
            )
        )
    values = np.nan_to_num(np.array([point.score for point in path]), nan=-np.inf)
    tied = values >= values.max() - TIED
    losses_of_tied = [
        point.log_loss if ok else np.inf for point, ok in zip(path, tied, strict=True)
    ]
    best = int(np.argmin(np.nan_to_num(losses_of_tied, nan=np.inf)))
    known = np.isfinite(logits[best])
    logit, label = logits[best][known], folds.labels[known]
    return Selection(
        split_by=folds.split_by,
        n_folds=len(folds.held_out),
        metric=METRIC,
        path=path,
        C=float(grid[best]),
        threshold=best_threshold(SortedScores.of(label, expit(logit), logit=logit)),
        n_tied=int(tied.sum()),
    )


def log_loss(labels: NDArray[np.int64], logits: NDArray[np.float64]) -> float:
    """Return the mean log loss of logits.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,), int64
        0 real, 1 fake.
    logits : ndarray of shape (n_samples,), float64

    Returns
    -------
    float >= 0
        Mean of log(1 + exp(-(2y - 1) z)).
    """
    return float(np.mean(np.logaddexp(0.0, (1 - 2 * labels) * logits)))
