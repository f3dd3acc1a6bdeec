"""Average precision as it would be at other shares of fakes than the test set's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from featcache.datasets.groups import CONTROL
from featcache.errors import DataError
from featcache.evaluate.units import resamples_of, units_of
from featcache.metrics import Sorted, bootstrap, interval, point_metrics
from featcache.results import Mean, Scores


def ap_at_priors(
    scores: Scores,
    priors: Sequence[float],
    *,
    groups: Mapping[str, str] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[float, dict[str, Mean]]:
    """Return the average precision of each generator at stated shares of fakes.

    Parameters
    ----------
    scores : Scores
        Fresh or read by :func:`featcache.evaluate.load_scores`.
    priors : sequence of float in (0, 1)
        Shares of fakes.
    groups : mapping of str to str or None
        Family of each generator to take, controls left out; None takes all that are in ``scores``.
    n_resamples, seed : int
        Of the bootstrap; each prior sees the same resamples.

    Returns
    -------
    dict of float to dict of str to Mean
        Prior to generator to value and 95 % interval; ``"mean"`` is the mean over the generators.

    Raises
    ------
    SettingsError
        If a prior is no share.
    DataError
        If there is no generator, or one of them lacks a class.
    """
    found = groups if groups is not None else dict.fromkeys(sorted(set(scores.generator)), "")
    rows = {
        name: np.flatnonzero(scores.generator == name) for name in found if found[name] != CONTROL
    }
    if not rows:
        raise DataError("There is no generator whose average precision could be stated.")
    unit_of = units_of(scores)
    ranked = {name: Sorted.of(scores.label[at], scores.score[at]) for name, at in rows.items()}
    sources = {name: unit_of[at] for name, at in rows.items()}
    resamples = resamples_of(scores, unit_of, n_resamples, seed)
    table = {}
    for prior in priors:
        values = bootstrap(ranked, sources, resamples, ("ap_prior",), prior)
        points = {name: point_metrics(one, ("ap_prior",), prior) for name, one in ranked.items()}
        draws = {name: values[name]["ap_prior"] for name in ranked}
        each = {
            name: Mean(value=points[name]["ap_prior"], ci=interval(draws[name])) for name in ranked
        }
        mean = float(np.mean([one.value for one in each.values()]))
        table[prior] = {
            **each,
            "mean": Mean(value=mean, ci=interval(np.mean(list(draws.values()), axis=0))),
        }
    return table
