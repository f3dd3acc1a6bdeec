"""From a matplotlib figure to an SVG element that can stand in a page beside others."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""Draw with this colour what shall take the colour of the text around the figure."""

_XMLNS = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
_FONT_FAMILY = re.compile(r"font-family:[^;]*")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
# A style element would apply to the whole page; the metadata name matplotlib's site.
_DROPPED = {"style", "metadata"}

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "hatch.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "featcache",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.major.size": 3.0,
    "xtick.major.width": 0.6,
    "ytick.color": INK,
    "ytick.major.size": 3.0,
    "ytick.major.width": 0.6,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with our settings, whatever the user's matplotlibrc says, and restore theirs after.

    Yields
    ------
    None
    """
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # Names in scripts that DejaVu lacks are measured wrongly and shown right: text stays text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def inline_svg(
    figure: Figure, prefix: str, description: str, tips: Mapping[str, str] | None = None
) -> str:
    """Return a figure as an ``<svg>`` element.

    Parameters
    ----------
    figure : Figure
    prefix : str
        Starts every id, so that several figures of one page do not share any.
    description : str
        What a reader who does not see the figure is told.
    tips : mapping of str to str, optional
        By the gid of an artist, what the page shows when the pointer is on it.

    Returns
    -------
    str
        The same bytes for the same figure; text stays text, in the font and colour of the page.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in root.iter():
        for child in [child for child in parent if _local(child.tag) in _DROPPED]:
            parent.remove(child)
    for element in root.iter():
        if tip := (tips or {}).get(element.get("id", "")):
            element.set("data-tip", tip)
        element.tag = _local(element.tag)
        if _HREF in element.attrib:
            element.set("href", element.attrib.pop(_HREF))
        for name, value in element.attrib.items():
            element.set(name, _attribute(name, value, prefix))
        # Only text elements hold text that counts; elsewhere it is the indentation.
        element.tail = None
        if element.tag not in {"text", "tspan"}:
            element.text = None
    # Width and height come from the page; the viewBox keeps the proportions.
    del root.attrib["width"], root.attrib["height"]
    root.set("xmlns", _XMLNS)
    root.set("role", "img")
    root.set("aria-label", description)
    root.set("font-family", "system-ui, sans-serif")
    root.set("stroke-linejoin", "round")
    return ElementTree.tostring(root, encoding="unicode")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _attribute(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href":
        return f"#{prefix}-{value.removeprefix('#')}"
    if name == "d":
        return " ".join(value.split())
    value = _REFERENCE.sub(rf"url(#{prefix}-\1)", value.replace(INK, "currentColor"))
    return _FONT_FAMILY.sub("font-family: inherit", value)
