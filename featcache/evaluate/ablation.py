"""The ablation: every feature set at its C, evaluated on the same resamples, compared and ranked.

The rows of an ablation: feature sets fitted and evaluated, in every variant that was asked for.

Rows of an ablation against each other: the best single feature, the baseline, paired and corrected.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.backbones.names import canonical_name
from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.errors import SettingsError, unknown_name
from featcache.evaluate import data
from featcache.evaluate.contributions import contributions, similarity
from featcache.evaluate.diagnosis import redundant
from featcache.evaluate.fitting import (
    FittedHead,
    HeadFit,
    HeadSpec,
    Set,
    fit_feature_sets,
    logits_of,
    score_head,
)
from featcache.evaluate.options import AblateOptions, ProbeOptions
from featcache.evaluate.results_store import find_saved
from featcache.evaluate.scoring import Evaluation
from featcache.evaluate.task import ProbeTask, prepare_task
from featcache.files import digest_json
from featcache.metrics import METRICS, compute_metrics, holm, percentile_ci, two_sided_p
from featcache.results import AblationResult, AblationRow, Comparison, Scores


@dataclass(frozen=True, kw_only=True)
class AblationVariant:
    """A fitted set and how it was evaluated on one view of the test samples.

    Parameters
    ----------
    study : Study
        Its training set, views and head.
    view : int
        Position in ``study.test_views``.
    fitted : FittedSet
    evaluation : Evaluation
    by_C : dict of str to dict of str to float
        Means over generators at each C.
    """

    study: ProbeTask
    view: int
    fitted: FittedHead
    evaluation: Evaluation
    by_C: dict[str, dict[str, float]]

    @property
    def blocks(self) -> Set:
        """Positions of its features."""
        return self.fitted.blocks

    @property
    def names(self) -> list[str]:
        """Its features."""
        return names_of(self.study, self.blocks)

    def replicates(self, metric: str) -> NDArray[np.float64]:
        """Return the mean over generators in every resample.

        Parameters
        ----------
        metric : str
            Name of a metric, such as ``ap``.

        Returns
        -------
        ndarray of float64
            The mean over generators in every resample.
        """
        values = self.evaluation.values
        return np.asarray(
            np.mean([values[name][metric] for name in self.evaluation.generators], axis=0)
        )


def names_of(study: ProbeTask, blocks: Set) -> list[str]:
    """Return the names of features by their positions.

    Parameters
    ----------
    study : ProbeTask
        Prepared task: samples, features and folds.
    blocks : Set
        Indices of the feature blocks.

    Returns
    -------
    list[str]
        The names of features by their positions.
    """
    return [study.options.features[b] for b in blocks]


def variants(options: AblateOptions) -> list[ProbeOptions]:
    """Return the probes that the sets are fitted for: training sets x views x heads.

    Parameters
    ----------
    options : AblateOptions
        Settings; their own documentation names every field.

    Returns
    -------
    list[ProbeOptions]
        The probes that the sets are fitted for.
    """
    probe = options.probe
    return [
        replace(probe, train=list(train), train_views=list(views), head=head)
        for train, views, head in itertools.product(
            options.train_sets or [probe.train],
            options.train_views or [probe.train_views],
            options.heads or [probe.head],
        )
    ]


def fit_rows(study: ProbeTask, sets: Sequence[Set]) -> list[AblationVariant]:
    """Fit the sets in one joint solve, and judge them on every test view.

    Parameters
    ----------
    study : ProbeTask
        Prepared task: samples, features and folds.
    sets : Sequence[Set]
        Feature sets.

    Returns
    -------
    list[AblationVariant]
    """
    fitted = fit_feature_sets(study, sets)
    flat = [(i, C) for i, fitted_set in enumerate(fitted) for C in fitted_set.by_C]
    cells = [HeadSpec(fitted[i].blocks, C, 0) for i, C in flat]
    fits = [HeadFit(fitted[i].by_C[C], None) for i, C in flat]
    out = []
    for view in range(len(study.test_views)):
        logits = logits_of(study.test_rows(view), cells, fits)
        for i, fitted_set in enumerate(fitted):
            scores = {C: study.scores(logits[j]) for j, (k, C) in enumerate(flat) if k == i}
            evaluation = score_head(study, fitted_set, scores[fitted_set.C])
            names = list(evaluation.generators)
            by_C = {
                f"{C:g}": _points(logits_of_C, names, study) for C, logits_of_C in scores.items()
            }
            out.append(
                AblationVariant(
                    study=study, view=view, fitted=fitted_set, evaluation=evaluation, by_C=by_C
                )
            )
    return out


def _points(scores: Scores, names: Sequence[str], study: ProbeTask) -> dict[str, float]:
    """Return the means over generators at one C, without intervals."""
    points = []
    for name in names:
        rows = scores.generator == name
        points.append(
            compute_metrics(scores.label[rows], scores.score[rows], study.options.threshold)
        )
    return {
        "mAP": float(np.mean([point["ap"] for point in points])),
        "mean_acc": float(np.mean([point["acc"] for point in points])),
    }


def describe_row(
    row: AblationVariant, best: Comparison | None, base: Comparison | None
) -> AblationRow:
    """Return a row as plain data.

    Parameters
    ----------
    row : AblationVariant
        Row to describe.
    best : Comparison | None
        Comparison with the best single feature, if there is one.
    base : Comparison | None
        Comparison with the baseline, if there is one.

    Returns
    -------
    AblationRow
        A row as plain data.
    """
    study, fitted, means = row.study, row.fitted, row.evaluation.means()
    every = {**row.evaluation.generators, **row.evaluation.controls}
    return AblationRow(
        features=row.names,
        n_features=sum(study.widths[b] for b in row.blocks),
        C=fitted.C,
        train=sorted({sample.paired_with for sample in study.train}),
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
            name: {metric: result.value(metric) for metric in METRICS}
            for name, result in every.items()
        },
        val_threshold=fitted.val_threshold,
        selection=fitted.selection,
        certificate=fitted.certificate,
        vs_best_single=best,
        vs_baseline=base,
        by_C=row.by_C,
    )


ON_TEST = (
    "The best single feature was chosen on test data, as there are no validation data: "
    "comparisons with it are cautious."
)
OTHER_TESTS = "Rows whose test samples are others than the baseline's are not compared with it."


def metric_of(sort: str) -> str:
    """Return the metric that a table is sorted and compared by.

    Parameters
    ----------
    sort : str
        Metric that sorts the table.

    Returns
    -------
    str
        The metric that a table is sorted and compared by.
    """
    return "ap" if sort == "mAP" else sort


def sortable(value: float, metric: str) -> float:
    """Return a number that is higher for better rows; errors are better when low.

    Parameters
    ----------
    value : float
        Value to convert.
    metric : str
        Name of a metric, such as ``ap``.

    Returns
    -------
    float
        A number that is higher for better rows.
    """
    if math.isnan(value):
        return -math.inf
    record = METRICS.get(metric)
    return value if record is None or record.higher_is_better else -value


def best_singles(rows: Sequence[AblationVariant], notes: list[str]) -> dict[int, AblationVariant]:
    """Return for each row, by its position, the best single feature of the same study and view.

    Chosen on validation data; on test data only with a note.

    Parameters
    ----------
    rows : Sequence[AblationVariant]
        Fitted and evaluated variants.
    notes : list[str]
        Notes of the result; the function may append to them.

    Returns
    -------
    dict[int, AblationVariant]
        For each row, by its position, the best single feature of the same study and view.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault((id(row.study), row.view), []).append(i)
    best_of_view: dict[int, AblationVariant] = {}
    for places in groups.values():
        if best := _best_single([rows[i] for i in places], notes):
            best_of_view |= dict.fromkeys(places, best)
    return best_of_view


def _best_single(rows: Sequence[AblationVariant], notes: list[str]) -> AblationVariant | None:
    singles = [row for row in rows if len(row.blocks) == 1]
    if not singles:
        return None
    validated = [_validated(row) for row in singles]
    if all(math.isfinite(value) for value in validated):
        return singles[int(np.argmax(validated))]
    notes.append(ON_TEST)
    return singles[int(np.argmax([row.evaluation.mean("ap").value for row in singles]))]


def _validated(row: AblationVariant) -> float:
    selection = row.fitted.selection
    if selection is None:
        return math.nan
    return next(point.score for point in selection.path if point.C == row.fitted.C)


def baselines(
    rows: Sequence[AblationVariant], blocks: Set, notes: list[str]
) -> dict[int, AblationVariant]:
    """Return for each row, by its position, the baseline on the same view: of the first study.

    Parameters
    ----------
    rows : Sequence[AblationVariant]
        Fitted and evaluated variants.
    blocks : Set
        Indices of the feature blocks.
    notes : list[str]
        Notes of the result; the function may append to them.

    Returns
    -------
    dict[int, AblationVariant]
        For each row, by its position, the baseline on the same view.
    """
    first = {row.view: row for row in reversed(rows) if row.blocks == blocks}
    first |= {row.view: row for row in rows if row.blocks == blocks and row.study is rows[0].study}
    baseline_of = {i: first[row.view] for i, row in enumerate(rows) if row.view in first}
    fair = {i: base for i, base in baseline_of.items() if _same_tests(rows[i].study, base.study)}
    if len(fair) < len(baseline_of):
        notes.append(OTHER_TESTS)
    return fair


def _same_tests(a: ProbeTask, b: ProbeTask) -> bool:
    return a is b or {n: [s.sample_id for s in rows] for n, rows in a.tests.items()} == {
        n: [s.sample_id for s in rows] for n, rows in b.tests.items()
    }


def compare_rows(
    rows: Sequence[AblationVariant], partners: Mapping[int, AblationVariant], metric: str
) -> dict[int, Comparison]:
    """Compare rows with their partners on the same resamples, corrected for the number of all.

    Parameters
    ----------
    rows : Sequence[AblationVariant]
        Fitted and evaluated variants.
    partners : Mapping[int, AblationVariant]
        Variant that each one is compared with, by index.
    metric : str
        Name of a metric, such as ``ap``.

    Returns
    -------
    dict[int, Comparison]
    """
    comparisons = {}
    for i, partner in partners.items():
        row = rows[i]
        if row is partner:
            continue
        difference = row.evaluation.mean(metric).value - partner.evaluation.mean(metric).value
        difference_replicates = row.replicates(metric) - partner.replicates(metric)
        comparisons[i] = Comparison(
            other=partner.names,
            metric=metric,
            difference=difference,
            ci=percentile_ci(difference_replicates),
            p=two_sided_p(difference, difference_replicates),
            p_holm=math.nan,
        )
    corrected = holm([comparison.p for comparison in comparisons.values()])
    return {
        i: replace(comparison, p_holm=p)
        for (i, comparison), p in zip(comparisons.items(), corrected, strict=True)
    }


MAX_FEATURES = 10
"""All subsets of more features than this would be more than a thousand rows: name those you
want.
"""


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
    if options.sort not in ("mAP", *METRICS):
        raise unknown_name("metric", options.sort, ["mAP", *METRICS])
    studies = [prepare_task(manifest, store, probe) for probe in variants(options)]
    question = {"sets": [list(s) for s in sets], "baseline": list(baseline), "sort": options.sort}
    digests = [study.digest(ablation=question) for study in studies]
    digest = digests[0] if len(digests) == 1 else digest_json(digests)
    if saved := find_saved(options.kept or store.root, digest, AblationResult):
        return saved
    rows = [row for study in studies for row in fit_rows(study, sets)]
    result = _result(rows, baseline, options.sort)
    return replace(result, digest=digest, seconds=time.perf_counter() - start)


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
    known = [canonical_name(name) for name in options.probe.features]
    for name in names:
        if canonical_name(name) not in known:
            raise unknown_name("feature of this ablation", name, options.probe.features)
    return tuple(sorted({known.index(canonical_name(name)) for name in names}))


def _baseline(options: AblateOptions, sets: list[Set]) -> Set:
    if options.baseline:
        chosen = _positions(options, options.baseline)
        if chosen not in sets:
            raise SettingsError(
                f"The baseline {'+'.join(options.baseline)} is not among the subsets."
            )
        return chosen
    return next((s for s in sets if len(s) == 1), sets[0])


def _result(rows: list[AblationVariant], baseline: Set, sort: str) -> AblationResult:
    study, metric = rows[0].study, metric_of(sort)
    notes = [note for row in rows for note in row.study.notes]
    best, base = best_singles(rows, notes), baselines(rows, baseline, notes)
    vs_best, vs_base = compare_rows(rows, best, metric), compare_rows(rows, base, metric)
    made = [describe_row(row, vs_best.get(i), vs_base.get(i)) for i, row in enumerate(rows)]
    made.sort(key=lambda row: -sortable(row.means[metric].value, metric))
    alike = similarity(study)
    notes += [finding.sentence for finding in redundant(alike)]
    first = [row for row in rows if row.study is study and row.view == 0]
    if len(first) < len(rows):
        notes.append(_of_first(first[0]))
    options = study.options
    return AblationResult(
        features=options.features,
        rows=made,
        sort=sort,
        best_single=best[0].names if 0 in best else [],
        baseline=names_of(study, baseline),
        train=data.describe_training(study.train, study.train_views),
        contributions=contributions(
            options.features, {row.blocks: row.evaluation for row in first}
        ),
        similarity=alike,
        groups=study.groups,
        controls=list(rows[0].evaluation.controls),
        keys=[dict(key.fields) for key in study.test_keys[0]],
        notes=list(dict.fromkeys(notes)),
        versions={"featcache": __version__, "numpy": np.__version__},
        head=", ".join(dict.fromkeys(row.study.options.head for row in rows)),
        scaling=options.scaling if options.head == "logistic" else "own",
        C_grid=options.grid or [options.C],
        threshold=options.threshold,
    )


def _of_first(row: AblationVariant) -> str:
    """Say which variant the numbers are of that stand once in a table of several."""
    study = row.study
    trained = data.describe_training(study.train, study.train_views)
    return (
        "What each feature adds, the similarity and the best single feature's name are those of"
        f" the first variant: head {study.options.head}, trained on {', '.join(trained.generators)}"
        f" ({', '.join(study.train_views)}), tested on {study.test_views[row.view]}."
    )
