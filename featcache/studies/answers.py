"""The first sentence of a study's report: the answer to its question, with the numbers behind
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from featcache.reports.formatting import (
    SIGNIFICANT,
    Estimate,
    escape_controls,
    format_fraction,
    format_list,
)
from featcache.reports.headline import probe_headline
from featcache.studies.result import BoundaryPoint, Difference, RunResult, StudyResult

CONVOLUTIONAL = (
    "resnet",
    "rn50",
    "efficientnet",
    "convnext",
    "regnet",
    "mobilenet",
    "vgg",
    "densenet",
)
"""Beginnings or parts of names that say that a backbone convolves; all others here are
transformers.
"""


def format_answer(kind: str, result: StudyResult) -> str:
    """Return the first sentence of the report.

    Parameters
    ----------
    kind : str
        The study's ``format_answer``.
    result : StudyResult

    Returns
    -------
    str
        The first sentence of the report.
    """
    return ANSWERS[kind](result)


def _finding(study: StudyResult) -> str:
    return probe_headline(study.runs[0].result)


def _paper(study: StudyResult) -> str:
    baseline = study.runs[0].name
    unseen = "GAN, unseen" if any(d.over == "GAN, unseen" for d in study.differences) else "unseen"
    single = [
        d for d in study.differences if d.over == unseen and "+" not in d.run and d.metric == "mAP"
    ]
    both = [d for d in study.differences if d.over == "all" and "+" in d.run and d.metric == "mAP"]
    where = "unseen GANs" if unseen.startswith("GAN") else "unseen generators"
    clauses = [
        f"{escape_controls(d.run)} {_gain(d)} on {where}{_paper_sentence(study, d)}" for d in single
    ]
    clauses += [
        f"{escape_controls(d.run)} {_gain(d)} over all{_paper_sentence(study, d)}" for d in both
    ]
    return (
        f"Against {escape_controls(baseline)}, in points of mAP:"
        f" {'; '.join(clauses) or 'nothing to compare'}."
    )


def _paper_sentence(study: StudyResult, difference: Difference) -> str:
    for reference in study.references:
        for one in reference.comparisons:
            if reference.run == difference.run and one.name == difference.metric:
                return f" (the paper: {100 * one.published:+.1f})"
    return ""


def _univfd(study: StudyResult) -> str:
    first = study.runs[0]
    text = f"A linear head on {_features(first)} reaches mAP {_mean(first)}"
    if (row := next((r for r in study.references if r.published.metric == "ap"), None)) is not None:
        inside = sum(one.inside for one in row.comparisons)
        text += (
            f"; {inside} of {len(row.comparisons)} published APs lie in its intervals"
            if row.comparisons
            else ""
        )
    others = [d for d in study.differences if d.over == "all" and d.metric == "mAP"]
    knn = next((d for d in others if d.run == f"{first.name}, knn"), None)
    return text + (f"; nearest neighbours {_gain(knn)}" if knn else "") + "."


def _robustness(study: StudyResult) -> str:
    clauses = []
    for run in study.runs:
        if not run.result.views:
            continue
        worst = min(run.result.views.values(), key=lambda view: view.mAP)
        fall = run.result.mAP - worst.mAP
        clauses.append(
            f"{escape_controls(run.name)} falls from {format_fraction(run.result.mAP)} to"
            f" {format_fraction(worst.mAP)} ({worst.view}, {-100 * fall:+.1f} points)"
        )
    return f"In mAP, clean against the worst view: {'; '.join(clauses) or 'no view was tested'}."


def _architecture(study: StudyResult) -> str:
    baseline = study.runs[0]
    rows = [d for d in study.differences if d.over == "all" and d.metric == "mAP"]
    named = [f"{escape_controls(d.run)} ({_family(d.run)}) {_gain(d)}" for d in rows]
    against = f"{escape_controls(baseline.name)} ({_family(baseline.name)}, mAP {_mean(baseline)})"
    return f"Against {against}: {'; '.join(named) or 'no other architecture was run'}."


def _mixture(study: StudyResult) -> str:
    blind = [run for run in study.runs if run.run.head == "oneclass"]
    seeing = {run.run.features: run for run in study.runs if run.run.head == "logistic"}
    clauses = []
    for run in blind:
        aps = [m for m in study.mixtures if m.run == run.name]
        shares = ", ".join(f"{format_fraction(m.ap)} at {m.share:.0%} fakes" for m in aps)
        reference = seeing.get(run.run.features)
        beside = f" (AUROC {_auroc(run)}, with reals {_auroc(reference)})" if reference else ""
        clauses.append(f"{_features(run)} reaches AP {shares}{beside}")
    return f"Fitted on fakes alone, without a single photograph: {'; '.join(clauses)}."


def _boundary(study: StudyResult) -> str:
    clauses = []
    for run in study.runs:
        points = [point for point in study.boundary if point.run == run.name]
        seen = [text for text in _first_seen(points) if text]
        blind = sorted({p.artefact for p in points} - {p.artefact for p in points if p.seen})
        listed = format_list(seen) if seen else "nothing"
        never = f", never {format_list(blind)}" if blind else ""
        clauses.append(f"{escape_controls(run.name)} sees {listed}{never}")
    return f"From which strength on AP lies above chance: {'; '.join(clauses)}."


def _first_seen(points: list[BoundaryPoint]) -> Iterator[str]:
    """Yield each artefact with the least strength from which on it is seen at every greater one."""
    for artefact in sorted({point.artefact for point in points}):
        points_of_artefact = sorted(
            (p for p in points if p.artefact == artefact), key=lambda p: -p.strength
        )
        least = math.nan
        for point in points_of_artefact:
            if not point.seen:
                break
            least = point.strength
        yield f"{artefact} from {least:g}" if math.isfinite(least) else ""


def _layers(study: StudyResult) -> str:
    final = study.runs[0]
    best = max(study.runs, key=lambda run: run.result.mAP)
    if best is final:
        return f"No layer beats the final feature of {_features(final)}: mAP {_mean(final)}."
    difference = study.difference(best.name)
    gain = f" ({_gain(difference)})" if difference else ""
    return (
        f"The best layer on these test sets is {escape_controls(best.name)} with mAP {_mean(best)},"
        f" against {_mean(final)} of the final feature{gain}; it was picked by looking at the test"
        " sets."
    )


def _finetune(study: StudyResult) -> str:
    clauses = []
    for run in study.runs:
        if not run.run.tuned:
            continue
        unseen, overall = (study.difference(run.name, over) for over in ("unseen", "all"))
        changes = [f"{_gain(d)} {scope}" for d, scope in (
            (unseen, "on unseen generators"), (overall, "over all")) if d]  # fmt: skip
        clauses.append(f"{escape_controls(run.name)}: {', '.join(changes) or 'nothing to compare'}")
    return (
        "Against the frozen backbone, in points of mAP:"
        f" {'; '.join(clauses) or 'nothing was trained'}."
    )


def _family(name: str) -> str:
    return "convolutional" if any(part in name for part in CONVOLUTIONAL) else "transformer"


def _features(run: RunResult) -> str:
    return " + ".join(map(escape_controls, run.run.features))


def _mean(run: RunResult) -> str:
    return Estimate.of(run.result.mAP, run.result.mAP_ci).fraction


def _auroc(run: RunResult) -> str:
    mean = run.result.means.get("auroc")
    return format_fraction(mean.value) if mean else "n/a"


def _gain(difference: Difference) -> str:
    """Return a difference in points with its interval, and whether it could be chance."""
    low, high = (100 * end for end in difference.ci)
    p = difference.p if math.isnan(difference.p_holm) else difference.p_holm
    doubt = "" if p < SIGNIFICANT else ", not significant"
    return f"{100 * difference.value:+.1f} [{low:+.1f}, {high:+.1f}]{doubt}"


ANSWERS: dict[str, Callable[[StudyResult], str]] = {
    "finding": _finding,
    "paper": _paper,
    "univfd": _univfd,
    "robustness": _robustness,
    "architecture": _architecture,
    "mixture": _mixture,
    "boundary": _boundary,
    "layers": _layers,
    "finetune": _finetune,
}
