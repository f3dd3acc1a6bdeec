"""Two runs on the same test samples: how they differ, and whether that is more than chance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from featcache.datasets.families import CONTROL
from featcache.errors import DataError, unknown_name
from featcache.evaluate.scoring import resamples_of, units_of
from featcache.metrics import (
    METRICS,
    SortedScores,
    bootstrap,
    delong,
    holm,
    percentile_ci,
    point_metrics,
    two_sided_p,
)
from featcache.results import Comparison, RunComparison, Scores

NO_THRESHOLDS = (float("nan"), float("nan"))


@dataclass(frozen=True)
class _Differences:
    """Differences per generator, on the samples and on each resample, and what is common to all."""

    points: dict[str, float]
    replicates: dict[str, NDArray[np.float64]]
    metric: str
    other: list[str]

    def mean(self, names: Sequence[str]) -> Comparison:
        """Compare the means over some generators; not corrected."""
        point = float(np.mean([self.points[name] for name in names]))
        replicates = np.mean([self.replicates[name] for name in names], axis=0)
        p = two_sided_p(point, replicates)
        return Comparison(
            other=self.other,
            metric=self.metric,
            difference=point,
            ci=percentile_ci(replicates),
            p=p,
            p_holm=p,
        )


def compare(
    scores_a: Scores,
    scores_b: Scores,
    groups: Mapping[str, str],
    metric: str = "ap",
    *,
    trained: Sequence[str] = (),
    other_groups: Sequence[str] = (),
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
        Rows are matched by generator, sample and label; rows of one run only are left out, with a
        note.
    scores_b : Scores
        Rows are matched by generator, sample and label; rows of one run only are left out, with a
        note.
    groups : mapping of str to str
        Family of each generator to compare on.
    metric : str
        One of :data:`featcache.metrics.METRICS`.
    trained : sequence of str
        Generators that either run was trained on.
    other_groups : sequence of str
        What the second run is called.
    n_resamples : int
        Of the bootstrap.
    seed : int
        Of the bootstrap.
    thresholds : (float, float)
        Of the two runs, for accuracies.
    val_thresholds : (float, float)
        Of the two runs, for accuracies.
    prior : float in (0, 1)
        For ``ap_prior``.

    Returns
    -------
    RunComparison

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    DataError
        If the runs have no generator with both classes in common, or count other samples as
        independent.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, list(METRICS))
    a, b, notes = _matched(scores_a, scores_b, groups)
    rows, left = _rows(a, groups)
    runs = (a, b)
    ranked = {
        (run, name): SortedScores.of(
            one.label[generator_rows],
            one.score[generator_rows],
            thresholds[run],
            val_thresholds[run],
            one.logit[generator_rows],
        )
        for run, one in enumerate(runs)
        for name, generator_rows in rows.items()
    }
    unit_of = units_of(a)
    sources = {(run, name): unit_of[rows[name]] for run, name in ranked}
    resamples = resamples_of(a, unit_of, n_resamples, seed)
    replicates = bootstrap(ranked, sources, resamples, (metric,), prior)
    not_compared = list(other_groups)
    points = {key: point_metrics(curve, (metric,), prior)[metric] for key, curve in ranked.items()}
    names = [name for run, name in ranked if run == 0]
    differences = _Differences(
        points={name: points[0, name] - points[1, name] for name in names},
        replicates={
            name: replicates[0, name][metric] - replicates[1, name][metric] for name in names
        },
        metric=metric,
        other=not_compared,
    )
    comparisons = {name: differences.mean([name]) for name in rows}
    if metric == "auroc":
        comparisons = {
            name: _delong(comparisons[name], a, b, rows_of_name, unit_of)
            for name, rows_of_name in rows.items()
        }
    gathered = _gather(differences, comparisons, groups, trained)
    return replace(gathered, n_resamples=n_resamples, n_samples=len(a.label), notes=notes + left)


def _gather(
    differences: _Differences,
    comparisons: dict[str, Comparison],
    groups: Mapping[str, str],
    trained: Sequence[str],
) -> RunComparison:
    """Take the means over groups and over all, and correct each family of comparisons."""
    names = [name for name in comparisons if groups[name] != CONTROL]
    if not names:
        raise DataError("The runs have no generator in common that both classes are there for.")
    members: dict[str, list[str]] = defaultdict(list)
    for name in names:
        members[groups[name]].append(name)
    fresh = {
        group: [n for n in members_of_group if n not in trained]
        for group, members_of_group in members.items()
    }
    mixed = {
        group: members_of_group
        for group, members_of_group in fresh.items()
        if 0 < len(members_of_group) < len(members[group])
    }
    unseen = [name for name in names if name not in trained]
    return RunComparison(
        metric=differences.metric,
        other=differences.other,
        generators=_corrected({name: comparisons[name] for name in names}),
        groups=_corrected(
            {
                group: differences.mean(members_of_group)
                for group, members_of_group in sorted(members.items())
            }
        ),
        groups_unseen=_corrected(
            {
                group: differences.mean(members_of_group)
                for group, members_of_group in sorted(mixed.items())
            }
        ),
        overall=differences.mean(names),
        unseen=differences.mean(unseen) if unseen else None,
        controls=_corrected({n: comparisons[n] for n in comparisons if groups[n] == CONTROL}),
    )


def _corrected(comparisons: dict[str, Comparison]) -> dict[str, Comparison]:
    corrected = holm([comparison.p for comparison in comparisons.values()])
    return {
        name: replace(comparison, p_holm=p)
        for (name, comparison), p in zip(comparisons.items(), corrected, strict=True)
    }


def _delong(
    comparison: Comparison, a: Scores, b: Scores, rows: NDArray[np.intp], unit_of: NDArray[np.intp]
) -> Comparison:
    """Take DeLong's p-value where each sample is a unit of its own; it knows no clusters."""
    if len(np.unique(unit_of[rows])) < len(rows):
        return comparison
    _, p = delong(a.label[rows], a.score[rows], b.score[rows])
    return replace(comparison, p=p, p_holm=p, test="delong") if np.isfinite(p) else comparison


def _rows(
    scores: Scores, groups: Mapping[str, str]
) -> tuple[dict[str, NDArray[np.intp]], list[str]]:
    """Return the rows of each generator that has both classes, and notes about the others."""
    rows, notes = {}, []
    for name in groups:
        rows_of_name = np.flatnonzero(scores.generator == name)
        if len(np.unique(scores.label[rows_of_name])) == 2:
            rows[str(name)] = rows_of_name
        else:
            notes.append(f"{str(name)!r} has not both classes in both runs and is left out.")
    return rows, notes


def _matched(a: Scores, b: Scores, groups: Mapping[str, str]) -> tuple[Scores, Scores, list[str]]:
    """Return the rows that both runs have, in one order, and a note about the others."""
    place_a, place_b = _places(a, groups), _places(b, groups)
    common = sorted(place_a.keys() & place_b.keys())
    if not common:
        raise DataError("The two runs have no test sample in common, so nothing can be compared.")
    one = _rows_of(a, [place_a[key] for key in common])
    two = _rows_of(b, [place_b[key] for key in common])
    if (units_of(one) != units_of(two)).any() and not _same_partition(one, two):
        raise DataError(
            "The two runs count different samples as independent (their sources differ). "
            "Scan the data with one --source-pattern and probe both again."
        )
    alone = len(place_a) + len(place_b) - 2 * len(common)
    note = f"{alone:,} rows of scores that only one of the runs has are left out."
    return one, two, [note] if alone else []


def _same_partition(a: Scores, b: Scores) -> bool:
    """Say whether two namings of the sources put the same samples together."""
    pairs = set(zip(units_of(a).tolist(), units_of(b).tolist(), strict=True))
    return len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs})


def _places(scores: Scores, groups: Mapping[str, str]) -> dict[tuple[str, str, int, int], int]:
    """Return the row of each sample; copies of one content are told apart by counting."""
    seen: Counter[tuple[str, str, int]] = Counter()
    places = {}
    for row, key in enumerate(
        zip(scores.generator, scores.sample_id, scores.label.tolist(), strict=True)
    ):
        if key[0] in groups:
            places[(*key, seen[key])] = row
            seen[key] += 1
    return places


def _rows_of(scores: Scores, rows: list[int]) -> Scores:
    return Scores(**{item.name: getattr(scores, item.name)[rows] for item in fields(Scores)})
