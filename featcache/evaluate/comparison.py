"""Paired comparison of two runs on the same test samples, by generator and in the mean."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from featcache.datasets.families import CONTROL
from featcache.errors import DataError, unknown_name
from featcache.evaluate.estimates import Estimates, EvaluationRows, source_numbers
from featcache.metrics import CI_METHOD, METRICS, delong, difference_ci, holm, rank_tests
from featcache.metrics.intervals import MIN_DF
from featcache.results import Comparison, EvalResult, RunComparison, Scores

NO_THRESHOLDS = (float("nan"), float("nan"))

Key = TypeVar("Key", bound=Hashable)
Run = tuple[EvalResult, Scores]
"""A result and the rows of scores that it was computed from."""


def compare(
    scores_a: Scores,
    scores_b: Scores,
    groups: Mapping[str, str],
    metric: str = "ap",
    *,
    trained: Sequence[str] = (),
    baseline: Sequence[str] = (),
    n_resamples: int = 1000,
    seed: int = 0,
    thresholds: tuple[float, float] = (0.5, 0.5),
    val_thresholds: tuple[float, float] = NO_THRESHOLDS,
    prior: float = 0.5,
) -> RunComparison:
    """Compare two runs on a metric: first minus second, on the same resamples of the same samples.

    Parameters
    ----------
    scores_a : Scores
        Rows of the first run. Runs are matched by generator, sample and label; rows that only one
        of them has are left out, with a note.
    scores_b : Scores
        Rows of the second run, the baseline.
    groups : mapping of str to str
        Family of each generator to compare on.
    metric : str
        One of :data:`featcache.metrics.METRICS`.
    trained : sequence of str
        Generators that either run was trained on.
    baseline : sequence of str
        What the second run is called, e.g. its features.
    n_resamples : int
        Number of bootstrap resamples.
    seed : int
        Seed of the bootstrap.
    thresholds : (float, float)
        Decision thresholds of the two runs, for accuracies.
    val_thresholds : (float, float)
        Validation thresholds of the two runs, for ``acc_val``; NaN for none.
    prior : float in (0, 1)
        Share of fakes for ``ap_prior``.

    Returns
    -------
    RunComparison
        Differences by generator, by family and over all, with intervals and p-values. For AUROC on
        one generator p is DeLong's, by sources where several samples share one.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    DataError
        If the runs have no generator with both classes in common, or group the samples into
        different sources.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, list(METRICS))
    a, b, notes = _match_rows(scores_a, scores_b, groups)
    names = []
    for name in groups:
        if len(np.unique(a.label[a.generator == name])) == 2:
            names.append(str(name))
        else:
            notes.append(f"{str(name)!r} has not both classes in both runs and is left out.")
    if all(groups[name] == CONTROL for name in names):
        raise DataError("The runs have no generator in common that both classes are there for.")
    test = EvaluationRows.from_scores(a, names, n_resamples, seed)
    estimates_a, estimates_b = (
        test.estimate(test.sort_scores(run, *cuts), (metric,), prior)
        for run, *cuts in zip((a, b), thresholds, val_thresholds, strict=True)
    )
    differences = estimates_a - estimates_b
    comparisons = {name: _compare_mean(differences, metric, [name], baseline) for name in names}
    if metric == "auroc":
        comparisons = {
            name: _with_delong(comparisons[name], a, b, rows) for name, rows in test.rows.items()
        }
    result = _combine(differences, metric, comparisons, groups, trained, baseline)
    return replace(
        result,
        n_resamples=n_resamples,
        n_samples=len(a.label),
        notes=notes,
        ci_method=CI_METHOD,
    )


def compare_results(
    first: Run, second: Run, metric: str = "ap", *, baseline: str = ""
) -> RunComparison:
    """Compare two results on all generators of the first; see :func:`compare`.

    Parameters
    ----------
    first : tuple of EvalResult and Scores
    second : tuple of EvalResult and Scores
    metric : str
        One of :data:`featcache.metrics.METRICS`.
    baseline : str
        What the second is called.

    Returns
    -------
    RunComparison
        First less second, each at its own threshold.

    Raises
    ------
    DataError
        If they have no generator in common.
    """
    (a, scores_a), (b, scores_b) = first, second
    groups = {name: result.group for name, result in {**a.generators, **a.controls}.items()}
    return compare(
        scores_a,
        scores_b,
        groups,
        metric,
        trained=[*a.train.generators, *b.train.generators],
        baseline=[baseline],
        thresholds=(a.threshold, b.threshold),
    )


def compare_runs(
    runs: Mapping[str, Run], metric: str = "ap"
) -> dict[tuple[str, str], RunComparison]:
    """Compare every two of several runs, corrected for everything that their table shows.

    Parameters
    ----------
    runs : mapping of str to (EvalResult, Scores)
        At least two runs by name.
    metric : str
        One of :data:`featcache.metrics.METRICS`.

    Returns
    -------
    dict of (str, str) to RunComparison
        First less second, for every pair in the order of ``runs``. ``p_holm`` of generators,
        families and means is corrected over all pairs together (Holm 1979).

    Raises
    ------
    DataError
        If two runs have no generator in common.
    """
    return _correct_together(
        {
            (a, b): compare_results(runs[a], runs[b], metric, baseline=b)
            for a, b in combinations(runs, 2)
        }
    )


def paired_comparison(
    difference: float,
    replicates: NDArray[np.float64],
    metric: str,
    baseline: Sequence[str],
    n_sources: float,
) -> Comparison:
    """Describe a paired difference with its interval and the p-value that agrees with it.

    Parameters
    ----------
    difference : float
        Difference on the test samples.
    replicates : ndarray of shape (n_resamples,), float64
        Difference on every resample.
    metric : str
        Name of the metric.
    baseline : sequence of str
        What the subtrahend is called.
    n_sources : float
        Effective number of sources.

    Returns
    -------
    Comparison
        Not corrected: ``p_holm`` is ``p``.
    """
    ci, p = difference_ci(difference, replicates, n_sources)
    varies = np.isfinite(replicates).any() and np.nanstd(replicates) > 0
    return Comparison(
        other=list(baseline),
        metric=metric,
        difference=difference,
        ci=ci,
        p=p,
        p_holm=p,
        detectable=_detectable(ci, max(n_sources - 1, MIN_DF)) if varies else float("nan"),
    )


def _detectable(ci: tuple[float, float], df: float) -> float:
    """Return the difference found with a power of 80 %: (t(.975) + t(.8)) standard errors."""
    t = student.ppf([0.975, 0.8], df)
    return float((ci[1] - ci[0]) / 2 * t.sum() / t[0])


def correct_comparisons(comparisons: Mapping[Key, Comparison]) -> dict[Key, Comparison]:
    """Correct the p-values of a family of comparisons by Holm's procedure.

    Parameters
    ----------
    comparisons : mapping of key to Comparison
        All comparisons of one table.

    Returns
    -------
    dict of key to Comparison
        The same with ``p_holm``.
    """
    corrected = holm([comparison.p for comparison in comparisons.values()])
    pairs = zip(comparisons.items(), corrected, strict=True)
    return {key: replace(comparison, p_holm=p) for (key, comparison), p in pairs}


def _compare_mean(
    differences: Estimates, metric: str, generators: Sequence[str], baseline: Sequence[str]
) -> Comparison:
    """Compare the means over some generators; not corrected."""
    value = float(np.mean([differences.values[name][metric] for name in generators]))
    replicates = differences.mean_replicates(metric, generators)
    n_sources = differences.n_sources(generators)
    return paired_comparison(value, replicates, metric, baseline, n_sources)


def _combine(
    differences: Estimates,
    metric: str,
    comparisons: Mapping[str, Comparison],
    groups: Mapping[str, str],
    trained: Sequence[str],
    baseline: Sequence[str],
) -> RunComparison:
    """Compare the means over families and over all, and correct for everything together."""
    names = [name for name in comparisons if groups[name] != CONTROL]
    families: dict[str, list[str]] = defaultdict(list)
    for name in names:
        families[groups[name]].append(name)
    unseen = {
        family: [name for name in members if name not in trained]
        for family, members in families.items()
    }

    def compare_means(tables: Mapping[str, list[str]]) -> dict[str, Comparison]:
        return {
            family: _compare_mean(differences, metric, members, baseline)
            for family, members in sorted(tables.items())
        }

    all_unseen = [name for name in names if name not in trained]
    means = compare_means({"all": names} | ({"unseen": all_unseen} if all_unseen else {}))
    ours = np.array([[comparisons[name].difference, 0.0] for name in names])
    result = RunComparison(
        metric=metric,
        other=list(baseline),
        generators={name: comparisons[name] for name in names},
        groups=compare_means(families),
        groups_unseen=compare_means(
            {f: members for f, members in unseen.items() if 0 < len(members) < len(families[f])}
        ),
        overall=means["all"],
        unseen=means.get("unseen"),
        controls={name: c for name, c in comparisons.items() if groups[name] == CONTROL},
        wilcoxon_p=rank_tests(ours).wilcoxon_p[0, 1],
    )
    return _correct_together({0: result})[0]


def _correct_together(results: Mapping[Key, RunComparison]) -> dict[Key, RunComparison]:
    """Correct all comparisons of one table as one family: a reader looks for the small p in all."""
    flat = {
        (key, kind, name): comparison
        for key, result in results.items()
        for kind, table in _tables(result).items()
        for name, comparison in table.items()
    }
    corrected = correct_comparisons(flat)
    done = {}
    for key, result in results.items():
        new = {
            kind: {name: corrected[key, kind, name] for name in table}
            for kind, table in _tables(result).items()
        }
        done[key] = replace(
            result,
            generators=new["generators"],
            groups=new["groups"],
            groups_unseen=new["groups_unseen"],
            overall=new["means"]["all"],
            unseen=new["means"].get("unseen"),
            controls=new["controls"],
        )
    return done


def _tables(result: RunComparison) -> dict[str, dict[str, Comparison]]:
    """Return the comparisons of a result by field; those of the means have one table."""
    means = {"all": result.overall} | ({"unseen": result.unseen} if result.unseen else {})
    fields_of_tables = ("generators", "groups", "groups_unseen", "controls")
    return {name: getattr(result, name) for name in fields_of_tables} | {"means": means}


def _with_delong(
    comparison: Comparison, a: Scores, b: Scores, rows: NDArray[np.intp]
) -> Comparison:
    """Use DeLong's test and interval: by sources, where several samples share one."""
    _, numbers = np.unique(a.source[rows].astype(str), return_inverse=True)
    clustered = int(numbers.max()) + 1 < len(rows)
    label = a.label[rows]
    variance, p = delong(label, a.logit[rows], b.logit[rows], numbers if clustered else None)
    if not np.isfinite(p):
        return comparison
    df = np.inf
    if clustered:
        df = min(len(np.unique(numbers[label == c])) for c in (0, 1)) - 1
    half = float(student.ppf(0.975, df) * np.sqrt(variance))
    ci = (comparison.difference - half, comparison.difference + half)
    return replace(
        comparison,
        ci=ci,
        p=p,
        p_holm=p,
        test="delong-clustered" if clustered else "delong",
        detectable=_detectable(ci, df),
    )


def _match_rows(
    a: Scores, b: Scores, groups: Mapping[str, str]
) -> tuple[Scores, Scores, list[str]]:
    """Return the rows that both runs have, in one order, and a note about those left out."""
    rows_a, rows_b = _rows_by_sample(a, groups), _rows_by_sample(b, groups)
    common = sorted(rows_a.keys() & rows_b.keys())
    if not common:
        raise DataError("The two runs have no test sample in common, so nothing can be compared.")
    matched_a, matched_b = (
        Scores(**{f.name: getattr(run, f.name)[[rows[key] for key in common]] for f in fields(run)})
        for run, rows in ((a, rows_a), (b, rows_b))
    )
    # Sources may have other names in the two runs, but they must group the same samples.
    sources_a, sources_b = source_numbers(matched_a).tolist(), source_numbers(matched_b).tolist()
    pairs = set(zip(sources_a, sources_b, strict=True))
    if not len(pairs) == len(set(sources_a)) == len(set(sources_b)):
        raise DataError(
            "The two runs count different samples as independent (their sources differ). "
            "Scan the data with one --source-pattern and probe both again."
        )
    n_single = len(rows_a) + len(rows_b) - 2 * len(common)
    note = f"{n_single:,} rows of scores that only one of the runs has are left out."
    return matched_a, matched_b, [note] if n_single else []


def _rows_by_sample(
    scores: Scores, groups: Mapping[str, str]
) -> dict[tuple[str, str, int, int], int]:
    """Return the row of each sample by generator, sample id, label and number of the copy."""
    copies: Counter[tuple[str, str, int]] = Counter()
    rows = {}
    keys = zip(scores.generator, scores.sample_id, scores.label.tolist(), strict=True)
    for row, key in enumerate(keys):
        if key[0] in groups:
            rows[(*key, copies[key])] = row
            copies[key] += 1
    return rows
