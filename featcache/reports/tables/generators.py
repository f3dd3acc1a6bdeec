"""The main tables of a probe run: every metric by generator and family."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from featcache.metrics import METRICS
from featcache.metrics.intervals import FEW_SOURCES
from featcache.reports.formatting import Estimate, escape_controls
from featcache.reports.tables.base import Cell, Column, Section, Table, TableRow
from featcache.results import EvalResult, GeneratorResult, GroupResult

GROUP_ORDER = ("GAN", "diffusion")
"""These families come first; all others follow by name."""

CONTROLS = "Controls: processed photographs that no generator made, not in the mean"

_COUNTS = (
    Column(key="n_real", label="n real", kind="count"),
    Column(key="n_fake", label="n fake", kind="count"),
)
NAME = Column(key="name", label="Generator")
_MAIN = ("ap", "auroc", "acc", "r_acc", "f_acc")
_MORE = ("bacc", "acc_val", "acc_oracle", "tpr_at_fpr1", "tpr_at_fpr5", "eer", "brier", "ece")


def describe_ci(result: EvalResult) -> str:
    """Return what the intervals of a result are.

    Parameters
    ----------
    result : EvalResult
        Result of a probe, also one that an earlier version has saved.

    Returns
    -------
    str
        For captions.
    """
    kinds = {"percentile": "bootstrap intervals", "wilson-t": "intervals (Wilson-t)"}
    return f"95 % {kinds.get(result.ci_method, 'intervals')} over source photographs"


def few_sources(result: EvalResult) -> list[str]:
    """Return the generators whose intervals rest on few photographs.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    list of str
        Those with fewer than :data:`featcache.metrics.intervals.FEW_SOURCES` sources.
    """
    rows = {**result.generators, **result.controls}
    return [name for name, row in rows.items() if row.n_sources < FEW_SOURCES]


def metric_column(name: str) -> Column:
    """Return the column of a metric, from its record.

    Parameters
    ----------
    name : str
        Name of a metric, such as ``ap``.

    Returns
    -------
    Column
    """
    metric = METRICS.get(name)
    label, text = (metric.label, metric.help) if metric else (name, "")
    return Column(key=name, label=label, kind="percent", help=text)


def ordered_generators(
    generators: Mapping[str, GeneratorResult], trained: Collection[str]
) -> list[str]:
    """Return the names of test sets: those trained on first, then by AP, the best first.

    Parameters
    ----------
    generators : Mapping[str, GeneratorResult]
        Names of generators; empty for all.
    trained : Collection[str]
        Names of the training generators.

    Returns
    -------
    list[str]
        The names of test sets.
    """

    def order(key: str) -> tuple[bool, float, str]:
        # A NaN compares false with everything and would leave the order to chance.
        ap = -math.inf if math.isnan(generators[key].ap) else generators[key].ap
        return key not in trained, -ap, key

    return sorted(generators, key=order)


def estimate(metrics: GeneratorResult, metric: str) -> Estimate:
    """Return one metric of one generator with its interval.

    Parameters
    ----------
    metrics : GeneratorResult
        Metrics of a generator.
    metric : str
        Name of a metric, such as ``ap``.

    Returns
    -------
    Estimate
        One metric of one generator with its interval.
    """
    return Estimate.of(metrics.value(metric), metrics.ci(metric))


def generator_table(result: EvalResult) -> Table:
    """Return the main table: every generator by family, the mean, the controls.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    Table
        The main table.
    """
    columns = (NAME, *_COUNTS, *(metric_column(name) for name in _MAIN))
    return Table(
        name="generators",
        caption=(
            f"Per generator, in percent, with {describe_ci(result)}. "
            f"Accuracies at threshold {result.threshold:g}."
        ),
        columns=columns,
        sections=_sections(result, _MAIN),
        note=_generators_ci(result)
        + (
            "Scores that know nothing give a control an AP equal to its share of fakes. What it has"
            " above that, the probe reads from the processing, not from a generator."
            if result.controls
            else ""
        ),
    )


def _generators_ci(result: EvalResult) -> str:
    """Return the sentence on the interval of the mAP with generators resampled."""
    low, high = result.mAP_generators_ci
    if math.isnan(low):
        return ""
    return (
        f"mAP with generators resampled as well as images [{100 * low:.1f}, {100 * high:.1f}]: for"
        " other generators of this kind. "
    )


def more_table(result: EvalResult) -> Table | None:
    """Return the further metrics; None where the result has none of them.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    Table | None
        The further metrics.
    """
    every = [*result.generators.values(), *result.controls.values()]
    further = dict.fromkeys(name for f in every for name in f.more)
    names = [m for m in (*_MORE, "ap_prior", *further) if any(_known(f.value(m)) for f in every)]
    if not names:
        return None
    return Table(
        name="metrics",
        caption=(
            "Further metrics, in percent, with 95 % intervals. "
            f"AP at prior: if {100 * result.prior:g} % of the images were fakes."
        ),
        columns=(NAME, *(metric_column(name) for name in names)),
        sections=_sections(result, names),
        note=(
            "The oracle looked at the test labels to choose its threshold: an upper bound, not a"
            " result."
        ),
    )


def group_table(result: EvalResult) -> Table | None:
    """Return the means by family; None where there is one family only.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    Table | None
        The means by family.
    """
    if len(result.groups) < 2:
        return None
    rows = [row for name, group in result.groups.items() for row in _group_rows(name, group)]
    if result.unseen is not None:
        rows.append(_group_row("all unseen", result.unseen, "mean"))
    columns = (
        Column(key="name", label="Group"),
        Column(key="generators", label="Generators"),
        *(metric_column(name) for name in ("ap", "auroc", "acc")),
    )
    return Table(
        name="groups",
        caption="Unweighted means by group, in percent.",
        columns=columns,
        sections=(Section(rows=tuple(rows)),),
    )


def _sections(result: EvalResult, metrics: Sequence[str]) -> tuple[Section, ...]:
    trained = set(result.train.generators)
    families: dict[str, list[str]] = {}
    for key in ordered_generators(result.generators, trained):
        families.setdefault(result.generators[key].group, []).append(key)
    sections = []
    for family in sorted(families, key=_family_order):
        rows = [_row(k, result.generators[k], metrics, trained) for k in families[family]]
        if family in result.groups and len(rows) > 1:
            group = result.groups[family]
            name = f"mean of {len(rows)}"
            cells: dict[str, Cell] = {"name": name}
            known = _group_means(group)
            rows.append(
                TableRow(
                    cells=cells | {m: known[m] for m in metrics if m in known}, role="group-mean"
                )
            )
        sections.append(Section(heading=escape_controls(family), rows=tuple(rows)))
    sections.append(Section(rows=(_overall(result, metrics),)))
    if result.controls:
        keys = ordered_generators(result.controls, set())
        rows = [_row(k, result.controls[k], metrics, trained, "control") for k in keys]
        sections.append(Section(heading=CONTROLS, rows=tuple(rows)))
    return tuple(sections)


def _family_order(name: str) -> tuple[int, str]:
    known = GROUP_ORDER.index(name) if name in GROUP_ORDER else len(GROUP_ORDER)
    return known, name


def _row(
    key: str, result: GeneratorResult, metrics: Iterable[str], trained: set[str], role: str = ""
) -> TableRow:
    cells: dict[str, Cell] = {
        "name": escape_controls(key),
        "n_real": result.n_real,
        "n_fake": result.n_fake,
    }
    cells |= {metric: estimate(result, metric) for metric in metrics}
    return TableRow(cells=cells, role=role or ("trained" if key in trained else "unseen"))


def _overall(result: EvalResult, metrics: Iterable[str]) -> TableRow:
    known = {"ap": Estimate.of(result.mAP, result.mAP_ci)}
    known["acc"] = Estimate.of(result.mean_acc, result.mean_acc_ci)
    known = {m: Estimate.of(mean.value, mean.ci) for m, mean in result.means.items()} | known
    cells: dict[str, Cell] = {"name": f"Mean of {len(result.generators)}"}
    return TableRow(cells=cells | {m: known[m] for m in metrics if m in known}, role="mean")


def _group_means(group: GroupResult) -> dict[str, Estimate]:
    known = {"ap": group.mAP, "auroc": group.mean_auroc, "acc": group.mean_acc}
    plain = {metric: Estimate(value) for metric, value in known.items()}
    return plain | {m: Estimate.of(mean.value, mean.ci) for m, mean in group.means.items()}


def _group_rows(name: str, group: GroupResult) -> list[TableRow]:
    rows = [_group_row(name, group)]
    if group.unseen is not None:
        rows.append(_group_row(f"{name}, unseen only", group.unseen))
    return rows


def _group_row(name: str, group: GroupResult, role: str = "") -> TableRow:
    means = _group_means(group)
    cells: dict[str, Cell] = {
        "name": escape_controls(name),
        "generators": ", ".join(map(escape_controls, group.generators)),
    }
    return TableRow(cells=cells | {m: means[m] for m in ("ap", "auroc", "acc")}, role=role)


def _known(value: float) -> bool:
    return not math.isnan(value)
