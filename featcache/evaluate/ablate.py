"""The ablation: every feature set at its C, judged on the same resamples, compared and ranked."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from featcache._version import __version__
from featcache.backbones.names import canonical
from featcache.cache import FeatureStore
from featcache.datasets import Manifest
from featcache.errors import SettingsError, unknown_name
from featcache.evaluate import data
from featcache.evaluate.ablate_rows import Row, describe_row, fit_rows, names_of, variants
from featcache.evaluate.diagnose import redundant
from featcache.evaluate.options import AblateOptions
from featcache.evaluate.ranking import (
    baselines,
    best_singles,
    compare_rows,
    metric_of,
    sortable,
)
from featcache.evaluate.saved import find_saved
from featcache.evaluate.sets import Set
from featcache.evaluate.shapley import contributions
from featcache.evaluate.similarity import similarity
from featcache.evaluate.study import prepare
from featcache.hashing import digest_json
from featcache.metrics import METRICS
from featcache.results import AblationResult

MAX_FEATURES = 10
"""All subsets of more features than this would be more than a thousand rows: name those you want."""


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
    studies = [prepare(manifest, store, probe) for probe in variants(options)]
    asked = {"sets": [list(s) for s in sets], "baseline": list(baseline), "sort": options.sort}
    digests = [study.digest(ablation=asked) for study in studies]
    digest = digests[0] if len(digests) == 1 else digest_json(digests)
    if saved := find_saved(options.kept or store.root, digest, AblationResult):
        return saved
    rows = [row for study in studies for row in fit_rows(study, sets)]
    result = _result(rows, baseline, options.sort)
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


def _result(rows: list[Row], baseline: Set, sort: str) -> AblationResult:
    study, metric = rows[0].study, metric_of(sort)
    notes = [note for row in rows for note in row.study.notes]
    best, base = best_singles(rows, notes), baselines(rows, baseline, notes)
    vs_best, vs_base = compare_rows(rows, best, metric), compare_rows(rows, base, metric)
    made = [describe_row(row, vs_best.get(i), vs_base.get(i)) for i, row in enumerate(rows)]
    made.sort(key=lambda row: -sortable(row.means[metric].value, metric))
    alike = similarity(study)
    notes += [found.sentence for found in redundant(alike)]
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
        contributions=contributions(options.features, {row.blocks: row.judged for row in first}),
        similarity=alike,
        groups=study.groups,
        controls=list(rows[0].judged.controls),
        keys=[dict(key.fields) for key in study.test_keys[0]],
        notes=list(dict.fromkeys(notes)),
        versions={"featcache": __version__, "numpy": np.__version__},
        head=", ".join(dict.fromkeys(row.study.options.head for row in rows)),
        scaling=options.scaling if options.head == "logistic" else "own",
        C_grid=options.grid or [options.C],
        threshold=options.threshold,
    )


def _of_first(row: Row) -> str:
    """Say which variant the numbers are of that stand once in a table of several."""
    study = row.study
    trained = data.describe_training(study.train, study.train_views)
    return (
        "What each feature adds, the similarity and the best single feature's name are those of the "
        f"first variant: head {study.options.head}, trained on {', '.join(trained.generators)} "
        f"({', '.join(study.train_views)}), tested on {study.test_views[row.view]}."
    )
