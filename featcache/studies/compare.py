"""What runs say together: differences on the same resamples, published rows, mixtures,
boundaries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from featcache.backbones.names import canonical_name
from featcache.datasets.simulate import split_generator
from featcache.evaluate import ap_at_priors, compare
from featcache.metrics import holm
from featcache.results import Comparison as Paired
from featcache.results import Interval, RunComparison, Scores
from featcache.studies.published import Published, compare_with_published, published_row
from featcache.studies.result import BoundaryPoint, Difference, MixtureAP, Reference, RunResult

METRICS = {"mAP": "ap", "mean_acc": "acc"}
"""Means that runs are compared in, and the metric behind each."""

Own = Mapping[str, tuple[float, Interval]]


def differences(
    runs: Sequence[RunResult],
    baseline: RunResult,
    scores: Mapping[str, Scores],
    *,
    n_resamples: int,
) -> list[Difference]:
    """Return every run minus the baseline, by mean and by group of generators.

    Runs on another training set than the baseline's are compared all the same: their test samples
    are the same.

    Parameters
    ----------
    runs : Sequence[RunResult]
        Results of the study's runs.
    baseline : RunResult
        Run that the others are compared with.
    scores : Mapping[str, Scores]
        Labels, logits and probabilities of the test samples.
    n_resamples : int
        Number of bootstrap replicates.

    Returns
    -------
    list[Difference]
        Every run minus the baseline, by mean and by group of generators.
    """
    result = [
        difference
        for run in runs
        if run is not baseline
        for metric in METRICS
        for difference in _pair(run, baseline, scores, metric, n_resamples)
    ]
    return _corrected(result)


def _pair(
    run: RunResult,
    baseline: RunResult,
    scores: Mapping[str, Scores],
    metric: str,
    n_resamples: int,
) -> Iterator[Difference]:
    everything = run.result.generators | run.result.controls
    paired = compare(
        scores[run.name],
        scores[baseline.name],
        {name: metrics.group for name, metrics in everything.items()},
        METRICS[metric],
        trained=sorted({*run.result.train.generators, *baseline.result.train.generators}),
        baseline=baseline.result.features,
        n_resamples=n_resamples,
        thresholds=(run.result.threshold, baseline.result.threshold),
    )
    for over, one in _overs(paired):
        yield Difference(
            run=run.name,
            baseline=baseline.name,
            over=over,
            metric=metric,
            value=one.difference,
            ci=one.ci,
            p=one.p,
        )


def _overs(paired: RunComparison) -> Iterator[tuple[str, Paired]]:
    yield "all", paired.overall
    if paired.unseen is not None:
        yield "unseen", paired.unseen
    yield from paired.groups.items()
    for group, one in paired.groups_unseen.items():
        yield f"{group}, unseen", one


def _corrected(differences: list[Difference]) -> list[Difference]:
    """Correct for everything that the table of differences shows: runs, means and metrics."""
    corrected = holm([difference.p for difference in differences])
    return [replace(d, p_holm=p) for d, p in zip(differences, corrected, strict=True)]


def references(
    names: Sequence[str], runs: Sequence[RunResult], differences: Sequence[Difference]
) -> list[Reference]:
    """Return published rows beside the runs that are like theirs; a row with no such run is left
    out.

    Runs on random weights are like nobody's.

    Parameters
    ----------
    names : Sequence[str]
        Names, in order.
    runs : Sequence[RunResult]
        Results of the study's runs.
    differences : Sequence[Difference]
        Differences between runs.

    Returns
    -------
    list[Reference]
        Published rows beside the runs that are like theirs.
    """
    result = []
    for row in map(published_row, names):
        run = next((run for run in runs if _alike(run, row)), None)
        if run is None:
            continue
        own = (
            _own_means(run, row, differences)
            if row.metric == "difference"
            else {
                name: (getattr(metrics, row.metric), getattr(metrics, f"{row.metric}_ci"))
                for name, metrics in run.result.generators.items()
            }
        )
        if comparisons := compare_with_published(row, own):
            result.append(Reference(published=row, run=run.name, comparisons=comparisons))
    return result


def _alike(run: RunResult, row: Published) -> bool:
    head = "knn" if "-nn-" in row.id else "logistic"
    features = tuple(map(canonical_name, run.run.features))
    same = (features, run.run.train, run.run.head) == (row.features, row.train, head)
    return same and run.run.n_classes is None and not any("#" in f for f in run.result.features)


def _own_means(run: RunResult, row: Published, differences: Sequence[Difference]) -> Own:
    """Return the run's differences over the generators that the published ones are means over."""
    overs = (f"{row.group}, unseen", row.group) if row.unseen else (row.group or "all",)
    own: dict[str, tuple[float, Interval]] = {}
    for over in reversed(overs):
        own_differences = (d for d in differences if (d.run, d.over) == (run.name, over))
        own |= {d.metric: (d.value, d.ci) for d in own_differences}
    return own


def mixture_ap(
    runs: Iterable[RunResult],
    scores: Mapping[str, Scores],
    shares: Sequence[float],
    *,
    n_resamples: int,
) -> list[MixtureAP]:
    """Return each run's mean AP at each share of fakes.

    Parameters
    ----------
    runs : Iterable[RunResult]
        Results of the study's runs.
    scores : Mapping[str, Scores]
        Labels, logits and probabilities of the test samples.
    shares : Sequence[float]
        Shares of fakes.
    n_resamples : int
        Number of bootstrap replicates.

    Returns
    -------
    list[MixtureAP]
        Each run's mean AP at each share of fakes.
    """
    result = []
    for run in runs if shares else ():
        groups = {name: one.group for name, one in run.result.generators.items()}
        ap_of_share = ap_at_priors(scores[run.name], shares, groups=groups, n_resamples=n_resamples)
        result += [
            MixtureAP(
                run=run.name, share=share, ap=estimates["mean"].value, ci=estimates["mean"].ci
            )
            for share, estimates in ap_of_share.items()
        ]
    return result


def detection_boundary(runs: Iterable[RunResult]) -> list[BoundaryPoint]:
    """Return AP by artefact and strength, of generators named ``ARTEFACT@STRENGTH``.

    Parameters
    ----------
    runs : Iterable[RunResult]
        Results of the study's runs.

    Returns
    -------
    list[BoundaryPoint]
        AP by artefact and strength, of generators named ``ARTEFACT@STRENGTH``.
    """
    return [
        BoundaryPoint(
            run=run.name,
            artefact=artefact,
            strength=strength,
            ap=metrics.ap,
            ci=metrics.ap_ci,
            chance=metrics.n_fake / (metrics.n_fake + metrics.n_real),
        )
        for run in runs
        for name, metrics in run.result.generators.items()
        if (simulated := split_generator(name)) is not None
        for artefact, strength in (simulated,)
    ]
