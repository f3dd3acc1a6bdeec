"""Static pictures of maps, attention and spectra, as PNG or SVG bytes, on white.

Thumbnails that live inside the page.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import ImageError
from featcache.files import read_file
from featcache.images import decode
from featcache.reports.figures.bars import BLUE, GREEN, GREY, VERMILION
from featcache.reports.formatting import escape_controls, require_viz, shorten
from featcache.results.analysis import Attended, AttentionMap, EmbeddingResult, SpectraResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
PURPLE, YELLOW, SKY, ORANGE = "#CC79A7", "#B5A500", "#56B4E9", "#E69F00"
GROUP_COLORS = {"real": BLUE, "GAN": VERMILION, "diffusion": GREEN, "control": GREY}
OTHERS = (PURPLE, ORANGE, SKY, YELLOW, "#000000")
"""Okabe and Ito's palette, its yellow darkened to stand on white."""

TITLES = {
    "umap": "UMAP",
    "pca": "Principal components",
    "tsne": "t-SNE",
    "probe": "The probe's own axis",
}
AXES = {"probe": ("linear score, held out", "first component of the rest")}


def group_colors(groups: Sequence[str]) -> dict[str, str]:
    """Return a colour for each group: the known ones always the same, reals first.

    Parameters
    ----------
    groups : Sequence[str]
        Names of the groups.

    Returns
    -------
    dict[str, str]
        A colour for each group.
    """
    names = sorted(set(groups), key=lambda name: (name != "real", name))
    spare = iter(OTHERS * (1 + len(names) // len(OTHERS)))
    return {name: GROUP_COLORS.get(name) or next(spare) for name in names}


def map_picture(result: EmbeddingResult, method: str, format: str = "png") -> bytes:
    """Draw one map, coloured real / GAN / diffusion / ….

    Parameters
    ----------
    result : EmbeddingResult
    method : str
    format : {"png", "svg"}

    Returns
    -------
    bytes
    """
    with _drawing():
        from matplotlib.figure import Figure

        figure = Figure((6.4, 5.2), layout="constrained")
        axes = figure.subplots()
        points, groups = result.maps[method], result.group.astype(str)
        size = float(np.clip(4000 / len(points), 3, 22))
        for name, color in group_colors(groups.tolist()).items():
            members = groups == name
            label = f"{escape_controls(name)} ({members.sum():,})"
            marker = "o" if name == "real" else "^"
            axes.scatter(
                points[members, 0],
                points[members, 1],
                s=size,
                c=color,
                alpha=0.6,
                linewidths=0,
                marker=marker,
                label=label,
            )
        axes.set_title(TITLES.get(method, method), fontsize=10, loc="left")
        x, y = AXES.get(method, ("", ""))
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.tick_params(labelsize=7)
        figure.legend(loc="outside lower center", ncols=4, frameon=False, markerscale=2, fontsize=8)
        return _bytes(figure, format)


def attention_picture(attended: Sequence[Attended]) -> bytes:
    """Draw all images below each other, and for each backbone attention, rollout and response.

    Parameters
    ----------
    attended : Sequence[Attended]
        Attention maps of the images.

    Returns
    -------
    bytes
    """
    paths, backbones = (
        list(dict.fromkeys(one.path for one in attended)),
        list(dict.fromkeys(one.backbone for one in attended)),
    )
    kinds = {name: _kinds(attended, name) for name in backbones}
    n_columns = 1 + sum(len(kinds[name]) for name in backbones)
    by_place = {(one.path, one.backbone): one for one in attended}
    with _drawing():
        from matplotlib.figure import Figure

        figure = Figure((1.55 * n_columns, 1.75 * len(paths) + 0.3), layout="constrained")
        grid = figure.subplots(len(paths), n_columns, squeeze=False)
        for i, path in enumerate(paths):
            _show_picture(grid[i, 0], by_place[path, backbones[0]].pixels, _short(path))
            place = 1
            for name in backbones:
                one = by_place[path, name]
                for kind in kinds[name]:
                    found_map = one.find(kind)
                    title = f"{shorten(name, 18)}\n{kind}" if i == 0 else ""
                    _overlay(grid[i, place], one.pixels, found_map, title)
                    place += 1
        return _bytes(figure, "png")


def heads_picture(one: Attended) -> bytes:
    """Draw the last layer's attention of every head over one image.

    Parameters
    ----------
    one : Attended
        Attention maps of one image.

    Returns
    -------
    bytes
    """
    heads = [attention for attention in one.maps if attention.head is not None]
    n_columns = min(len(heads), 6)
    n_rows = -(-len(heads) // n_columns)
    with _drawing():
        from matplotlib.figure import Figure

        figure = Figure((1.5 * n_columns, 1.65 * n_rows), layout="constrained")
        grid = figure.subplots(n_rows, n_columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place < len(heads):
                _overlay(axes, one.pixels, heads[place], f"head {heads[place].head}")
            axes.set_axis_off()
        return _bytes(figure, "png")


def spectra_picture(result: SpectraResult) -> bytes:
    """Draw each generator's mean spectrum beside one of its images, and what it has beyond the
    reals.

    Parameters
    ----------
    result : SpectraResult
        Residual spectra of each set of images.

    Returns
    -------
    bytes
    """
    real = next((s.values for s in result.spectra if s.name == "real"), None)
    low, high = _range([s.values for s in result.spectra])
    spread = (
        max((float(np.abs(s.values - real).max()) for s in result.spectra), default=1.0)
        if real is not None
        else 1.0
    )
    with _drawing():
        from matplotlib.figure import Figure

        figure = Figure((5.2, 1.75 * len(result.spectra)), layout="constrained")
        grid = figure.subplots(len(result.spectra), 3, squeeze=False)
        for i, one in enumerate(result.spectra):
            _show_picture(
                grid[i, 0], _example(one.example), f"{escape_controls(one.name)}, n = {one.n:,}"
            )
            _image(grid[i, 1], one.values, "mean spectrum" if i == 0 else "", "magma", low, high)
            if real is not None and one.name != "real":
                title = "less the reals'" if i <= 1 else ""
                _image(grid[i, 2], one.values - real, title, "RdBu_r", -spread, spread)
            for axes in grid[i]:
                axes.set_axis_off()
        return _bytes(figure, "png")


@contextmanager
def _drawing() -> Iterator[None]:
    require_viz()
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.size": 8, "svg.hashsalt": "featcache"})
        yield


def _bytes(figure: Figure, format: str) -> bytes:
    buffer = io.BytesIO()
    extra: dict[str, Any] = {"metadata": {"Date": None}} if format == "svg" else {}
    figure.savefig(buffer, format=format, dpi=DPI, facecolor="white", **extra)
    return buffer.getvalue()


def _kinds(attended: Sequence[Attended], backbone: str) -> list[Any]:
    one = next(one for one in attended if one.backbone == backbone)
    return list(dict.fromkeys(m.kind for m in one.maps if m.head is None))


def _overlay(
    axes: Axes, pixels: NDArray[np.uint8], attention: AttentionMap | None, title: str
) -> None:
    """Lay a map over its image: red pushes up, blue down where the map is signed."""
    axes.set_axis_off()
    axes.set_title(title, fontsize=7)
    if attention is None:
        return
    height, width = pixels.shape[:2]
    axes.imshow(pixels.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    signed = attention.kind in ("response", "energy")
    peak = float(np.abs(attention.values).max()) or 1.0
    axes.imshow(
        attention.values,
        cmap="RdBu_r" if signed else "inferno",
        vmin=-peak if signed else 0,
        vmax=peak,
        alpha=0.6,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="bilinear",
    )


def _show_picture(axes: Axes, pixels: NDArray[np.uint8] | None, title: str) -> None:
    axes.set_axis_off()
    axes.set_title(title, fontsize=7)
    if pixels is not None:
        axes.imshow(pixels)


def _image(
    axes: Axes, values: NDArray[np.float64], title: str, cmap: str, low: float, high: float
) -> None:
    axes.set_title(title, fontsize=7)
    axes.imshow(values, cmap=cmap, vmin=low, vmax=high)


def _range(values: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    low, high = np.quantile(np.stack(values), [0.01, 0.999])
    return float(low), float(high)


def _example(path: str) -> NDArray[np.uint8] | None:
    try:
        return np.asarray(decode(read_file(path)))
    except (OSError, ImageError):
        return None


def _short(path: str) -> str:
    parts = Path(path).parts
    return shorten(escape_controls("/".join(parts[-2:])), 26)


MAX_SIDE = 160
"""Pixels; larger pictures are scaled down to it, smaller ones are kept as they are."""

_JPEG_QUALITY = 85


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a ``data:`` URI, or the reason why there is none; one of both is empty."""

    uri: str = ""
    reason: str = ""
    width: int = 0
    height: int = 0


def thumbnail(path: str, side: int = MAX_SIDE) -> Thumbnail:
    """Return a small copy of a picture, decoded by the rules that the backbones use.

    Parameters
    ----------
    path : str
        The file; it may hold surrogate escapes.
    side : int, pixels
        Of the larger side, at most.

    Returns
    -------
    Thumbnail
        With a reason instead of a picture where the file cannot be read.
    """
    try:
        image = decode(read_file(path))
    except OSError as error:
        return Thumbnail(reason=escape_controls(error.strerror or str(error)))
    except ValueError as error:
        return Thumbnail(reason=escape_controls(str(error)))
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/jpeg;base64,{data}", "", image.width, image.height)
