"""Rows of an ablation against each other: the best single feature, the baseline, paired and corrected."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from featcache.evaluate.ablate_rows import Row
from featcache.evaluate.sets import Set
from featcache.evaluate.study import Study
from featcache.metrics import holm, interval, two_sided_p
from featcache.results import Comparison

ON_TEST = (
    "The best single feature was chosen on test data, as there are no validation data: "
    "comparisons with it are cautious."
)
OTHER_TESTS = "Rows whose test samples are others than the baseline's are not compared with it."


def metric_of(sort: str) -> str:
    """Return the metric that a table is sorted and compared by."""
    return "ap" if sort == "mAP" else sort


def sortable(value: float, metric: str) -> float:
    """Return a number that is higher for better rows; errors are better when low."""
    if math.isnan(value):
        return -math.inf
    return -value if metric in ("eer", "brier", "ece") else value


def best_singles(rows: Sequence[Row], notes: list[str]) -> dict[int, Row]:
    """Return for each row, by its position, the best single feature of the same study and view.

    Chosen on validation data; on test data only with a note.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault((id(row.study), row.view), []).append(i)
    found: dict[int, Row] = {}
    for places in groups.values():
        if best := _best_single([rows[i] for i in places], notes):
            found |= dict.fromkeys(places, best)
    return found


def _best_single(rows: Sequence[Row], notes: list[str]) -> Row | None:
    singles = [row for row in rows if len(row.blocks) == 1]
    if not singles:
        return None
    validated = [_validated(row) for row in singles]
    if all(math.isfinite(value) for value in validated):
        return singles[int(np.argmax(validated))]
    notes.append(ON_TEST)
    return singles[int(np.argmax([row.judged.mean("ap").value for row in singles]))]


def _validated(row: Row) -> float:
    selection = row.fitted.selection
    if selection is None:
        return math.nan
    return next(point.score for point in selection.path if point.C == row.fitted.C)


def baselines(rows: Sequence[Row], blocks: Set, notes: list[str]) -> dict[int, Row]:
    """Return for each row, by its position, the baseline on the same view: of the first study."""
    first = {row.view: row for row in reversed(rows) if row.blocks == blocks}
    first |= {row.view: row for row in rows if row.blocks == blocks and row.study is rows[0].study}
    found = {i: first[row.view] for i, row in enumerate(rows) if row.view in first}
    fair = {i: base for i, base in found.items() if _same_tests(rows[i].study, base.study)}
    if len(fair) < len(found):
        notes.append(OTHER_TESTS)
    return fair


def _same_tests(a: Study, b: Study) -> bool:
    return a is b or {n: [s.sample_id for s in rows] for n, rows in a.tests.items()} == {
        n: [s.sample_id for s in rows] for n, rows in b.tests.items()
    }


def compare_rows(
    rows: Sequence[Row], partners: Mapping[int, Row], metric: str
) -> dict[int, Comparison]:
    """Compare rows with their partners on the same resamples, corrected for the number of all."""
    found = {}
    for i, partner in partners.items():
        row = rows[i]
        if row is partner:
            continue
        difference = row.judged.mean(metric).value - partner.judged.mean(metric).value
        draws = row.draws(metric) - partner.draws(metric)
        found[i] = Comparison(
            other=partner.names,
            metric=metric,
            difference=difference,
            ci=interval(draws),
            p=two_sided_p(difference, draws),
            p_holm=math.nan,
        )
    corrected = holm([each.p for each in found.values()])
    return {
        i: replace(each, p_holm=p) for (i, each), p in zip(found.items(), corrected, strict=True)
    }
