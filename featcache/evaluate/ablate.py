"""The ablation: every feature set at its C, judged on the same resamples, compared and ranked."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.backbones.names import canonical
from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.errors import SettingsError, unknown_name
from featcache.evaluate import data
from featcache.evaluate.cells import Cell, Fit, logits_of
from featcache.evaluate.diagnose import redundant
from featcache.evaluate.judge import Judged, judge
from featcache.evaluate.options import AblateOptions
from featcache.evaluate.saved import find_saved
from featcache.evaluate.sets import FittedSet, Set, fit_sets
from featcache.evaluate.shapley import contributions
from featcache.evaluate.similarity import similarity
from featcache.evaluate.study import Study, prepare
from featcache.metrics import METRICS, compute_metrics, holm, interval, two_sided_p
from featcache.results import AblationResult, AblationRow, Comparison, Scores

MAX_FEATURES = 10
"""All subsets of more features than this would be more than a thousand rows: name those you want."""


@dataclass(frozen=True)
class _Row:
    """A fitted set and how it was judged."""

    fitted: FittedSet
    judged: Judged
    by_C: dict[str, dict[str, float]]


def ablate(manifest: Manifest, store: FeatureStore, options: AblateOptions) -> AblationResult:
    """Fit and judge feature sets; an ablation that was saved before is read instead.

    Parameters
    ----------
    manifest : Manifest
    store : FeatureStore
        Must hold all features; results are looked for in its folder ``results``.
    options : AblateOptions

    Returns
    -------
    AblationResult
        Rows sorted by ``options.sort``, the best first.

    Raises
    ------
    MissingFeaturesError, DataError, SettingsError
        As for a probe, and if a subset names a feature that is not among the features.
    """
    start = time.perf_counter()
    sets = _sets(options)
    baseline = _baseline(options, sets)
    _check_sort(options.sort)
    study = prepare(manifest, store, options.probe)
    asked = {"sets": [list(s) for s in sets], "baseline": list(baseline), "sort": options.sort}
    digest = study.digest(ablation=asked)
    if saved := find_saved(options.kept or store.root, digest, AblationResult):
        return saved
    rows = _rows(study, sets)
    result = _result(study, rows, baseline, options.sort)
    return replace(result, digest=digest, seconds=time.perf_counter() - start)


def _check_sort(metric: str) -> None:
    if metric not in ("mAP", *METRICS):
        raise unknown_name("metric", metric, ["mAP", *METRICS])


def _sets(options: AblateOptions) -> list[Set]:
    """Return the sets as positions of features, each in rising order."""
    n = len(options.probe.features)
    if options.subsets:
        return list(dict.fromkeys(_positions(options, subset) for subset in options.subsets))
    if n > MAX_FEATURES:
        raise SettingsError(
            f"All subsets of {n} features are {2**n - 1:,} rows. Name those you want: --subset A,B."
        )
    return [s for k in range(1, n + 1) for s in itertools.combinations(range(n), k)]


def _positions(options: AblateOptions, names: Sequence[str]) -> Set:
    known = [canonical(name) for name in options.probe.features]
    for name in names:
        if canonical(name) not in known:
            raise unknown_name("feature of this ablation", name, options.probe.features)
    return tuple(sorted({known.index(canonical(name)) for name in names}))


def _baseline(options: AblateOptions, sets: list[Set]) -> Set:
    if options.baseline:
        chosen = _positions(options, options.baseline)
        if chosen not in sets:
            raise SettingsError(
                f"The baseline {'+'.join(options.baseline)} is not among the subsets."
            )
        return chosen
    return next((s for s in sets if len(s) == 1), sets[0])


def _rows(study: Study, sets: Sequence[Set]) -> list[_Row]:
    fitted = fit_sets(study, sets)
    flat = [(i, C) for i, each in enumerate(fitted) for C in each.by_C]
    cells = [Cell(fitted[i].blocks, C, 0) for i, C in flat]
    fits = [Fit(fitted[i].by_C[C], None) for i, C in flat]
    logits = logits_of(study.test_rows(), cells, fits)
    out = []
    for i, each in enumerate(fitted):
        scores = {C: study.scores(logits[j]) for j, (k, C) in enumerate(flat) if k == i}
        judged = _judge(study, each, scores[each.C])
        names = list(judged.generators)
        by_C = {f"{C:g}": _points(found, names, study) for C, found in scores.items()}
        out.append(_Row(each, judged, by_C))
    return out


def _judge(study: Study, fitted: FittedSet, scores: Scores) -> Judged:
    options = study.options
    return judge(
        scores,
        study.groups,
        threshold=options.threshold,
        val_threshold=fitted.selection.threshold if fitted.selection else math.nan,
        prior=options.prior,
        n_resamples=options.n_resamples,
        seed=options.seed,
    )


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


def _result(study: Study, rows: list[_Row], baseline: Set, sort: str) -> AblationResult:
    options, notes = study.options, list(study.notes)
    best = _best_single(rows, notes)
    against = {name: _compare(rows, other, study, sort) for name, other in
               (("best", best), ("base", baseline)) if other is not None}  # fmt: skip
    made = [
        _row(study, row, against.get("best", {}).get(row.fitted.blocks),
             against["base"].get(row.fitted.blocks))
        for row in rows
    ]  # fmt: skip
    alike = similarity(study)
    notes += [found.sentence for found in redundant(alike)]
    metric = _metric(sort)
    made.sort(key=lambda row: -_sortable(row.means[metric].value, metric))
    return AblationResult(
        features=options.features,
        rows=made,
        sort=sort,
        best_single=_names(study, best) if best else [],
        baseline=_names(study, baseline),
        train=data.describe_training(study.train, study.train_views),
        contributions=contributions(
            options.features, {row.fitted.blocks: row.judged for row in rows}
        ),
        similarity=alike,
        groups=study.groups,
        controls=list(rows[0].judged.controls),
        keys=[dict(key.fields) for key in study.test_keys[0]],
        notes=notes,
        versions={"featcache": __version__, "numpy": np.__version__},
        head=options.head,
        scaling=options.scaling if options.head == "logistic" else "own",
        C_grid=options.grid or [options.C],
        threshold=options.threshold,
    )


def _metric(sort: str) -> str:
    return "ap" if sort == "mAP" else sort


def _sortable(value: float, metric: str) -> float:
    """Return a number that is higher for better rows; errors are better when low."""
    if math.isnan(value):
        return -math.inf
    return -value if metric in ("eer", "brier", "ece") else value


def _names(study: Study, blocks: Set) -> list[str]:
    return [study.options.features[b] for b in blocks]


def _best_single(rows: list[_Row], notes: list[str]) -> Set | None:
    """Return the best single feature, chosen on validation data; on test data only with a note."""
    singles = [row for row in rows if len(row.fitted.blocks) == 1]
    if not singles:
        return None
    validated = [_validated(row) for row in singles]
    if all(math.isfinite(value) for value in validated):
        return singles[int(np.argmax(validated))].fitted.blocks
    notes.append(
        "The best single feature was chosen on test data, as there are no validation data: "
        "comparisons with it are cautious."
    )
    values = [row.judged.mean("ap").value for row in singles]
    return singles[int(np.argmax(values))].fitted.blocks


def _validated(row: _Row) -> float:
    selection = row.fitted.selection
    if selection is None:
        return math.nan
    return next(point.score for point in selection.path if point.C == row.fitted.C)


def _compare(rows: list[_Row], other: Set, study: Study, sort: str) -> dict[Set, Comparison]:
    """Compare every row with one of them on the same resamples, corrected for their number."""
    metric = _metric(sort)
    partner = next(row for row in rows if row.fitted.blocks == other)
    others = [row for row in rows if row.fitted.blocks != other]
    found = {}
    for row in others:
        difference = row.judged.mean(metric).value - partner.judged.mean(metric).value
        draws = _draws(row, metric) - _draws(partner, metric)
        found[row.fitted.blocks] = Comparison(
            other=_names(study, other),
            metric=metric,
            difference=difference,
            ci=interval(draws),
            p=two_sided_p(difference, draws),
            p_holm=math.nan,
        )
    corrected = holm([each.p for each in found.values()])
    return {
        blocks: replace(each, p_holm=p)
        for (blocks, each), p in zip(found.items(), corrected, strict=True)
    }


def _draws(row: _Row, metric: str) -> NDArray[np.float64]:
    """Return the mean over generators in every resample."""
    values = row.judged.values
    return np.asarray(np.mean([values[name][metric] for name in row.judged.generators], axis=0))


def _row(study: Study, row: _Row, best: Comparison | None, base: Comparison | None) -> AblationRow:
    means = row.judged.means()
    every = {**row.judged.generators, **row.judged.controls}
    return AblationRow(
        features=_names(study, row.fitted.blocks),
        n_features=sum(study.widths[b] for b in row.fitted.blocks),
        C=row.fitted.C,
        train=sorted({sample.serves for sample in study.train}),
        fusion=study.options.fusion,
        mAP=means["ap"].value,
        mean_acc=means["acc"].value,
        mAP_ci=means["ap"].ci,
        mean_acc_ci=means["acc"].ci,
        means=means,
        generators={
            name: {metric: float(getattr(found, metric)) for metric in METRICS}
            for name, found in every.items()
        },
        val_threshold=row.fitted.selection.threshold if row.fitted.selection else math.nan,
        selection=row.fitted.selection,
        certificate=row.fitted.certificate,
        vs_best_single=best,
        vs_baseline=base,
        by_C=row.by_C,
    )
