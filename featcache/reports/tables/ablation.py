"""The tables of an ablation: every feature set by generator, what each feature adds, how alike
they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from featcache.reports.formatting import SIGNIFICANT, Estimate, escape_controls
from featcache.reports.tables.base import Cell, Column, Section, Table, TableRow
from featcache.results import AblationResult, AblationRow, Comparison

_VARIED = {
    "train": "Trained on",
    "train_views": "Views in training",
    "head": "Head",
    "view": "Tested on",
}


def ablation_tables(result: AblationResult) -> tuple[Table, ...]:
    """Return the tables that an ablation has data for.

    Parameters
    ----------
    result : AblationResult
        Result of an ablation.

    Returns
    -------
    tuple[Table, ...]
        The tables that an ablation has data for.
    """
    return tuple(
        table
        for table in (subset_table(result), contribution_table(result), similarity_table(result))
        if table is not None
    )


def subset_table(result: AblationResult) -> Table:
    """Return the heat map: a row for each feature set, a column for each generator.

    Bold, and marked, is a mean that differs significantly from the best single feature's, upwards.

    Parameters
    ----------
    result : AblationResult
        Result of an ablation.

    Returns
    -------
    Table
        The heat map.
    """
    names = list(dict.fromkeys(name for row in result.rows for name in row.generators))
    columns = (
        Column(key="name", label="Features"),
        *(Column(key=key, label=label) for key, label in varied_fields(result).items()),
        Column(key="n_features", label="D", kind="count", optional=True),
        Column(key="C", label="C", kind="number"),
        Column(key="mAP", label="mAP", kind="percent"),
        Column(key="mean_acc", label="Mean acc", kind="percent"),
        Column(key="difference", label="vs best single", kind="points", help="paired, in points"),
        Column(key="p", label="p", kind="p", help="corrected by Holm"),
        *(
            Column(key=f"ap:{n}", label=escape_controls(n), kind="percent", shaded=True)
            for n in names
        ),
    )
    return Table(
        name="ablation",
        caption=(
            "AP of every feature set on every generator, in percent, the best first. "
            f"Best single feature: {_join(result.best_single)}."
        ),
        columns=columns,
        sections=(Section(rows=tuple(_row(row) for row in result.rows)),),
        note=(
            f"Bold: better than the best single feature, p < {SIGNIFICANT} after Holm's correction "
            "for all rows. The difference is paired over the same resampled photographs."
        ),
    )


def summary_table(result: AblationResult) -> Table:
    """Return the means of every feature set, without a column for each generator.

    Parameters
    ----------
    result : AblationResult
        Result of an ablation.

    Returns
    -------
    Table
        For the terminal; :func:`subset_table` has the generators.
    """
    table = subset_table(result)
    kept = [column for column in table.columns if not column.shaded]
    position = next(i for i, column in enumerate(kept) if column.key == "mean_acc") + 1
    kept.insert(position, Column(key="auroc", label="AUROC", kind="percent"))
    (section,) = table.sections
    rows = tuple(
        replace(row, cells={**row.cells, "auroc": _mean_auroc(one)})
        for row, one in zip(section.rows, result.rows, strict=True)
    )
    best = f"Best single feature: {_join(result.best_single)}." if result.best_single else ""
    return replace(
        table,
        name="summary",
        caption=f"Means over the generators, in percent, the best first. {best}".rstrip(),
        columns=tuple(kept),
        sections=(Section(rows=rows),),
    )


def _mean_auroc(row: AblationRow) -> Estimate | None:
    mean = row.means.get("auroc")
    return Estimate.of(mean.value, mean.ci) if mean else None


def varied_fields(result: AblationResult) -> dict[str, str]:
    """Return the columns that tell variants apart, by key: only those in which rows differ.

    Parameters
    ----------
    result : AblationResult
        Result of an ablation.

    Returns
    -------
    dict[str, str]
        The columns that tell variants apart, by key.
    """
    shown = [format_variant(row) for row in result.rows]
    return {key: label for key, label in _VARIED.items() if len({row[key] for row in shown}) > 1}


def format_variant(row: AblationRow) -> dict[str, str]:
    """Return a row's training set, views and head in words.

    Parameters
    ----------
    row : AblationRow
        Row to describe.

    Returns
    -------
    dict[str, str]
        A row's training set, views and head in words.
    """
    return {
        "train": ", ".join(map(escape_controls, row.train)),
        "train_views": ", ".join(row.train_views),
        "head": row.head,
        "view": row.view,
    }


def contribution_table(result: AblationResult) -> Table | None:
    """Return what each feature adds to mAP; None unless all subsets were fitted.

    Parameters
    ----------
    result : AblationResult
        Result of an ablation.

    Returns
    -------
    Table | None
        What each feature adds to mAP.
    """
    if not result.contributions:
        return None
    columns = (
        Column(key="name", label="Feature"),
        Column(key="shapley", label="Adds on average", kind="points", help="Shapley value of mAP"),
        Column(key="alone", label="mAP alone", kind="percent"),
        Column(key="last", label="Adds to all others", kind="points"),
    )
    rows = tuple(
        TableRow(
            cells={
                "name": escape_controls(c.feature),
                "shapley": Estimate.of(c.shapley, c.ci),
                "alone": Estimate(c.alone),
                "last": Estimate(c.last),
            }
        )
        for c in result.contributions
    )
    return Table(
        name="contributions",
        caption="What each feature adds to mAP over all orders of adding, in points.",
        columns=columns,
        sections=(Section(rows=rows),),
    )


def similarity_table(result: AblationResult) -> Table | None:
    """Return how alike the features are, by linear CKA; None where it was not computed.

    Parameters
    ----------
    result : AblationResult
        Result of an ablation.

    Returns
    -------
    Table | None
        How alike the features are, by linear CKA.
    """
    if not result.similarity:
        return None
    names = list(result.similarity)
    columns = (
        Column(key="name", label="Feature"),
        *(Column(key=n, label=escape_controls(n), kind="percent", shaded=True) for n in names),
    )
    rows = (
        TableRow(
            cells={"name": escape_controls(name)}
            | {n: Estimate(v) for n, v in result.similarity[name].items()}
        )
        for name in names
    )
    return Table(
        name="similarity",
        caption="How alike the features are on the training images: linear CKA, in percent.",
        columns=columns,
        sections=(Section(rows=tuple(rows)),),
    )


def significant(comparison: Comparison | None) -> bool:
    """Say whether a row is better than its partner beyond chance.

    Parameters
    ----------
    comparison : Comparison | None
        Paired comparison, if there is one.

    Returns
    -------
    bool
    """
    return comparison is not None and comparison.difference > 0 and comparison.p_holm < SIGNIFICANT


def _row(row: AblationRow) -> TableRow:
    cells: dict[str, Cell] = {
        "name": _join(row.features) + ("" if row.fusion == "concat" else f" ({row.fusion})"),
        **format_variant(row),
        "n_features": row.n_features,
        "C": row.C,
        "mAP": Estimate.of(row.mAP, row.mAP_ci),
        "mean_acc": Estimate.of(row.mean_acc, row.mean_acc_ci),
    }
    cells |= dict(_comparison(row.vs_best_single))
    cells |= {f"ap:{n}": Estimate(metrics["ap"]) for n, metrics in row.generators.items()}
    bold = frozenset({"name", "mAP"}) if significant(row.vs_best_single) else frozenset()
    return TableRow(cells=cells, bold=bold)


def _comparison(comparison: Comparison | None) -> Iterator[tuple[str, Cell]]:
    if comparison is not None:
        yield "difference", Estimate.of(comparison.difference, comparison.ci)
        yield "p", comparison.p_holm


def _join(features: list[str]) -> str:
    return " + ".join(map(escape_controls, features))
