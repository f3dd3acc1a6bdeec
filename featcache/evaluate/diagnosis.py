"""Signatures of failure turned into checks, each with the sentence that says what it usually
means.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from featcache.results import Diagnosis, EvalResult, GeneratorResult

GOOD_AP = 0.9
ONE_CLASS_WRONG = 0.7
CHANCE_AUROC = 0.6
DROP = 0.15
FEW = 100
REDUNDANT = 0.9
"""CKA above which two features say nearly the same."""


def diagnose(result: EvalResult) -> list[Diagnosis]:
    """Return what the numbers of a probe run point to, the gravest first; empty where nothing does.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    list[Diagnosis]
        What the numbers of a probe run point to, the gravest first.
    """
    return [
        *[
            Diagnosis(code="leak", sentence=f"{note} The numbers are too good.")
            for note in result.notes
            if note.startswith("Leak:")
        ],
        *_threshold(result),
        *_no_signal(result),
        *_no_generalisation(result),
        *_controls(result),
        *_few(result),
    ]


def redundant(similarity: Mapping[str, Mapping[str, float]]) -> list[Diagnosis]:
    """Return the pairs of features that say nearly the same (linear CKA).

    Parameters
    ----------
    similarity : Mapping[str, Mapping[str, float]]
        CKA of each pair of features.

    Returns
    -------
    list[Diagnosis]
        The pairs of features that say nearly the same (linear CKA).
    """
    names = list(similarity)
    return [
        Diagnosis(
            code="redundant",
            sentence=(
                f"{a} and {b} are nearly the same feature (CKA {similarity[a][b]:.2f}): "
                "joining them adds width, not information."
            ),
        )
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if similarity[a][b] > REDUNDANT
    ]


def _threshold(result: EvalResult) -> list[Diagnosis]:
    """High AP and one class wrong: the order is right, the threshold is not."""
    bad = {
        name: "reals" if metrics.r_acc < metrics.f_acc else "fakes"
        for name, metrics in result.generators.items()
        if metrics.ap >= GOOD_AP and min(metrics.r_acc, metrics.f_acc) < ONE_CLASS_WRONG
    }
    if not bad:
        return []
    n_real, n_fake = result.train.n_real, result.train.n_fake
    uneven = max(n_real, n_fake) > 1.5 * min(n_real, n_fake)
    why = (
        f"the training set is uneven ({n_real:,} reals, {n_fake:,} fakes)"
        if uneven
        else "the scores have moved away from the threshold"
    )
    wrong = ", ".join(f"{name} ({which})" for name, which in bad.items())
    sentence = (
        f"AP is high and one class is often wrong at {result.threshold:g}: {wrong}. The order is"
        f" right and the threshold is not: {why}. See the accuracy at the validation threshold."
    )
    return [Diagnosis(code="threshold", sentence=sentence, generators=list(bad))]


def _no_signal(result: EvalResult) -> list[Diagnosis]:
    blind = [name for name, metrics in result.generators.items() if metrics.auroc < CHANCE_AUROC]
    if not blind:
        return []
    if len(blind) == len(result.generators):
        text = (
            "Reals and fakes score alike on every generator: these features do not tell them apart."
        )
    else:
        text = f"Reals and fakes of {', '.join(blind)} score alike: the probe does not see them."
    return [Diagnosis(code="not-discriminative", sentence=text, generators=blind)]


def _no_generalisation(result: EvalResult) -> list[Diagnosis]:
    seen, unseen = _split(result.generators, result.train.generators)
    if not seen or not unseen:
        return []
    seen_ap, unseen_ap = _mean(seen), _mean(unseen)
    if seen_ap - unseen_ap < DROP:
        return []
    sentence = (
        f"AP is {seen_ap:.2f} on generators of the training set and {unseen_ap:.2f} on others: the"
        " probe has learned what is particular to its training generators. Try other or joined"
        " features, a smaller C, or more training generators."
    )
    return [Diagnosis(code="no-generalisation", sentence=sentence, generators=list(unseen))]


def _controls(result: EvalResult) -> list[Diagnosis]:
    seen = [name for name, metrics in result.controls.items() if metrics.auroc_ci[0] > CHANCE_AUROC]
    if not seen:
        return []
    sentence = (
        f"Processed photographs that no generator made count as fake too ({', '.join(seen)}): part"
        " of what the probe sees is the processing."
    )
    return [Diagnosis(code="control", sentence=sentence, generators=seen)]


def _few(result: EvalResult) -> list[Diagnosis]:
    few = [n for n, g in result.generators.items() if min(g.n_real, g.n_fake) < FEW]
    if not few:
        return []
    sentence = (
        f"Fewer than {FEW} reals or fakes in {', '.join(few)}: differences smaller than the"
        " intervals mean nothing."
    )
    return [Diagnosis(code="few-samples", sentence=sentence, generators=few)]


def _split(
    generators: Mapping[str, GeneratorResult], trained: list[str]
) -> tuple[dict[str, GeneratorResult], dict[str, GeneratorResult]]:
    seen = {name: result for name, result in generators.items() if name in trained}
    return seen, {name: result for name, result in generators.items() if name not in trained}


def _mean(generators: Mapping[str, GeneratorResult]) -> float:
    return fmean(result.ap for result in generators.values())
