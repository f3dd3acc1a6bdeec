"""The figures of a report, as SVG elements: AP per generator, and how the scores spread.

Colours are of Okabe and Ito's palette, which readers with any colour vision tell apart, and of
middle lightness, so that they stand on white and on black. Figures are drawn on Figure objects:
nothing touches pyplot's global state, and no display is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from featcache.reports.figures.svg import INK, drawing, inline_svg
from featcache.reports.formatting import require_viz, shorten
from featcache.reports.score_plots import Histogram
from featcache.reports.summarize import GeneratorRow

BLUE, GREEN, VERMILION, GREY = "#0072B2", "#009E73", "#D55E00", "#8C8C8C"

_BAR_STYLE: dict[str, dict[str, Any]] = {
    "trained": {"color": GREEN, "label": "trained on"},
    "unseen": {"color": BLUE, "label": "unseen"},
    "control": {
        "facecolor": "none",
        "edgecolor": GREY,
        "hatch": "/////",
        "label": "control",
    },
}
POINTS_PER_INCH = 72
_WIDTH = 370 / POINTS_PER_INCH
_ROW_HEIGHT = 19 / POINTS_PER_INCH
_MARGINS = 62 / POINTS_PER_INCH
PANEL_SIZE = (172 / POINTS_PER_INCH, 104 / POINTS_PER_INCH)
_LONGEST_NAME = 24


def ap_chart(rows: Sequence[GeneratorRow], prefix: str = "ap") -> str:
    """Draw the AP of every test set with its 95 % interval and the chance level.

    Parameters
    ----------
    rows : sequence of Row
        From top to bottom: the generators, then the controls.
    prefix : str
        Starts every id in the SVG.

    Returns
    -------
    str
        An ``<svg>`` element.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    require_viz()
    from matplotlib.figure import Figure

    with drawing():
        size = (_WIDTH, _MARGINS + _ROW_HEIGHT * max(len(rows), 1))
        figure = Figure(size, layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(rows):
            (bar,) = axes.barh(
                place, 100 * row.ap.value, height=0.62, zorder=2, **_BAR_STYLE[row.kind]
            )
            bar.set_gid(f"bar{place}")
            low, high = 100 * row.ap.low, 100 * row.ap.high
            axes.hlines(place, low, high, colors=INK, linewidth=1.1, zorder=4)
            axes.vlines(
                (low, high), place - 0.16, place + 0.16, colors=INK, linewidth=1.1, zorder=4
            )
            # Each test set has its own share of fakes; where all are equal the pieces make one
            # line.
            axes.vlines(
                100 * row.chance,
                place - 0.5,
                place + 0.5,
                colors=VERMILION,
                linewidth=1.1,
                zorder=3,
            )
            axes.annotate(
                row.ap.short,
                (1, place),
                (32, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="center_baseline",
            )
        axes.set_xlim(0, 100)
        axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), [shorten(row.name, _LONGEST_NAME) for row in rows])
        axes.set_xlabel("AP (%)")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_axisbelow(True)
        axes.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
        handles, labels = axes.get_legend_handles_labels()
        entries = dict(zip(labels, handles, strict=True))
        (line,) = axes.plot([], [], color=VERMILION, linewidth=1.1)
        entries["chance"] = line
        figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside upper left",
            ncols=4,
            frameon=False,
            fontsize=8.5,
            handlelength=1.3,
            handletextpad=0.5,
            columnspacing=1.2,
        )
        tips = {f"bar{place}": f"{row.name}: AP {row.ap.full}" for place, row in enumerate(rows)}
        return inline_svg(
            figure, prefix, "AP per generator with 95 % intervals; see the table", tips
        )


def score_histograms(
    histograms: Sequence[Histogram], threshold: float, prefix: str = "hist"
) -> list[str]:
    """Draw one small histogram per test set, all on the same axes.

    Parameters
    ----------
    histograms : sequence of Histogram
    threshold : float
        Marked in each; scores above it are called fake.
    prefix : str
        Starts every id in the SVGs.

    Returns
    -------
    list of str
        ``<svg>`` elements in the order of the histograms. Several small ones rather than one large:
        the page decides how many stand in a row.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    require_viz()
    highest = max((max(*h.real, *h.fake) for h in histograms), default=1.0)
    with drawing():
        return [
            _panel(histogram, threshold, highest, f"{prefix}{number}")
            for number, histogram in enumerate(histograms)
        ]


def _panel(histogram: Histogram, threshold: float, highest: float, prefix: str) -> str:
    from matplotlib.figure import Figure

    figure = Figure(PANEL_SIZE, layout="constrained")
    axes = figure.subplots()
    for shares, color in ((histogram.real, BLUE), (histogram.fake, VERMILION)):
        percent = [100 * share for share in shares]
        axes.stairs(percent, histogram.edges, fill=True, color=color, alpha=0.3)
        axes.stairs(percent, histogram.edges, color=color, linewidth=1.2)
    axes.axvline(threshold, color=INK, linewidth=0.8, linestyle=(0, (3, 2)))
    top = 100 * highest if highest > 0 else 100
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.04 * top)
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    step = 10 ** math.floor(math.log10(top))
    axes.set_yticks([0, step * math.floor(top / step)])
    axes.yaxis.set_major_formatter("{x:.0f}%")
    axes.tick_params(labelsize=8)
    return inline_svg(figure, prefix, f"Scores of reals and fakes of {histogram.name}")
