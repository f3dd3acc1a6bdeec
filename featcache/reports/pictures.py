"""Thumbnails that live inside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from featcache.images import decode
from featcache.reports.words import visible

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
        image = decode(Path(path).read_bytes())
    except OSError as error:
        return Thumbnail(reason=visible(error.strerror or str(error)))
    except ValueError as error:
        return Thumbnail(reason=visible(str(error)))
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/jpeg;base64,{data}", "", image.width, image.height)
