"""A whole report as data: one part for each result, in the order in which it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from featcache.metrics.intervals import FEW_SOURCES
from featcache.reports.formatting import escape_controls, format_list
from featcache.reports.headline import ablation_headline
from featcache.reports.summarize import summarize
from featcache.reports.tables.ablation import ablation_tables
from featcache.reports.tables.base import Exhibit, Part, Table
from featcache.reports.tables.generators import few_sources
from featcache.reports.tables.probe import selection_notes
from featcache.reports.tables.transfer import (
    efficiency_headline,
    efficiency_table,
    transfer_headline,
    transfer_tables,
)
from featcache.results import (
    AblationResult,
    EfficiencyResult,
    EvalResult,
    Scores,
    TrainResult,
    TransferResult,
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that a report shows, whatever its format."""

    title: str
    command: str
    parts: tuple[Part, ...]
    exhibits: tuple[Exhibit, ...] = ()

    def named_tables(self) -> Iterator[tuple[str, Table]]:
        """Yield every table under a name of its own: the part's is put before where there are
        several.

        Yields
        ------
        tuple[str, Table]
            Every table under a name of its own.
        """
        several = len(self.parts) > 1
        for part in self.parts:
            for table in part.tables:
                yield (f"{part.anchor}-{table.name}" if several else table.name), table
        for number, exhibit in enumerate(self.exhibits, 1):
            for table in exhibit.tables:
                yield f"exhibit{number}-{table.name}", table


def probe_part(result: EvalResult, scores: Scores, *, anchor: str = "probe") -> Part:
    """Return what a probe run says.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.
    scores : Scores
        Labels, logits and probabilities of the test samples.
    anchor : str
        Identifier of the part in the page.

    Returns
    -------
    Part
        What a probe run says.
    """
    summary = summarize(result, scores)
    facts = [
        ("Features", f"{' + '.join(result.features)} ({result.n_features:,} numbers per image)"),
        *_training_facts(result.train),
        ("Head", f"{result.head}, {result.scaling}"),
        ("C", f"{result.C:g}"),
        ("Threshold", f"{result.threshold:g}"),
        ("Fit", _certificate(result)),
        ("Versions", _versions(result.versions)),
        ("Result", result.digest),
    ]
    return Part(
        anchor=anchor,
        heading=f"Probe on {' + '.join(map(escape_controls, result.features))}",
        finding=summary.finding,
        tables=summary.tables,
        notes=(*summary.notes, *selection_notes(result), *_few_sources(result)),
        diagnosis=summary.diagnosis,
        facts=_visible(facts),
        keys=_keys(result.keys),
        summary=summary,
    )


def _few_sources(result: EvalResult) -> list[str]:
    """Return the note on intervals of few sources, for results whose method has a correction."""
    few = few_sources(result) if result.ci_method != "percentile" else []
    if not few:
        return []
    names = ", ".join(map(escape_controls, few))
    return [f"Fewer than {FEW_SOURCES} source photographs, so the interval is uncertain: {names}."]


def ablation_part(result: AblationResult, *, anchor: str = "ablation") -> Part:
    """Return what an ablation says.

    Parameters
    ----------
    result : AblationResult
        Result of an ablation.
    anchor : str
        Identifier of the part in the page.

    Returns
    -------
    Part
        What an ablation says.
    """
    grid = ", ".join(f"{C:g}" for C in result.C_grid)
    facts = [
        ("Features", ", ".join(result.features)),
        *_training_facts(result.train),
        ("Head", f"{result.head}, {result.scaling}"),
        ("C", f"chosen on validation data from {grid}" if grid else ""),
        ("Fitted in", f"{result.seconds:.1f} s" if result.seconds else ""),
        ("Versions", _versions(result.versions)),
        ("Result", result.digest),
    ]
    return Part(
        anchor=anchor,
        heading=f"Ablation of {format_list([escape_controls(name) for name in result.features])}",
        finding=ablation_headline(result),
        tables=ablation_tables(result),
        notes=tuple(map(escape_controls, result.notes)),
        facts=_visible(facts),
        keys=_keys(result.keys),
    )


def transfer_part(result: TransferResult, *, anchor: str = "transfer") -> Part:
    """Return what heads of other training sets show.

    Parameters
    ----------
    result : TransferResult
        Result of a train x test matrix.
    anchor : str
        Identifier of the part in the page.

    Returns
    -------
    Part
        What heads of other training sets show.
    """
    return Part(
        anchor=anchor,
        heading=f"Transfer of {format_list([escape_controls(name) for name in result.features])}",
        finding=transfer_headline(result),
        tables=transfer_tables(result),
        notes=tuple(map(escape_controls, result.notes)),
        facts=_answer_facts(result),
        keys=_keys(result.keys),
    )


def efficiency_part(result: EfficiencyResult, *, anchor: str = "efficiency") -> Part:
    """Return what a data-efficiency curve says.

    Parameters
    ----------
    result : EfficiencyResult
        Result of a learning curve.
    anchor : str
        Identifier of the part in the page.

    Returns
    -------
    Part
        What a data-efficiency curve says.
    """
    return Part(
        anchor=anchor,
        heading=(
            f"Data efficiency of {format_list([escape_controls(name) for name in result.features])}"
        ),
        finding=efficiency_headline(result),
        tables=(efficiency_table(result),),
        notes=tuple(map(escape_controls, result.notes)),
        facts=_answer_facts(result),
        keys=_keys(result.keys),
        curve=tuple(result.points),
    )


def result_part(result: AblationResult | TransferResult | EfficiencyResult, *, anchor: str) -> Part:
    """Return the part of a result that has no scores of its own.

    Parameters
    ----------
    result : AblationResult | TransferResult | EfficiencyResult
        Result of an ablation.
    anchor : str
        Identifier of the part in the page.

    Returns
    -------
    Part
        The part of a result that has no scores of its own.
    """
    if isinstance(result, AblationResult):
        return ablation_part(result, anchor=anchor)
    if isinstance(result, TransferResult):
        return transfer_part(result, anchor=anchor)
    return efficiency_part(result, anchor=anchor)


def _answer_facts(result: TransferResult | EfficiencyResult) -> tuple[tuple[str, str], ...]:
    facts = [
        ("Features", ", ".join(result.features)),
        *_training_facts(result.train),
        ("Head", f"{result.head}, {result.scaling}"),
        ("C", f"{result.C:g}"),
        ("Fitted in", f"{result.seconds:.1f} s" if result.seconds else ""),
        ("Versions", _versions(result.versions)),
        ("Result", result.digest),
    ]
    return _visible(facts)


def _training_facts(train: TrainResult) -> list[tuple[str, str]]:
    views = [] if train.views == ["clean"] else train.views
    return [
        ("Trained on", format_list(train.generators)),
        ("Views in training", ", ".join(views)),
        ("Datasets", format_list(train.datasets)),
        ("Training images", f"{train.n_real:,} real and {train.n_fake:,} fake"),
        ("Training sources", f"{train.n_sources:,} independent photographs"),
    ]


def _certificate(result: EvalResult) -> str:
    if result.certificate is None:
        return ""
    certificate = result.certificate
    state = "converged" if certificate.converged else "NOT converged"
    return (
        f"{state} in {certificate.n_iter} iterations, at most {certificate.gap:.1g} above the"
        " optimum"
    )


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _visible(facts: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, escape_controls(value)) for name, value in facts if value)


def _keys(keys: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(json.dumps(key, indent=2, ensure_ascii=False, default=str) for key in keys)
