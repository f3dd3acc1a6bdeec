"""The finding of a probe run in one sentence."""

from __future__ import annotations

from statistics import fmean

from featcache.datasets.families import CONTROL_PREFIX
from featcache.reports.formatting import (
    SIGNIFICANT,
    Estimate,
    escape_controls,
    format_fraction,
    format_list,
)
from featcache.reports.tables.ablation import format_variant, varied_fields
from featcache.results import AblationResult, EvalResult, GeneratorResult

_MOST_NAMES = 3
"""More controls than this are given as a range, so that the sentence stays one."""


def probe_headline(result: EvalResult) -> str:
    """Return one sentence: trained on what, how good there, how good elsewhere, and on controls.

    Parameters
    ----------
    result : EvalResult

    Returns
    -------
    str
        Metrics are AP, as fractions with two decimals.
    """
    clauses = [clause for clause in (_trained(result), _unseen(result)) if clause]
    reach = " and ".join(clauses) if clauses else "was tested on no generator"
    return f"{_opening(result)} {reach}{_controls(result)}."


def _opening(result: EvalResult) -> str:
    on = format_list([escape_controls(name) for name in result.train.generators]) or "nothing"
    features = " + ".join(escape_controls(name) for name in result.features)
    return f"Trained on {on}, the probe on {features}"


def _trained(result: EvalResult) -> str:
    tested = [name for name in result.train.generators if name in result.generators]
    if not tested:
        return ""
    if len(tested) == 1:
        ap = _estimate(result.generators[tested[0]])
        return f"reaches AP {ap} on {escape_controls(tested[0])}"
    mean = fmean(result.generators[name].ap for name in tested)
    return f"reaches AP {format_fraction(mean)} on average over these {len(tested)} generators"


def _unseen(result: EvalResult) -> str:
    trained = set(result.train.generators)
    tested = {name: metrics for name, metrics in result.generators.items() if name not in trained}
    verb = "" if trained & set(result.generators) else "reaches AP "
    if not tested:
        return ""
    if len(tested) == 1:
        ((name, metrics),) = tested.items()
        return f"{verb}{_estimate(metrics)} on the unseen {escape_controls(name)}"
    mean = fmean(metrics.ap for metrics in tested.values())
    return (
        f"{verb}{format_fraction(mean)} on average over {len(tested)} unseen generators"
        f" {_lowest(tested)}"
    )


def _lowest(tested: dict[str, GeneratorResult]) -> str:
    name = min(tested, key=lambda name: (tested[name].ap, name))
    return f"(lowest: {escape_controls(name)}, {format_fraction(tested[name].ap)})"


def _controls(result: EvalResult) -> str:
    names = sorted(result.controls, key=lambda name: (-result.controls[name].ap, name))
    aps = [format_fraction(result.controls[name].ap) for name in names]
    if not names:
        return ""
    if len(names) == 1:
        return f"; on the control {_bare(names[0])}, which no generator made, {aps[0]}"
    if len(names) > _MOST_NAMES:
        return f"; on {len(names)} controls, which no generator made, {aps[-1]} to {aps[0]}"
    texts = [f"{ap} ({_bare(name)})" for name, ap in zip(names, aps, strict=True)]
    return f"; on the controls, which no generator made, {format_list(texts)}"


def _bare(name: str) -> str:
    # "the control control-bicubic" says it twice.
    return escape_controls(name.removeprefix(CONTROL_PREFIX))


def _estimate(metrics: GeneratorResult) -> str:
    return Estimate.of(metrics.ap, metrics.ap_ci).fraction


def ablation_headline(result: AblationResult) -> str:
    """Return one sentence: the best feature set, how good, and whether it beats the best single
    one.

    Parameters
    ----------
    result : AblationResult
        Result of an ablation.

    Returns
    -------
    str
        One sentence.
    """
    if not result.rows:
        return "No feature set was fitted."
    best = result.rows[0]
    # What else a row is but a feature set, where rows differ in it.
    values = format_variant(best)
    texts = [f"{label.lower()} {values[key]}" for key, label in varied_fields(result).items()]
    name = " + ".join(map(escape_controls, best.features)) + (
        f" ({'; '.join(texts)})" if texts else ""
    )
    mean = Estimate.of(best.mAP, best.mAP_ci).fraction
    comparison = best.vs_best_single
    several = bool(varied_fields(result))
    what = f"{len(result.rows)} {'rows' if several else 'feature sets'}"
    if comparison is None:
        return f"{name} is the best of {what}, with mAP {mean}."
    single = " + ".join(map(escape_controls, comparison.other))
    beyond = "more" if comparison.difference > 0 else "less"
    sure = "significant" if comparison.p_holm < SIGNIFICANT else "not significant"
    return (
        f"{name} is the best of {what}, with mAP {mean}: "
        f"{abs(comparison.difference):.3f} {beyond} than {single}, the best single feature, {sure} "
        f"(p = {comparison.p_holm:.3f}, corrected)."
    )
