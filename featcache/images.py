"""From the bytes of a file to RGB pixels, or a reason why not.

The rules, the same for every backbone (they are part of the feature key as :data:`DECODING`):

- what Pillow's ``convert("RGB")`` gives, as the code of UnivFD and of the paper does; alpha is
dropped;
- 16-bit grey is scaled to 8 bits (Pillow alone would clip it to white);
- of an animation the first frame;
- EXIF orientation is not applied (a preset that ends in ``+exif`` applies it afterwards);
- a truncated file is an error, never padded with grey.

Resizing and cutting as torchvision does it on Pillow images, to the pixel; knows no torch.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import re
import struct
import warnings
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError, _imaging

from featcache.errors import ImageError
from featcache.files import digest_bytes

# Photographs carry ICC profiles and generated images carry workflows of megabytes as compressed
# text. Pillow's bound of 1 MiB calls them damaged, and only one class would be hit.
PngImagePlugin.MAX_TEXT_CHUNK = 64 * 2**20
PngImagePlugin.MAX_TEXT_MEMORY = 64 * 2**20


DECODING = {"mode": "RGB", "alpha": "drop", "exif": "ignore", "frame": "first", "deep": "scale"}
"""The decoding rules as they stand in a feature key."""

MAX_PIXELS = 120_000_000
"""An image of more pixels is refused before it is decoded (a bomb needs a few bytes to fill the
memory).
"""

FORMATS = (
    "JPEG",
    "MPO",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "DIB",
    "TIFF",
    "PPM",
    "JPEG2000",
    "AVIF",
    "ICO",
    "HEIF",
    "JXL",
    "TGA",
)
"""What is decoded, in the order in which it is tried: TGA has no magic number and comes last.
Pillow knows more; one of the others (EPS) runs a program, and photographs come in none.
"""

_PLUGINS = ("pillow_heif", "pillow_jxl")
"""Modules of ``featcache[formats]``, which register HEIF and JPEG XL with Pillow."""

_NEEDS_PLUGIN = (
    ("HEIF", re.compile(rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ", re.DOTALL)),
)
"""Formats that need a plug-in, and how their files begin (ISO/IEC 23008-12 and 18181-2)."""

MAX_JPEG_SCANS = 200
"""Passes over the picture that a progressive JPEG may take: a few bytes can ask for millions."""

# What Pillow's plug-ins raise on damaged files, found by feeding them damaged files.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    AttributeError,
    MemoryError,
    RuntimeError,
    NotImplementedError,
    ZeroDivisionError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, slots=True)
class ImageMetadata:
    """What a file's header says: the facts that shortcuts are made of.

    Parameters
    ----------
    format : str
        Pillow's name of the format (``"JPEG"``), empty where no image was recognised.
    mode : str
        Pillow's mode as stored (``"RGB"``, ``"P"``, ``"I;16"``).
    width, height : int, pixels
        0 where unknown.
    jpeg_quality : int in [1, 100], or 0
        The quality whose standard luminance table is nearest; 0 for other formats.
    tables : str
        Eight hexadecimal digits that name the quantisation tables; empty for other formats.
    has_exif : int in {0, 1}
        Whether the file carries EXIF data.
    """

    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    jpeg_quality: int = 0
    tables: str = ""
    has_exif: int = 0


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the image in ``data`` as RGB.

    Parameters
    ----------
    data : bytes
        The whole file.
    max_pixels : int
        Refuse more pixels than this.

    Returns
    -------
    PIL.Image.Image
        Mode ``"RGB"``, 8 bits.

    Raises
    ------
    ImageError
        With the reason, in a few words, why the file is no usable image.
    """
    if not data:
        raise ImageError("the file is empty")
    with warnings.catch_warnings():
        # Pillow warns about bombs, EXIF oddities and palettes; our own limits and rules say it
        # instead.
        warnings.simplefilter("ignore")
        image = _open(data)
        if image.width * image.height > max_pixels:
            raise ImageError(
                f"{image.width} x {image.height} pixels are more than the limit of {max_pixels:,}"
            )
        if image.format in ("JPEG", "MPO") and _count_scans(data) > MAX_JPEG_SCANS:
            raise ImageError(f"the JPEG takes more than {MAX_JPEG_SCANS} passes to decode")
        try:
            image.load()
            return convert_to_rgb(image)
        except _DECODE_ERRORS as error:
            raise ImageError(f"the {image.format} data are damaged: {_message(error)}") from error


def apply_orientation(image: Image.Image) -> Image.Image:
    """Return a decoded image turned and mirrored as its EXIF orientation says.

    Parameters
    ----------
    image : PIL.Image.Image
        As :func:`decode` returns it.

    Returns
    -------
    PIL.Image.Image
        The image itself where it has no orientation.

    Raises
    ------
    ImageError
        If the EXIF data are damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ImageOps.exif_transpose(image)
    except (*_DECODE_ERRORS, struct.error) as error:
        raise ImageError(f"the EXIF data are damaged: {_message(error)}") from error


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """Return an image as RGB of 8 bits, 16-bit grey scaled: the rule for files and for arrays.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any mode.

    Returns
    -------
    PIL.Image.Image
        Mode ``"RGB"``.

    Raises
    ------
    ImageError
        If the pixels are floats, or integers outside 0..65535.
    """
    if image.mode.startswith("I"):
        # Scale 16-bit grey to 8 bits; Pillow's own conversion clips all above 255 to white.
        deep = np.asarray(image).astype(np.int64)
        if deep.min() < 0 or deep.max() > 0xFFFF:
            raise ImageError("integer pixels outside 0..65535 have no known range")
        rgb = Image.fromarray(((deep + 128) // 257).astype(np.uint8)).convert("RGB")
        rgb.info = image.info  # the orientation is in it
        return rgb
    if image.mode == "F":
        raise ImageError("floating-point pixels have no known range")
    return image.convert("RGB")


_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""A marker; within a scan ``FF 00`` is a data byte and ``FF D0`` to ``FF D7`` are restarts."""


def _count_scans(data: bytes) -> int:
    """Return how many scans a JPEG has before its end marker, at most one above the limit.

    Segments are stepped over by their length (ITU-T T.81, Annex B), so that neither the thumbnail
    in the EXIF data nor what follows the end (the video of a motion photo) is counted.
    """
    n_scans, position = 0, 2
    while n_scans <= MAX_JPEG_SCANS and (marker := _JPEG_MARKER.search(data, position)):
        kind, position = marker.group()[-1], marker.end()
        if kind == 0xD9:
            break
        n_scans += kind == 0xDA
        if kind not in (0x01, 0xD8):
            position += int.from_bytes(data[position : position + 2], "big")
    return n_scans


def read_metadata(data: bytes) -> ImageMetadata:
    """Return what the header of an image file says, without decoding its pixels.

    Parameters
    ----------
    data : bytes
        The file, or enough of its beginning to hold the header.

    Returns
    -------
    ImageFacts
        All empty where the bytes are no image that Pillow knows.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = _open(data)
        except ImageError:
            return ImageMetadata()
    quality, tables = _name_tables(getattr(image, "quantization", None))
    has_exif = int("exif" in image.info)
    return ImageMetadata(
        image.format or "", image.mode, image.width, image.height, quality, tables, has_exif
    )


def _name_tables(tables: dict[int, list[int]] | None) -> tuple[int, str]:
    """Return the quality that quantisation tables stand for, and their name."""
    if not tables:
        return 0, ""
    return _name_frozen(tuple((number, tuple(table)) for number, table in sorted(tables.items())))


@lru_cache(maxsize=1024)
def _name_frozen(tables: tuple[tuple[int, tuple[int, ...]], ...]) -> tuple[int, str]:
    quality = estimate_jpeg_quality({number: list(table) for number, table in tables})
    return quality, digest_bytes(repr(tables).encode())[:8]


def is_image(head: bytes) -> bool:
    """Say whether a file that begins with ``head`` looks like an image that Pillow can open.

    Parameters
    ----------
    head : bytes
        Fitted head, if there is one.

    Returns
    -------
    bool
    """
    return read_metadata(head).format != ""


def estimate_jpeg_quality(tables: dict[int, list[int]]) -> int:
    """Return the IJG quality whose luminance table is nearest to the file's.

    Parameters
    ----------
    tables : dict of int to list of 64 int
        Quantisation tables as Pillow gives them; only the first is used.

    Returns
    -------
    int in [1, 100]

    Notes
    -----
    The mean of a table grows strictly as the quality falls, so that a search on the mean suffices;
    tables of other encoders get the nearest standard quality.
    """
    table = np.asarray(tables[min(tables)], dtype=np.float64)
    return int(np.argmin(np.abs(_IJG_MEANS - table.mean()))) + 1


# Luminance table of ITU-T T.81, Annex K, from which the IJG encoder scales all its qualities.
_IJG_BASE = np.array(
    [
        "16",
        "11",
        "10",
        "16",
        "24",
        "40",
        "51",
        "61",
        "12",
        "12",
        "14",
        "19",
        "26",
        "58",
        "60",
        "55",
        "14",
        "13",
        "16",
        "24",
        "40",
        "57",
        "69",
        "56",
        "14",
        "17",
        "22",
        "29",
        "51",
        "87",
        "80",
        "62",
        "18",
        "22",
        "37",
        "56",
        "68",
        "109",
        "103",
        "77",
        "24",
        "35",
        "55",
        "64",
        "81",
        "104",
        "113",
        "92",
        "49",
        "64",
        "78",
        "87",
        "103",
        "121",
        "120",
        "101",
        "72",
        "92",
        "95",
        "98",
        "112",
        "100",
        "103",
        "99",
    ],
    dtype=np.int64,
)


def _ijg_mean(quality: int) -> float:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return float(np.clip((_IJG_BASE * scale + 50) // 100, 1, 255).mean())


_IJG_MEANS = np.array([_ijg_mean(quality) for quality in range(1, 101)])


@cache
def _formats() -> tuple[str, ...]:
    """Return those of our formats that this Pillow and its plug-ins can read."""
    Image.init()
    for name in _PLUGINS:
        try:
            plugin = importlib.import_module(name)
        except ImportError:
            continue
        if name == "pillow_heif":
            plugin.register_heif_opener()
    try:
        # libtiff writes what it thinks of a file to the terminal; Pillow's exception suffices.
        libtiff = ctypes.CDLL(_imaging.__file__)
        for handler in (libtiff.TIFFSetErrorHandler, libtiff.TIFFSetWarningHandler):
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)
    except (OSError, AttributeError):
        pass  # Pillow was built without libtiff, or hides its functions
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError as error:
        for name, magic in _NEEDS_PLUGIN:
            if magic.match(data) and name.replace("JPEG XL", "JXL") not in _formats():
                raise ImageError(
                    f"{name} needs a plug-in: pip install 'featcache[formats]'"
                ) from error
        raise ImageError("not an image in a format that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too many pixels: {_message(error)}") from error
    except _DECODE_ERRORS as error:
        raise ImageError(f"the header is damaged: {_message(error)}") from error


def _message(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Interpolation filters by name; all but ``nearest`` are antialiased when they shrink."""


def resize_shorter_side(image: Image.Image, size: int, interpolation: str) -> Image.Image:
    """Resize so that the shorter side is ``size``; the longer is truncated to whole pixels.

    Parameters
    ----------
    image : Image.Image
        Decoded image.
    size : int
        Side of the input in pixels.
    interpolation : str
        Resampling filter.

    Returns
    -------
    Image.Image
    """
    width, height = image.size
    short, long = sorted(image.size)
    if short == size:
        return image
    new_long = max(int(size * long / short), 1)
    new = (size, new_long) if width <= height else (new_long, size)
    return image.resize(new, FILTERS[interpolation])


def center_crop(image: Image.Image, size: int) -> Image.Image:
    """Cut the central square; what lies outside the image is black.

    Parameters
    ----------
    image : Image.Image
        Decoded image.
    size : int
        Side of the input in pixels.

    Returns
    -------
    Image.Image
    """
    width, height = image.size
    left = _offset(width, size)
    top = _offset(height, size)
    return image.crop((left, top, left + size, top + size))


def _offset(length: int, size: int) -> int:
    """Return where the crop begins, with torchvision's rounding for cutting and for padding."""
    return round((length - size) / 2.0) if length >= size else -((size - length) // 2)
