"""What is known of a file without looking at the picture, as the backbone's input would still carry it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.datasets import Sample
from featcache.views import View

MAX_VALUES = 20
"""Values of a kind (formats, tables) that are told apart; the others count as one."""

WORDS = {
    "format": "file format",
    "tables": "JPEG quantisation table",
    "mode": "colour mode",
    "has_exif": "EXIF data",
    "size": "image size",
    "aspect": "aspect ratio",
    "bytes_per_pixel": "bytes per pixel",
}
"""The facts in words, the plainest first: of equally telling facts the first is named."""


@dataclass(frozen=True)
class FileFacts:
    """Facts of one file, as stored or as a view leaves it."""

    format: str
    tables: str
    mode: str
    has_exif: int
    width: int
    height: int
    bytes_per_pixel: float


def facts_of(sample: Sample) -> FileFacts:
    """Return the facts of a file as it is stored."""
    pixels = max(sample.width * sample.height, 1)
    return FileFacts(
        sample.format,
        sample.tables,
        sample.mode,
        sample.has_exif,
        sample.width,
        sample.height,
        sample.n_bytes / pixels,
    )


def facts_under(view: View, sample: Sample, size: tuple[int, int]) -> FileFacts:
    """Return the facts of a file as a view leaves them.

    A view that encodes gives every image one format and table; its bytes per pixel then measure the
    picture's detail and not the file any more, and are left out. A view that does not encode leaves
    the traces of the stored file in the pixels, so the stored facts stand, but for the size.

    Parameters
    ----------
    view : View
    sample : Sample
    size : (int, int), pixels
        Width and height after the view.
    """
    stored = facts_of(sample)
    if view.codec is None:
        return FileFacts(
            stored.format,
            stored.tables,
            stored.mode,
            stored.has_exif,
            *size,
            stored.bytes_per_pixel,
        )
    file_format, quality = view.codec
    return FileFacts(file_format, f"{file_format}-{quality}", "RGB", 0, *size, 0.0)


def table(facts: list[FileFacts]) -> dict[str, NDArray[np.float64]]:
    """Return for each fact its columns, shape (n, k): numbers as they are, kinds as indicators."""
    ratio = [fact.width / max(fact.height, 1) for fact in facts]
    return {
        "format": _kinds([fact.format for fact in facts]),
        "tables": _kinds([fact.tables for fact in facts]),
        "mode": _kinds([fact.mode for fact in facts]),
        "has_exif": _numbers([[fact.has_exif] for fact in facts]),
        "size": _numbers([[f.width, f.height, f.width * f.height] for f in facts]),
        "aspect": _numbers([[value] for value in ratio]),
        "bytes_per_pixel": _numbers([[fact.bytes_per_pixel] for fact in facts]),
    }


def most_common(name: str, facts: list[FileFacts]) -> str:
    """Return the most common value of a fact with its share, or the median of a number."""
    if name == "bytes_per_pixel":
        return f"median {np.median([fact.bytes_per_pixel for fact in facts]):.2f}"
    if name == "aspect":
        return f"median {np.median([f.width / max(f.height, 1) for f in facts]):.2f}"
    if name == "size":
        values = [f"{fact.width}x{fact.height}" for fact in facts]
    elif name == "has_exif":
        values = ["with EXIF" if fact.has_exif else "without" for fact in facts]
    else:
        values = [str(getattr(fact, name)) or "none" for fact in facts]
    value, count = Counter(values).most_common(1)[0]
    return f"{value} {100 * count / len(values):.0f} %"


def _numbers(rows: list[list[float]]) -> NDArray[np.float64]:
    return np.asarray(rows, dtype=np.float64)


def _kinds(values: list[str]) -> NDArray[np.float64]:
    common = [value for value, _ in Counter(values).most_common(MAX_VALUES)]
    return np.array([[value == name for name in common] for value in values], dtype=np.float64)
