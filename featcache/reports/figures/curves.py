"""The figures of curves, as SVG elements: ROC, precision-recall, reliability, C path, views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featcache.reports.figures.bars import BLUE, GREEN, GREY, PANEL_SIZE, POINTS_PER_INCH, VERMILION
from featcache.reports.figures.svg import INK, drawing, inline_svg
from featcache.reports.formatting import Estimate, require_viz, shorten
from featcache.reports.score_plots import Curves, Points, ReliabilityBin
from featcache.reports.summarize import PathPoint
from featcache.reports.tables.base import Column, Table, full_text
from featcache.results import EfficiencyPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SQUARE = (250 / POINTS_PER_INCH, 220 / POINTS_PER_INCH)
_WIDE = (430 / POINTS_PER_INCH, 220 / POINTS_PER_INCH)
_TIPS_PER_CURVE = 20
_PERCENT = (0.0, 50.0, 100.0)


def curve_panels(curves: Sequence[Curves], prefix: str) -> list[tuple[str, str]]:
    """Return the ROC and the precision-recall curve of each test set as two small ``<svg>``
    elements.

    Parameters
    ----------
    curves : Sequence[Curves]
        ROC and precision-recall curves.
    prefix : str
        Prefix of the identifiers in the SVG.

    Returns
    -------
    list[tuple[str, str]]
        The ROC and the precision-recall curve of each test set as two small ``<svg>`` elements.
    """
    require_viz()
    with drawing():
        return [
            (_roc(one, f"{prefix}roc{i}"), _pr(one, f"{prefix}pr{i}"))
            for i, one in enumerate(curves)
        ]


def reliability_figure(bins: Sequence[ReliabilityBin], prefix: str) -> str:
    """Draw how often predicted probabilities come true, with Wilson intervals.

    Parameters
    ----------
    bins : Sequence[ReliabilityBin]
        Bins of the reliability diagram.
    prefix : str
        Prefix of the identifiers in the SVG.

    Returns
    -------
    str
    """
    from matplotlib.figure import Figure

    require_viz()
    with drawing():
        figure = Figure(_SQUARE, layout="constrained")
        axes = figure.subplots()
        axes.plot((0, 100), (0, 100), color=GREY, linewidth=0.8, linestyle=(0, (3, 2)))
        tips = {}
        for i, one in enumerate(bins):
            x, y = 100 * one.predicted, 100 * one.observed
            _whisker(axes, x, 100 * one.low, 100 * one.high)
            axes.plot(x, y, "o", color=BLUE, markersize=5, gid=f"bin{i}")
            tips[f"bin{i}"] = f"predicted {x:.1f} %, fakes {y:.1f} %, n = {one.n:,}"
        axes.set_xlim(-3, 103)
        axes.set_ylim(-3, 103)
        axes.set_xlabel("predicted probability of fake (%)")
        axes.set_ylabel("fakes among them (%)")
        axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
        return inline_svg(figure, prefix, "Reliability of the probabilities; see the table", tips)


def path_figure(path: Sequence[PathPoint], metric: str, prefix: str) -> str:
    """Draw the validation score against C, the chosen one marked.

    Parameters
    ----------
    path : Sequence[PathPoint]
        File or folder.
    metric : str
        Name of a metric, such as ``ap``.
    prefix : str
        Prefix of the identifiers in the SVG.

    Returns
    -------
    str
    """
    from matplotlib.figure import Figure

    require_viz()
    with drawing():
        figure = Figure(_WIDE, layout="constrained")
        axes = figure.subplots()
        axes.plot([p.C for p in path], [100 * p.score for p in path], color=BLUE, linewidth=1.2)
        tips = {}
        for i, point in enumerate(path):
            error = Estimate(
                point.score,
                point.score - point.standard_error,
                point.score + point.standard_error,
            )
            _whisker(axes, point.C, 100 * error.low, 100 * error.high)
            color = VERMILION if point.chosen else BLUE
            axes.plot(point.C, 100 * point.score, "o", color=color, markersize=5, gid=f"c{i}")
            tips[f"c{i}"] = f"C = {point.C:g}: {error.short}{', chosen' if point.chosen else ''}"
        _log_scale(axes, [(p.C, f"{p.C:g}") for p in path])
        axes.set_xlabel("C (chosen: red)")
        axes.set_ylabel(f"validation {metric} (%)")
        axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
        return inline_svg(figure, prefix, "Validation score against C; see the table", tips)


def _log_scale(axes: Any, places: Sequence[tuple[float, str]]) -> None:
    """Mark these places and no others: the log scale's own labels are formulas, which text
    cannot show.
    """
    axes.set_xscale("log")
    axes.set_xticks([x for x, _ in places], [text for _, text in places])
    axes.minorticks_off()


def efficiency_figure(points: Sequence[EfficiencyPoint], prefix: str) -> str:
    """Draw mAP against the number of training samples: every draw, their mean and its interval.

    Parameters
    ----------
    points : Sequence[EfficiencyPoint]
        Points of the learning curve.
    prefix : str
        Prefix of the identifiers in the SVG.

    Returns
    -------
    str
    """
    from matplotlib.figure import Figure

    require_viz()
    tips = {}
    with drawing():
        figure = Figure(_WIDE, layout="constrained")
        axes = figure.subplots()
        axes.plot([p.n for p in points], [100 * p.mean for p in points], color=BLUE, linewidth=1.2)
        for i, point in enumerate(points):
            values = [100 * value for value in point.mAP]
            axes.plot([point.n] * len(values), values, ".", color=GREY, alpha=0.6, markersize=4)
            _whisker(axes, point.n, 100 * point.ci[0], 100 * point.ci[1])
            axes.plot(point.n, 100 * point.mean, "o", color=BLUE, markersize=5, gid=f"n{i}")
            mean = Estimate.of(point.mean, point.ci).full
            tips[f"n{i}"] = f"{point.n:,} per class: mAP {mean}, {len(values)} draws"
        _log_scale(axes, [(p.n, f"{p.n:,}") for p in points])
        axes.set_xlabel("training samples per class")
        axes.set_ylabel("mAP (%)")
        axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
        return inline_svg(figure, prefix, "mAP by training samples; see the table", tips)


def view_figure(table: Table, prefix: str) -> str:
    """Draw mAP under each view with its interval, and every generator's AP as a thin line.

    Parameters
    ----------
    table : Table
        Table as plain data.
    prefix : str
        Prefix of the identifiers in the SVG.

    Returns
    -------
    str
    """
    from matplotlib.figure import Figure

    require_viz()
    rows, places = list(table.rows), range(len(list(table.rows)))
    mean = Column(key="mAP", label="mAP", kind="percent")
    tips = {}
    with drawing():
        width = max(_WIDE[0], (120 + 44 * len(rows)) / POINTS_PER_INCH)
        figure = Figure((width, 1.2 * _WIDE[1]), layout="constrained")
        axes = figure.subplots()
        for column in (c for c in table.columns if c.shaded):
            values = [_percent(row.cells.get(column.key)) for row in rows]
            axes.plot(places, values, color=GREY, alpha=0.45, linewidth=0.9, marker=".")
        axes.plot(places, [_percent(r.cells["mAP"]) for r in rows], color=GREEN, linewidth=1.6)
        for i, row in enumerate(rows):
            cell = row.cells["mAP"]
            if isinstance(cell, Estimate):
                _whisker(axes, i, 100 * cell.low, 100 * cell.high)
            axes.plot(i, _percent(cell), "o", color=GREEN, markersize=5.5, gid=f"v{i}")
            tips[f"v{i}"] = f"{row.cells['name']}: mAP {full_text(cell, mean)}"
        labels = [shorten(str(row.cells["name"]), 18) for row in rows]
        axes.set_xticks(places, labels, rotation=30, ha="right")
        axes.set_ylabel("AP (%)")
        axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
        return inline_svg(figure, prefix, "AP under each view; see the table", tips)


def _roc(one: Curves, prefix: str) -> str:
    points = tuple((100 * x, 100 * y) for x, y in one.roc)
    hint = "{y:.1f} % of the fakes caught, {x:.1f} % of the reals called fake"
    return _panel(points, ((0, 100), (0, 100)), f"ROC curve of {one.name}", hint, prefix)


def _pr(one: Curves, prefix: str) -> str:
    points = tuple((100 * x, 100 * y) for x, y in one.pr)
    chance = ((0, 100), (100 * one.chance,) * 2)
    hint = "precision {y:.1f} % at recall {x:.1f} %"
    return _panel(points, chance, f"Precision-recall curve of {one.name}", hint, prefix)


def _panel(
    points: Points,
    chance: tuple[tuple[float, float], tuple[float, float]],
    description: str,
    hint: str,
    prefix: str,
) -> str:
    from matplotlib.figure import Figure

    figure = Figure(PANEL_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.plot(*chance, color=GREY, linewidth=0.8, linestyle=(0, (3, 2)))
    tips = {}
    if points:
        axes.plot(*zip(*points, strict=True), color=BLUE, linewidth=1.4)
        for i, (x, y) in enumerate(points[:: max(len(points) // _TIPS_PER_CURVE, 1)]):
            # Nearly invisible, and wide: where the pointer is read off, not where a dot is seen.
            axes.plot(x, y, "o", color=BLUE, alpha=0.01, markersize=9, gid=f"p{i}")
            tips[f"p{i}"] = hint.format(x=x, y=y)
    axes.set_xlim(-2, 102)
    axes.set_ylim(-3, 104)
    axes.set_xticks(_PERCENT, ("0", "50", "100%"))
    axes.set_yticks(_PERCENT, ("0", "50", "100%"))
    axes.tick_params(labelsize=8)
    return inline_svg(figure, prefix, description, tips)


def _whisker(axes: Axes, x: float, low: float, high: float) -> None:
    axes.vlines(x, low, high, colors=INK, linewidth=1.0)


def _percent(cell: object) -> float:
    return 100 * cell.value if isinstance(cell, Estimate) else float("nan")
