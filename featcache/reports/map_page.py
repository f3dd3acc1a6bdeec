"""The interactive map: one page with plotly inside, which opens offline; hovering shows the picture."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from featcache.errors import MissingExtraError
from featcache.files import write_atomic
from featcache.progress import track
from featcache.reports.exhibits import separation_table
from featcache.reports.export import json_ready
from featcache.reports.extras import require_viz
from featcache.reports.pictures import thumbnail
from featcache.reports.pngs import AXES, TITLES, group_colors
from featcache.reports.words import visible
from featcache.results.embedding import EmbeddingResult

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
            "The interactive map needs plotly, which is not installed. Run: pip install 'featcache[viz]'"
        ) from error
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    table = separation_table(result)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    folder = files("featcache.reports")
    text = environment.from_string(folder.joinpath("map.html.jinja").read_text("utf-8")).render(
        title=f"The feature space of {' + '.join(map(visible, result.features))}",
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
        "names": [visible(Path(path).name) for path in paths],
        "group": [visible(name) for name in result.group.tolist()],
        "generator": [visible(name) for name in result.generator.tolist()],
        "colors": {
            by: group_colors([visible(name) for name in getattr(result, by).tolist()])
            for by in ("group", "generator")
        },
        "pictures": pictures,
        "type": "scattergl" if n > MOST_SVG else "scatter",
    }


def _inert(data: dict[str, Any]) -> str:
    """Return JSON in which nothing can end the script element that it stands in."""
    text = json.dumps(json_ready(data), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
