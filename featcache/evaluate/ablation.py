"""The ablation: feature sets fitted jointly, evaluated on the same resamples, compared and sorted.

Every combination of feature set, training set, training views, head and test view is a row. Each
row is compared with the best single feature and with the baseline.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from featcache._version import __version__
from featcache.backbones.names import canonical_name
from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.datasets.pairings import generator_names
from featcache.errors import SettingsError, unknown_name
from featcache.evaluate import data
from featcache.evaluate.comparison import correct_comparisons, paired_comparison
from featcache.evaluate.contributions import contributions, similarity
from featcache.evaluate.diagnosis import redundant
from featcache.evaluate.fitting import (
    FeatureSet,
    FittedHead,
    fit_feature_sets,
    predict_logits,
    score_head,
)
from featcache.evaluate.options import AblateOptions, ProbeOptions
from featcache.evaluate.results_store import find_saved
from featcache.evaluate.scoring import Evaluation
from featcache.evaluate.task import ProbeTask, prepare_task
from featcache.files import digest_json
from featcache.metrics import METRICS, SortedScores, point_metrics
from featcache.progress import count_passes, track
from featcache.results import AblationResult, AblationRow, Comparison, PassCount, Scores

MAX_FEATURES = 10
"""Features of which all subsets are fitted; more would be over a thousand rows."""

CHOSEN_ON_TEST = (
    "The best single feature was chosen on test data, as there are no validation data: "
    "comparisons with it are cautious."
)
DIFFERENT_TESTS = "Rows whose test samples are others than the baseline's are not compared with it."


@dataclass(frozen=True, kw_only=True)
class EvaluatedSet:
    """A feature set, fitted on one task and evaluated in one test view.

    Parameters
    ----------
    task : ProbeTask
        Training set, training views and head.
    view : int
        Position in ``task.test_views``.
    fitted : FittedHead
        The head at the chosen C.
    evaluation : Evaluation
        Its metrics in that view.
    by_C : dict of str to dict of str to float
        ``mAP`` and ``mean_acc`` at each C.
    """

    task: ProbeTask
    view: int
    fitted: FittedHead
    evaluation: Evaluation
    by_C: dict[str, dict[str, float]]

    @property
    def features(self) -> FeatureSet:
        """Positions of its features."""
        return self.fitted.features

    @property
    def names(self) -> list[str]:
        """Names of its features."""
        return [self.task.options.features[b] for b in self.features]


def ablate(manifest: Manifest, store: FeatureStore, options: AblateOptions) -> AblationResult:
    """Fit, evaluate and compare feature sets; a result that was saved before is read instead.

    Parameters
    ----------
    manifest : Manifest
        All samples.
    store : FeatureStore
        Must hold all features. Saved results are looked for in its folder ``results``.
    options : AblateOptions
        Feature sets and what holds for all of them.

    Returns
    -------
    AblationResult
        Rows sorted by ``options.sort``, the best first.

    Raises
    ------
    MissingFeaturesError
        If a feature, or a sample of it, is not in the store.
    DataError
        If a training set, or every test set, lacks a class.
    UnknownNameError
        If a subset names a feature that is not among the features, or ``sort`` no metric.
    SettingsError
        If there are too many subsets, or the baseline is not among them.
    """
    start = time.perf_counter()
    feature_sets = feature_sets_of(options)
    baseline = next((s for s in feature_sets if len(s) == 1), feature_sets[0])
    if options.baseline:
        baseline = _positions(options, options.baseline)
        if baseline not in feature_sets:
            name = "+".join(options.baseline)
            raise SettingsError(f"The baseline {name} is not among the subsets.")
    if options.sort not in ("mAP", *METRICS):
        raise unknown_name("metric", options.sort, ["mAP", *METRICS])
    tasks = [prepare_task(manifest, store, probe) for probe in probe_variants(options)]
    question = {
        "sets": [list(features) for features in feature_sets],
        "baseline": list(baseline),
        "sort": options.sort,
    }
    digests = [task.digest(ablation=question) for task in tasks]
    digest = digests[0] if len(digests) == 1 else digest_json(digests)
    if saved := find_saved(options.kept or store.root, digest, AblationResult):
        return saved
    with count_passes() as passes:
        evaluated = [row for task in tasks for row in evaluate_feature_sets(task, feature_sets)]
        result = _compare_and_sort(evaluated, baseline, options.sort)
    counts = PassCount.of_steps(passes)
    return replace(result, digest=digest, seconds=time.perf_counter() - start, passes=counts)


def feature_sets_of(options: AblateOptions) -> list[FeatureSet]:
    """Return the feature sets that are asked for; all non-empty subsets by default.

    Parameters
    ----------
    options : AblateOptions

    Returns
    -------
    list of tuple of int
        Positions of the features of each set.

    Raises
    ------
    SettingsError
        If there are too many subsets.
    """
    n = len(options.probe.features)
    if options.subsets:
        return list(dict.fromkeys(_positions(options, subset) for subset in options.subsets))
    if n > MAX_FEATURES:
        raise SettingsError(
            f"All subsets of {n} features are {2**n - 1:,} rows. Name those you want: --subset A,B."
        )
    return [s for k in range(1, n + 1) for s in itertools.combinations(range(n), k)]


def _positions(options: AblateOptions, names: Sequence[str]) -> FeatureSet:
    """Return the positions of named features, in rising order."""
    known = [canonical_name(name) for name in options.probe.features]
    for name in names:
        if canonical_name(name) not in known:
            raise unknown_name("feature of this ablation", name, options.probe.features)
    return tuple(sorted({known.index(canonical_name(name)) for name in names}))


def probe_variants(options: AblateOptions) -> list[ProbeOptions]:
    """Return the probes that every feature set is fitted for.

    Parameters
    ----------
    options : AblateOptions
        Training sets, training views and heads.

    Returns
    -------
    list of ProbeOptions
        The product of training sets, training views and heads.
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


def evaluate_feature_sets(
    task: ProbeTask, feature_sets: Sequence[FeatureSet]
) -> list[EvaluatedSet]:
    """Fit feature sets in one joint solve and evaluate them in every test view.

    Parameters
    ----------
    task : ProbeTask
        Samples, keys and options.
    feature_sets : sequence of tuple of int
        Positions of the features of each set.

    Returns
    -------
    list of EvaluatedSet
        View by view, in the order of the sets.
    """
    heads = fit_feature_sets(task, feature_sets)
    feature_sets_by_C = [head.features for head in heads for _ in head.by_C]
    scorers = [scorer for head in heads for scorer in head.by_C.values()]
    evaluated = []
    for view in range(len(task.test_views)):
        logits = iter(predict_logits(task.test_rows(view), feature_sets_by_C, scorers))
        for head in track(heads, f"evaluate ({task.test_views[view]})", len(heads), "heads"):
            scores = {C: task.scores(next(logits)) for C in head.by_C}
            evaluation = score_head(task, head, scores[head.C])
            by_C = {}
            for C, scores_at_C in scores.items():
                by_C[f"{C:g}"] = _point_means(scores_at_C, evaluation, task.options.threshold)
            evaluated.append(
                EvaluatedSet(task=task, view=view, fitted=head, evaluation=evaluation, by_C=by_C)
            )
    return evaluated


def _point_means(scores: Scores, evaluation: Evaluation, threshold: float) -> dict[str, float]:
    """Return means over the generators of an evaluation at another C, without intervals."""
    metrics = []
    for name in evaluation.generators:
        rows = scores.generator == name
        sorted_scores = SortedScores.of(
            scores.label[rows], scores.score[rows], threshold, logit=scores.logit[rows]
        )
        metrics.append(point_metrics(sorted_scores, ("ap", "acc")))
    return {
        "mAP": float(np.mean([values["ap"] for values in metrics])),
        "mean_acc": float(np.mean([values["acc"] for values in metrics])),
    }


def best_singles(evaluated: Sequence[EvaluatedSet], notes: list[str]) -> dict[int, EvaluatedSet]:
    """Find the best single feature for each row: that of the same task and view.

    Parameters
    ----------
    evaluated : sequence of EvaluatedSet
        All rows.
    notes : list of str
        A note is appended where the choice had to be made on test data.

    Returns
    -------
    dict of int to EvaluatedSet
        By position of the row; rows of a task without single features are missing.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, row in enumerate(evaluated):
        groups[id(row.task), row.view].append(i)
    best: dict[int, EvaluatedSet] = {}
    for positions in groups.values():
        singles = [evaluated[i] for i in positions if len(evaluated[i].features) == 1]
        if not singles:
            continue
        values = [
            next(point.score for point in selection.path if point.C == row.fitted.C)
            for row in singles
            if (selection := row.fitted.selection) is not None
        ]
        if len(values) < len(singles) or not all(math.isfinite(value) for value in values):
            notes.append(CHOSEN_ON_TEST)
            values = [row.evaluation.mean("ap").value for row in singles]
        best |= dict.fromkeys(positions, singles[int(np.argmax(values))])
    return best


def baselines(
    evaluated: Sequence[EvaluatedSet], features: FeatureSet, notes: list[str]
) -> dict[int, EvaluatedSet]:
    """Find the baseline for each row: the baseline features of the first task, in the same view.

    Parameters
    ----------
    evaluated : sequence of EvaluatedSet
        All rows.
    features : tuple of int
        Positions of the baseline's features.
    notes : list of str
        A note is appended where rows have other test samples and cannot be compared.

    Returns
    -------
    dict of int to EvaluatedSet
        By position of the row; rows that cannot be compared are missing.
    """
    candidates = [row for row in evaluated if row.features == features]
    by_view = {row.view: row for row in reversed(candidates)}
    by_view |= {row.view: row for row in candidates if row.task is evaluated[0].task}

    def test_ids(task: ProbeTask) -> dict[str, list[str]]:
        return {name: samples.strings("sample_id") for name, samples in task.tests.items()}

    baseline_of = {}
    for i, row in enumerate(evaluated):
        if row.view not in by_view:
            continue
        baseline = by_view[row.view]
        if row.task is baseline.task or test_ids(row.task) == test_ids(baseline.task):
            baseline_of[i] = baseline
        elif DIFFERENT_TESTS not in notes:
            notes.append(DIFFERENT_TESTS)
    return baseline_of


def compare_rows(
    evaluated: Sequence[EvaluatedSet], partners: Mapping[int, EvaluatedSet], metric: str
) -> dict[int, Comparison]:
    """Compare rows with their partners on the same resamples, and correct for their number.

    Parameters
    ----------
    evaluated : sequence of EvaluatedSet
        All rows.
    partners : mapping of int to EvaluatedSet
        What each row is compared with, by its position.
    metric : str
        Name of the metric whose mean over generators is compared.

    Returns
    -------
    dict of int to Comparison
        By position of the row, without rows that are their own partner.
    """
    comparisons = {}
    for i, partner in partners.items():
        if evaluated[i] is partner:
            continue
        ours, theirs = evaluated[i].evaluation.estimates, partner.evaluation.estimates
        comparisons[i] = paired_comparison(
            ours.mean(metric).value - theirs.mean(metric).value,
            ours.mean_replicates(metric) - theirs.mean_replicates(metric),
            metric,
            partner.names,
            ours.n_sources(list(ours.values)),
        )
    return correct_comparisons(comparisons)


def _compare_and_sort(
    evaluated: list[EvaluatedSet], baseline: FeatureSet, sort: str
) -> AblationResult:
    """Compare all rows, sort them, and describe the ablation as plain data."""
    task = evaluated[0].task
    metric = "ap" if sort == "mAP" else sort
    notes = [note for row in evaluated for note in row.task.notes]
    best, base = best_singles(evaluated, notes), baselines(evaluated, baseline, notes)
    vs_best = compare_rows(evaluated, best, metric)
    vs_baseline = compare_rows(evaluated, base, metric)
    rows = [_to_row(row, vs_best.get(i), vs_baseline.get(i)) for i, row in enumerate(evaluated)]
    sign = -1 if METRICS[metric].higher_is_better else 1

    def sort_key(row: AblationRow) -> float:
        value = row.means[metric].value
        return math.inf if math.isnan(value) else sign * value  # rows without a value come last

    alike = similarity(task)
    notes += [diagnosis.sentence for diagnosis in redundant(alike)]
    training = data.describe_training(task.train, task.train_views)
    first = [row for row in evaluated if row.task is task and row.view == 0]
    if len(first) < len(evaluated):
        notes.append(
            "What each feature adds, the similarity and the best single feature's name are those of"
            f" the first variant: head {task.options.head}, trained on"
            f" {', '.join(training.generators)} ({', '.join(task.train_views)}), tested on"
            f" {task.test_views[0]}."
        )
    return AblationResult(
        features=task.options.features,
        rows=sorted(rows, key=sort_key),
        sort=sort,
        best_single=best[0].names if 0 in best else [],
        baseline=[task.options.features[b] for b in baseline],
        train=training,
        contributions=contributions(
            task.options.features, {row.features: row.evaluation for row in first}
        ),
        similarity=alike,
        groups=task.groups,
        controls=list(evaluated[0].evaluation.controls),
        keys=[dict(key.fields) for key in task.test_keys[0]],
        notes=list(dict.fromkeys(notes)),
        versions={"featcache": __version__, "numpy": np.__version__},
        head=", ".join(dict.fromkeys(row.task.options.head for row in evaluated)),
        scaling=task.scaling,
        C_grid=task.options.grid or [task.options.C],
        threshold=task.options.threshold,
    )


def _to_row(row: EvaluatedSet, best: Comparison | None, base: Comparison | None) -> AblationRow:
    """Return a row as plain data, with its comparisons."""
    task, fitted, means = row.task, row.fitted, row.evaluation.means()
    results = {**row.evaluation.generators, **row.evaluation.controls}
    return AblationRow(
        features=row.names,
        n_features=sum(task.widths[b] for b in row.features),
        C=fitted.C,
        train=sorted(generator_names(task.train)),
        fusion=task.options.fusion,
        head=task.options.head,
        train_views=task.train_views,
        view=task.test_views[row.view],
        mAP=means["ap"].value,
        mean_acc=means["acc"].value,
        mAP_ci=means["ap"].ci,
        mean_acc_ci=means["acc"].ci,
        means=means,
        generators={
            name: {metric: result.value(metric) for metric in METRICS}
            for name, result in results.items()
        },
        val_threshold=fitted.val_threshold,
        selection=fitted.selection,
        certificate=fitted.certificate,
        vs_best_single=best,
        vs_baseline=base,
        by_C=row.by_C,
    )
