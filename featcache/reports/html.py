"""The report as one page that needs nothing else: no network, no other file, no script but its own.

The interactive map: one page with plotly inside, which opens offline; hovering shows the picture.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.audit import AuditResult
from featcache.errors import MissingExtraError
from featcache.files import write_atomic
from featcache.progress import track
from featcache.reports.exhibits import separation_table
from featcache.reports.export import json_ready
from featcache.reports.figures.images import AXES, TITLES, Thumbnail, group_colors, thumbnail
from featcache.reports.formatting import escape_controls, require_viz
from featcache.reports.report import Report, ablation_part, probe_part
from featcache.reports.score_plots import Confusion, Mistake
from featcache.reports.tables.audit import audit_part
from featcache.reports.tables.base import Cell, Exhibit, Part, interval_text, sort_value, value_text
from featcache.results import AblationResult, EvalResult, Scores
from featcache.results.analysis import EmbeddingResult

if TYPE_CHECKING:
    from markupsafe import Markup

_FOLDER = "featcache.reports"


@dataclass(frozen=True)
class _Card:
    """A mistake with its picture."""

    mistake: Mistake
    picture: Thumbnail
    file: str
    path: str


@dataclass(frozen=True, kw_only=True)
class _Set:
    """The small figures of one test set."""

    name: str
    histogram: Markup
    roc: Markup
    pr: Markup
    confusion: Confusion


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """The figures of a part; empty where there are no data for them."""

    chart: str = ""
    sets: tuple[_Set, ...] = ()
    reliability: str = ""
    views: str = ""
    path: str = ""
    curve: str = ""
    cards: tuple[tuple[str, list[_Card]], ...] = ()


def write_report(
    result: EvalResult,
    scores: Scores,
    path: Path,
    *,
    title: str,
    command: str = "",
    ablation: AblationResult | None = None,
    audit: AuditResult | None = None,
    exhibits: Sequence[Exhibit] = (),
) -> Path:
    """Write what a probe run found as one self-contained HTML file.

    Parameters
    ----------
    result : EvalResult
    scores : Scores
        The scores that ``result`` was computed from; the pictures of the worst mistakes are read
        from their paths, and one that cannot be read is shown as its reason.
    path : Path
        The file to write, whole or not at all.
    title : str
    command : str
        The command line that repeats the run.
    ablation : AblationResult, optional
        Shown below the probe.
    audit : AuditResult, optional
        Of the data; shown below all results.
    exhibits : sequence of Exhibit
        Pictures that other commands made.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    MissingExtraError
        If a package of the extra ``viz`` is not installed.
    StoreError
        If the file cannot be written.
    """
    require_viz()
    parts = [probe_part(result, scores)]
    if ablation is not None:
        parts.append(ablation_part(ablation))
    if audit is not None:
        parts.append(audit_part(audit))
    report = Report(
        title=escape_controls(title), command=command, parts=tuple(parts), exhibits=tuple(exhibits)
    )
    return write_page(report, path)


def write_page(report: Report, path: Path) -> Path:
    """Write a report as one HTML file; see :func:`write_report`.

    Parameters
    ----------
    report : Report
        Report as plain data.
    path : Path
        File or folder.

    Returns
    -------
    Path
    """
    require_viz()
    # Whatever still is not Unicode (a title, a key) is shown by its escape rather than lost.
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = _text("report.js")
    digest = hashlib.sha256(script.encode()).digest()
    write_atomic(
        path,
        environment.from_string(_text("report.html.jinja"))
        .render(
            report=report,
            parts=[(part, _draw(part)) for part in report.parts],
            exhibits=[_exhibit(exhibit) for exhibit in report.exhibits],
            css=Markup(_text("report.css")),
            script=Markup(script),
            script_hash=Markup(f"sha256-{base64.b64encode(digest).decode('ascii')}"),
            show=value_text,
            interval=interval_text,
            number=_number,
            shade=_shade,
        )
        .encode("utf-8", "backslashreplace"),
    )
    return path


def _draw(part: Part) -> _Drawn:
    from markupsafe import Markup

    from featcache.reports.figures import curves as figures
    from featcache.reports.figures.bars import ap_chart

    summary, prefix = part.summary, f"{part.anchor}-"
    if summary is None:
        curve = figures.efficiency_figure(part.curve, f"{prefix}curve") if part.curve else ""
        return _Drawn(curve=Markup(curve))
    views = part.table("views")
    metric = summary.path_metric
    return _Drawn(
        chart=Markup(ap_chart((*summary.rows, *summary.controls), f"{prefix}ap")),
        sets=_sets(part),
        reliability=Markup(figures.reliability_figure(summary.reliability, f"{prefix}rel")),
        views=Markup(figures.view_figure(views, f"{prefix}views") if views else ""),
        path=Markup(
            figures.path_figure(summary.path, metric, f"{prefix}c") if summary.path else ""
        ),
        cards=tuple(
            (
                mistakes.name,
                [
                    _Card(
                        sample,
                        thumbnail(sample.path),
                        escape_controls(Path(sample.path).name),
                        escape_controls(sample.path),
                    )
                    for sample in mistakes.samples
                ],
            )
            for mistakes in summary.mistakes
        ),
    )


def figures_of(report: Report) -> dict[str, str]:
    """Return every figure of a report as SVG, by a name for its file; text takes the reader's
    colour.

    Parameters
    ----------
    report : Report
        Report as plain data.

    Returns
    -------
    dict[str, str]
        Every figure of a report as SVG, by a name for its file.
    """
    figures: dict[str, str] = {}
    for part in report.parts:
        drawn = _draw(part)
        for name in ("chart", "reliability", "views", "path", "curve"):
            if text := getattr(drawn, name):
                figures[f"{part.anchor}-{name}"] = str(text)
        for number, one in enumerate(drawn.sets, 1):
            for name in ("histogram", "roc", "pr"):
                figures[f"{part.anchor}-set{number}-{name}"] = str(getattr(one, name))
    return figures


def _sets(part: Part) -> tuple[_Set, ...]:
    from markupsafe import Markup

    from featcache.reports.figures.bars import score_histograms
    from featcache.reports.figures.curves import curve_panels

    summary, prefix = part.summary, f"{part.anchor}-"
    assert summary is not None
    histograms = score_histograms(summary.histograms, summary.threshold, f"{prefix}hist")
    panels = curve_panels(summary.curves, prefix)
    return tuple(
        _Set(
            name=confusion.name,
            histogram=Markup(histogram),
            roc=Markup(roc),
            pr=Markup(pr),
            confusion=confusion,
        )
        for histogram, (roc, pr), confusion in zip(
            histograms, panels, summary.confusions, strict=True
        )
    )


def _exhibit(exhibit: Exhibit) -> dict[str, Any]:
    from PIL import Image

    pictures = []
    for caption, data in exhibit.pictures:
        width, height = Image.open(io.BytesIO(data)).size
        uri = f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
        pictures.append((caption, uri, width, height))
    return {
        "title": exhibit.title,
        "text": exhibit.text,
        "pictures": pictures,
        "tables": exhibit.tables,
    }


def _text(name: str) -> str:
    return files(_FOLDER).joinpath(name).read_text("utf-8")


def _number(cell: Cell) -> str | None:
    """Return every digit of the number that a cell sorts by."""
    number = sort_value(cell)
    return None if number is None or math.isnan(number) else repr(number)


def _shade(cell: Cell) -> float:
    """Return how deep a cell is shaded, in [0, 1]: nothing up to one half, which is chance."""
    return min(max(2 * (sort_value(cell) or 0.0) - 1, 0.0), 1.0)


MOST_PICTURES = 2000
"""More points than this show their name only: each picture makes the page 2 kB larger."""

PICTURE_SIDE = 72
MOST_SVG = 5000
"""Up to so many points are drawn as SVG; beyond, by WebGL, which needs a looser security policy."""


def write_map(result: EmbeddingResult, path: Path, *, most_pictures: int = MOST_PICTURES) -> Path:
    """Write the interactive map.

    Parameters
    ----------
    result : EmbeddingResult
    path : Path
        The HTML file, about 5 MB for plotly and 2 kB per picture.
    most_pictures : int
        Pictures in the page, spread evenly over the points.

    Returns
    -------
    Path

    Raises
    ------
    MissingExtraError
        If plotly or Jinja2 is not installed.
    """
    require_viz()
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError(
            "The interactive map needs plotly, which is not installed. Run: pip install"
            " 'featcache[viz]'"
        ) from error
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    table = separation_table(result)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    folder = files("featcache.reports")
    text = environment.from_string(folder.joinpath("map.html.jinja").read_text("utf-8")).render(
        title=f"The feature space of {' + '.join(map(escape_controls, result.features))}",
        methods=[(method, TITLES.get(method, method)) for method in result.maps],
        rows=[(row.cells, section.heading) for section in table.sections for row in section.rows],
        caption=table.caption,
        css=Markup(folder.joinpath("map.css").read_text("utf-8")),
        plotly=Markup(get_plotlyjs()),
        script=Markup(folder.joinpath("map.js").read_text("utf-8")),
        data=Markup(_inert(_data(result, most_pictures))),
        eval=len(result.label) > MOST_SVG,
    )
    write_atomic(path, text.encode("utf-8", "backslashreplace"))
    return path


def _data(result: EmbeddingResult, most_pictures: int) -> dict[str, Any]:
    n = len(result.label)
    shown = set(np.linspace(0, n - 1, min(n, most_pictures)).round().astype(int).tolist())
    paths = result.path.tolist()
    pictures = {
        i: thumbnail(paths[i], PICTURE_SIDE).uri
        for i in track(sorted(shown), "pictures", len(shown))
    }
    return {
        "maps": {name: points.round(4).T.tolist() for name, points in result.maps.items()},
        "axes": {name: AXES.get(name, ("", "")) for name in result.maps},
        "names": [escape_controls(Path(path).name) for path in paths],
        "group": [escape_controls(name) for name in result.group.tolist()],
        "generator": [escape_controls(name) for name in result.generator.tolist()],
        "colors": {
            by: group_colors([escape_controls(name) for name in getattr(result, by).tolist()])
            for by in ("group", "generator")
        },
        "pictures": pictures,
        "type": "scattergl" if n > MOST_SVG else "scatter",
    }


def _inert(data: dict[str, Any]) -> str:
    """Return JSON in which nothing can end the script element that it stands in."""
    text = json.dumps(json_ready(data), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
