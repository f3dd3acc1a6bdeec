"""The tables of other training sets: train x test matrices, and what few samples are enough for."""

from __future__ import annotations

import math
from collections.abc import Mapping

from featcache.reports.formatting import Estimate, escape_controls, format_list
from featcache.reports.tables.base import Cell, Column, Section, Table, TableRow
from featcache.results import EfficiencyResult, Mean, TransferCell, TransferResult

Matrix = Mapping[str, Mapping[str, TransferCell]]


def transfer_tables(result: TransferResult) -> tuple[Table, ...]:
    """Return the matrix of single training generators, and that of all but one.

    Parameters
    ----------
    result : TransferResult
        Result of a train x test matrix.

    Returns
    -------
    tuple[Table, ...]
        The matrix of single training generators, and that of all but one.
    """
    tables = (
        _matrix(
            "transfer",
            "AP of a head trained on one generator alone (rows) on every generator (columns), in"
            " percent.",
            "Trained on",
            result.each,
            result.unseen.get("each", {}),
            "Bold: the generator that the head was trained on. Unseen: the mean over all others.",
        ),
        _matrix(
            "leave-one-out",
            "AP of a head trained on all generators but one (rows) on every generator (columns), in"
            " percent.",
            "Left out",
            result.without,
            result.unseen.get("without", {}),
            "Bold: the generator that was left out. Unseen: the mean over all that were not"
            " trained on.",
        ),
    )
    return tuple(table for table in tables if table is not None)


def _matrix(
    name: str, caption: str, label: str, matrix: Matrix, unseen: Mapping[str, Mean], note: str
) -> Table | None:
    if not matrix:
        return None
    tested = list(next(iter(matrix.values())))
    columns = (
        Column(key="name", label=label),
        *(
            Column(key=f"ap:{n}", label=escape_controls(n), kind="percent", shaded=True)
            for n in tested
        ),
        Column(key="unseen", label="Unseen", kind="percent"),
    )
    rows = tuple(_row(own, cells, unseen.get(own)) for own, cells in matrix.items())
    return Table(
        name=name, caption=caption, columns=columns, sections=(Section(rows=rows),), note=note
    )


def _row(own: str, cells: Mapping[str, TransferCell], unseen: Mean | None) -> TableRow:
    shown: dict[str, Cell] = {"name": escape_controls(own)}
    shown |= {f"ap:{name}": Estimate.of(cell.ap, cell.ap_ci) for name, cell in cells.items()}
    if unseen is not None:
        shown["unseen"] = Estimate.of(unseen.value, unseen.ci)
    return TableRow(cells=shown, bold=frozenset({f"ap:{own}"}))


def efficiency_table(result: EfficiencyResult) -> Table:
    """Return mAP by the number of training samples, with its spread over draws.

    Parameters
    ----------
    result : EfficiencyResult
        Result of a learning curve.

    Returns
    -------
    Table
        MAP by the number of training samples, with its spread over draws.
    """
    columns = (
        Column(key="name", label="Samples per class"),
        Column(key="n_seeds", label="Draws", kind="count"),
        Column(key="mAP", label="mAP", kind="percent", help="mean over the draws"),
        Column(key="deviation", label="Deviation", kind="percent", help="over the draws"),
        Column(key="lowest", label="Lowest", kind="percent", help="of the draws"),
        Column(key="highest", label="Highest", kind="percent", help="of the draws"),
    )
    rows = tuple(
        TableRow(
            cells={
                "name": f"all ({p.n:,})" if p.whole else f"{p.n:,}",
                "n_seeds": len(p.mAP),
                "mAP": Estimate.of(p.mean, p.ci),
                "deviation": p.deviation,
                "lowest": min(p.mAP),
                "highest": max(p.mAP),
            }
        )
        for p in result.points
    )
    return Table(
        name="efficiency",
        caption="mAP by the number of training samples of each class, in percent.",
        columns=columns,
        sections=(Section(rows=rows),),
        note=(
            "The interval is over resampled test photographs, the deviation over draws of the"
            " training samples."
        ),
    )


def transfer_headline(result: TransferResult) -> str:
    """Return one sentence: from which single generator heads carry over best, and worst.

    Parameters
    ----------
    result : TransferResult
        Result of a train x test matrix.

    Returns
    -------
    str
        One sentence.
    """
    unseen = result.unseen.get("each", {})
    known = {name: mean for name, mean in unseen.items() if math.isfinite(mean.value)}
    if not known:
        return "No head of a single generator was tested on another one."
    order = sorted(known, key=lambda name: -known[name].value)
    best, worst = order[0], order[-1]
    sentence = f"Trained on {escape_controls(best)} alone, heads on {_features(result)} reach mAP "
    sentence += f"{_fraction(known[best])} on generators that they have not seen"
    if len(order) > 1:
        sentence += f"; trained on {escape_controls(worst)}, the least, {_fraction(known[worst])}"
    return f"{sentence}."


def efficiency_headline(result: EfficiencyResult) -> str:
    """Return one sentence: how good with the fewest samples, how good with all.

    Parameters
    ----------
    result : EfficiencyResult
        Result of a learning curve.

    Returns
    -------
    str
        One sentence.
    """
    first, last = result.points[0], result.points[-1]
    mAP_all = Estimate.of(last.mean, last.ci).fraction
    sentence = (
        f"On all {last.n:,} training samples of each class, heads on {_features(result)} reach mAP"
        f" {mAP_all}"
    )
    if first is last:
        return f"{sentence}."
    spread = f" (deviation {first.deviation:.2f} over {len(first.mAP)} draws)"
    return f"{sentence}; on {first.n:,}, {first.mean:.2f}{spread if len(first.mAP) > 1 else ''}."


def _features(result: TransferResult | EfficiencyResult) -> str:
    return format_list([escape_controls(name) for name in result.features])


def _fraction(mean: Mean) -> str:
    return Estimate.of(mean.value, mean.ci).fraction
