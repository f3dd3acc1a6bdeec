"""Choosing C and the threshold from validation data; test samples are never looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from featcache.datasets import Sample
from featcache.errors import DataError
from featcache.evaluate.data import source_of
from featcache.metrics import SortedScores, best_threshold, point_metrics
from featcache.results import Certificate, CPoint, Selection

METRIC = "auroc"
"""What is maximised: it does not depend on the share of fakes, and ties are rare."""

SplitBy = Literal["val", "generator", "source"]


@dataclass(frozen=True)
class Folds:
    """How validation is done.

    Parameters
    ----------
    split_by : {"val", "generator", "source"}
    tasks : ndarray of shape (n_tasks, n_rows), float64
        Row 0 is the whole training set; with folds, row 1 + i is what fold i trains on.
    held_out : list of ndarray of int
        Samples that fold i is evaluated on; positions in the validation samples with ``"val"``.
    labels : ndarray of int
        Of the samples that are evaluated.
    generators : ndarray of str
    """

    split_by: SplitBy
    tasks: NDArray[np.float64]
    held_out: list[NDArray[np.intp]]
    labels: NDArray[np.int64]
    generators: NDArray[np.str_]


def plan_folds(
    train: Sequence[Sample],
    val: Sequence[Sample],
    paired: Mapping[str, Sequence[str]],
    n_views: int,
    n_folds: int,
) -> Folds | None:
    """Return how to validate: on the validation split, else by generator, else by photograph.

    By photograph also where several generators stand on the same photographs, so that none can be
    held out; None where no fold would have both classes on both sides. ``paired`` says by the id of
    a sample which generators it serves.

    Parameters
    ----------
    train : Sequence[Sample]
        Training samples.
    val : Sequence[Sample]
        Validation samples.
    paired : Mapping[str, Sequence[str]]
        Generators that each real is paired with, by sample id.
    n_views : int
        Number of training views.
    n_folds : int
        Number of folds.

    Returns
    -------
    Folds | None
        How to validate.
    """
    if len({sample.label for sample in val}) == 2:
        tasks = np.ones((1, len(train) * n_views))
        return Folds("val", tasks, [np.arange(len(val))], *_describe(val))
    names = [paired[sample.sample_id] for sample in train]
    if len({name for group in names for name in group}) > 1:
        # The generator with which each sample is held out; shared reals are dealt out by
        # photograph.
        known = sorted({name for group in names for name in group})
        folds = _folds(
            "generator",
            train,
            np.array(
                [
                    known.index(group[turn % len(group)])
                    for group, turn in zip(names, _round_robin(train), strict=True)
                ]
            ),
            n_views,
        )
        if folds is not None and len(folds.held_out) > 1:
            return folds
    groups = np.array(_round_robin(train)) % max(n_folds, 2)
    return _folds("source", train, groups, n_views)


def cannot_choose() -> DataError:
    """Return the error for values of C between which nothing can decide.

    Returns
    -------
    DataError
        The error for values of C between which nothing can decide.
    """
    return DataError(
        "C cannot be chosen: there is no val split, and no part of the training set can be held out"
        " with both classes on both sides (photographs stay together). Name one value, e.g. --C 1."
    )


def _round_robin(train: Sequence[Sample]) -> list[int]:
    """Return a number for each photograph, in an order that is the same at every call."""
    sources = sorted({source_of(sample) for sample in train})
    turn = {name: i for i, name in enumerate(np.random.default_rng(0).permutation(sources))}
    return [turn[source_of(sample)] for sample in train]


def _folds(
    split_by: SplitBy, train: Sequence[Sample], groups: NDArray[np.intp], n_views: int
) -> Folds | None:
    labels, generators = _describe(train)
    sources = np.array([source_of(sample) for sample in train])
    tasks, held_out = [np.ones(len(train))], []
    for group in np.unique(groups):
        out = groups == group
        inside = ~out & ~np.isin(sources, sources[out])  # a photograph is on one side only
        if len(set(labels[out])) == 2 and len(set(labels[inside])) == 2:
            tasks.append(inside.astype(float))
            held_out.append(np.flatnonzero(out))
    if not held_out:
        return None
    return Folds(split_by, np.tile(np.array(tasks), (1, n_views)), held_out, labels, generators)


def _describe(samples: Sequence[Sample]) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    labels = np.array([sample.label for sample in samples], dtype=np.int64)
    return labels, np.array([sample.paired_with for sample in samples])


def choose(
    folds: Folds,
    grid: Sequence[float],
    logits: NDArray[np.float64],
    certificates: Sequence[Certificate | None],
) -> Selection:
    """Choose C by the mean over folds, and the threshold on the held-out scores at that C.

    Parameters
    ----------
    folds : Folds
    grid : sequence of float
    logits : ndarray of shape (n_grid, n_samples)
        Of every evaluated sample, by the head of its fold; NaN where it is in no fold.
    certificates : sequence of Certificate or None
        Of the head on the whole training set at each C.

    Returns
    -------
    Selection

    Notes
    -----
    Of values of C that are equally good the smallest is taken. The threshold is the one of highest
    balanced accuracy.
    """
    scores = expit(logits)
    path = []
    for C, row, certificate in zip(grid, logits, certificates, strict=True):
        fold_scores = [
            _auroc(folds.labels[fold_rows], row[fold_rows])
            for fold_rows in (
                folds.held_out
                if folds.split_by != "val"
                else [
                    np.flatnonzero(folds.generators == name) for name in np.unique(folds.generators)
                ]
            )
        ]
        good = np.array([value for value in fold_scores if np.isfinite(value)])
        error = float(good.std(ddof=1) / np.sqrt(len(good))) if len(good) > 1 else float("nan")
        mean = float(good.mean()) if len(good) else float("nan")
        path.append(CPoint(C=C, score=mean, standard_error=error, certificate=certificate))
    values = np.nan_to_num(np.array([point.score for point in path]), nan=-np.inf)
    best = int(np.argmax(values >= values.max() - 1e-12))
    finite = np.isfinite(scores[best])
    return Selection(
        split_by=folds.split_by,
        n_folds=len(folds.held_out),
        metric=METRIC,
        path=path,
        C=float(grid[best]),
        threshold=best_threshold(
            SortedScores.of(folds.labels[finite], scores[best][finite], logit=logits[best][finite])
        ),
    )


def _auroc(labels: NDArray[np.int64], logits: NDArray[np.float64]) -> float:
    if len(set(labels.tolist())) < 2 or not np.isfinite(logits).all():
        return float("nan")
    return point_metrics(SortedScores.of(labels, expit(logits), logit=logits), (METRIC,))[METRIC]
