"""Known patterns of failure, recognised in the numbers of a result, and what they usually mean."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from featcache.results import Diagnosis, EvalResult

HIGH_AP = 0.9
"""AP above which the ranking counts as good."""

LOW_CLASS_ACCURACY = 0.7
"""Accuracy on one class below which the threshold counts as wrong."""

CHANCE_AUROC = 0.6
"""AUROC below which a probe counts as blind."""

LARGE_AP_DROP = 0.15
"""Drop of AP to unseen generators that counts as a failure to generalise."""

FEW_SAMPLES = 100
"""Samples of a class below which small differences are not meaningful."""

REDUNDANT_CKA = 0.9
"""CKA above which two features count as nearly the same."""


def diagnose(result: EvalResult) -> list[Diagnosis]:
    """Recognise patterns of failure in the result of a probe.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    list of Diagnosis
        The most serious first; empty where nothing is recognised.
    """
    leaks = [
        Diagnosis(code="leak", sentence=f"{note} The numbers are too good.")
        for note in result.notes
        if note.startswith("Leak:")
    ]
    diagnoses = [*leaks, *_ranking_diagnoses(result)]
    if controls := [n for n, m in result.controls.items() if m.auroc_ci[0] > CHANCE_AUROC]:
        sentence = (
            "Processed photographs that no generator made count as fake too"
            f" ({', '.join(controls)}): part of what the probe sees is the processing."
        )
        diagnoses.append(Diagnosis(code="control", sentence=sentence, generators=controls))
    few = [n for n, m in result.generators.items() if min(m.n_real, m.n_fake) < FEW_SAMPLES]
    if few:
        sentence = (
            f"Fewer than {FEW_SAMPLES} reals or fakes in {', '.join(few)}: differences smaller than"
            " the intervals mean nothing."
        )
        diagnoses.append(Diagnosis(code="few-samples", sentence=sentence, generators=few))
    return diagnoses


def _ranking_diagnoses(result: EvalResult) -> list[Diagnosis]:
    """Check threshold, discrimination and generalisation, in this order."""
    diagnoses = []
    shifted = {
        name: "reals" if metrics.r_acc < metrics.f_acc else "fakes"
        for name, metrics in result.generators.items()
        if metrics.ap >= HIGH_AP and min(metrics.r_acc, metrics.f_acc) < LOW_CLASS_ACCURACY
    }
    if shifted:
        n_real, n_fake = result.train.n_real, result.train.n_fake
        reason = "the scores have moved away from the threshold"
        if max(n_real, n_fake) > 1.5 * min(n_real, n_fake):
            reason = f"the training set is uneven ({n_real:,} reals, {n_fake:,} fakes)"
        names = ", ".join(f"{name} ({label})" for name, label in shifted.items())
        sentence = (
            f"AP is high and one class is often wrong at {result.threshold:g}: {names}. The order"
            f" is right and the threshold is not: {reason}. See the accuracy at the validation"
            " threshold."
        )
        diagnoses.append(Diagnosis(code="threshold", sentence=sentence, generators=list(shifted)))
    blind = [name for name, metrics in result.generators.items() if metrics.auroc < CHANCE_AUROC]
    if blind:
        sentence = (
            f"Reals and fakes of {', '.join(blind)} score alike: the probe does not see them."
        )
        if len(blind) == len(result.generators):
            sentence = (
                "Reals and fakes score alike on every generator: these features do not tell them"
                " apart."
            )
        code = "not-discriminative"
        diagnoses.append(Diagnosis(code=code, sentence=sentence, generators=blind))
    seen = [m.ap for name, m in result.generators.items() if name in result.train.generators]
    unseen = {n: m.ap for n, m in result.generators.items() if n not in result.train.generators}
    if seen and unseen and fmean(seen) - fmean(unseen.values()) >= LARGE_AP_DROP:
        sentence = (
            f"AP is {fmean(seen):.2f} on generators of the training set and"
            f" {fmean(unseen.values()):.2f} on others: the probe has learned what is particular to"
            " its training generators. Try other or joined features, a smaller C, or more training"
            " generators."
        )
        code = "no-generalisation"
        diagnoses.append(Diagnosis(code=code, sentence=sentence, generators=list(unseen)))
    return diagnoses


def redundant(similarity: Mapping[str, Mapping[str, float]]) -> list[Diagnosis]:
    """Recognise pairs of features that are nearly the same.

    Parameters
    ----------
    similarity : mapping of str to mapping of str to float
        Linear CKA by the names of two features.

    Returns
    -------
    list of Diagnosis
        One for each pair.
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
        if similarity[a][b] > REDUNDANT_CKA
    ]
