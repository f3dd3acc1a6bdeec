"""The rows of an ablation: feature sets fitted and judged, in every variant that was asked for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache.evaluate.cells import Cell, Fit, logits_of
from featcache.evaluate.judge import Judged
from featcache.evaluate.options import AblateOptions, ProbeOptions
from featcache.evaluate.sets import FittedSet, Set, fit_sets, judge_set
from featcache.evaluate.study import Study
from featcache.metrics import METRICS, compute_metrics
from featcache.results import AblationRow, Comparison, Scores


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fitted set and how it was judged on one view of the test samples.

    Parameters
    ----------
    study : Study
        Its training set, views and head.
    view : int
        Position in ``study.test_views``.
    fitted : FittedSet
    judged : Judged
    by_C : dict of str to dict of str to float
        Means over generators at each C.
    """

    study: Study
    view: int
    fitted: FittedSet
    judged: Judged
    by_C: dict[str, dict[str, float]]

    @property
    def blocks(self) -> Set:
        """Positions of its features."""
        return self.fitted.blocks

    @property
    def names(self) -> list[str]:
        """Its features."""
        return names_of(self.study, self.blocks)

    def draws(self, metric: str) -> NDArray[np.float64]:
        """Return the mean over generators in every resample."""
        values = self.judged.values
        return np.asarray(
            np.mean([values[name][metric] for name in self.judged.generators], axis=0)
        )


def names_of(study: Study, blocks: Set) -> list[str]:
    """Return the names of features by their positions."""
    return [study.options.features[b] for b in blocks]


def variants(options: AblateOptions) -> list[ProbeOptions]:
    """Return the probes that the sets are fitted for: training sets x views x heads."""
    probe = options.probe
    return [
        replace(probe, train=list(train), train_views=list(views), head=head)
        for train, views, head in itertools.product(
            options.train_sets or [probe.train],
            options.train_views or [probe.train_views],
            options.heads or [probe.head],
        )
    ]


def fit_rows(study: Study, sets: Sequence[Set]) -> list[Row]:
    """Fit the sets in one joint solve, and judge them on every test view."""
    fitted = fit_sets(study, sets)
    flat = [(i, C) for i, each in enumerate(fitted) for C in each.by_C]
    cells = [Cell(fitted[i].blocks, C, 0) for i, C in flat]
    fits = [Fit(fitted[i].by_C[C], None) for i, C in flat]
    out = []
    for view in range(len(study.test_views)):
        logits = logits_of(study.test_rows(view), cells, fits)
        for i, each in enumerate(fitted):
            scores = {C: study.scores(logits[j]) for j, (k, C) in enumerate(flat) if k == i}
            judged = judge_set(study, each, scores[each.C])
            names = list(judged.generators)
            by_C = {f"{C:g}": _points(found, names, study) for C, found in scores.items()}
            out.append(Row(study=study, view=view, fitted=each, judged=judged, by_C=by_C))
    return out


def _points(scores: Scores, names: Sequence[str], study: Study) -> dict[str, float]:
    """Return the means over generators at one C, without intervals."""
    found = []
    for name in names:
        at = scores.generator == name
        found.append(compute_metrics(scores.label[at], scores.score[at], study.options.threshold))
    return {
        "mAP": float(np.mean([each["ap"] for each in found])),
        "mean_acc": float(np.mean([each["acc"] for each in found])),
    }


def describe_row(row: Row, best: Comparison | None, base: Comparison | None) -> AblationRow:
    """Return a row as plain data."""
    study, fitted, means = row.study, row.fitted, row.judged.means()
    every = {**row.judged.generators, **row.judged.controls}
    return AblationRow(
        features=row.names,
        n_features=sum(study.widths[b] for b in row.blocks),
        C=fitted.C,
        train=sorted({sample.serves for sample in study.train}),
        fusion=study.options.fusion,
        head=study.options.head,
        train_views=study.train_views,
        view=study.test_views[row.view],
        mAP=means["ap"].value,
        mean_acc=means["acc"].value,
        mAP_ci=means["ap"].ci,
        mean_acc_ci=means["acc"].ci,
        means=means,
        generators={
            name: {metric: float(getattr(found, metric)) for metric in METRICS}
            for name, found in every.items()
        },
        val_threshold=fitted.val_threshold,
        selection=fitted.selection,
        certificate=fitted.certificate,
        vs_best_single=best,
        vs_baseline=base,
        by_C=row.by_C,
    )
