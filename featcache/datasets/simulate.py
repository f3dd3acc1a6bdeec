"""Fakes of a known artefact and strength, made from photographs, as an ordinary tree.

``<out>/{train,test}/<artefact>@<strength>/{0_real,1_fake}/<photo>__<tile>.png``: reals and fakes
are the same tiles of the same photographs, in one format and size, and differ by the artefact
only. Any probe on it gives a boundary curve: AP by generator name, which holds the strength.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.datasets.artefacts import ARTEFACTS, apply_artefact
from featcache.datasets.containers import read_bytes
from featcache.datasets.families import STRENGTH_MARK
from featcache.datasets.scan import split_of
from featcache.datasets.walk import IMAGE_SUFFIXES, suffix_of, walk
from featcache.errors import DataError, ImageError, SettingsError, unknown_name
from featcache.files import digest_bytes, whole_folder
from featcache.images import decode
from featcache.progress import progress

STRENGTHS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class _PlainError(DataError):
    """A tile in which a strength changes no pixel."""


@dataclass(frozen=True, kw_only=True)
class SimulateOptions:
    """What is made.

    Parameters
    ----------
    artefacts : tuple of str
        Of :data:`~featcache.datasets.artefacts.ARTEFACTS`.
    strengths : tuple of float in (0, 1]
    size : int, pixels
        Side of the square tiles.
    per_photo : int
        Tiles of a photograph at the most; they do not overlap.
    test_fraction : float in (0, 1)
        Share of the photographs that is held out.
    seed : int
        Of the noise.
    skip_plain : bool
        Leave out tiles, real and fake alike, in which a strength changes no pixel, instead of
        stopping.
    """

    artefacts: tuple[str, ...] = tuple(ARTEFACTS)
    strengths: tuple[float, ...] = STRENGTHS
    size: int = 256
    per_photo: int = 4
    test_fraction: float = 0.5
    seed: int = 0
    skip_plain: bool = False


@dataclass(frozen=True)
class Simulated:
    """What was made: where, the generators, how many tiles of how many photographs; tiles left
    out.
    """

    root: Path
    generators: list[str]
    n_photos: int
    n_tiles: int
    n_plain: int = 0


def simulate(photos: Path, out: Path, options: SimulateOptions) -> Simulated:
    """Write a tree of tiles and of the same tiles with artefacts.

    Parameters
    ----------
    photos : Path
        Folder of photographs; every image below it is one.
    out : Path
        Folder to make; whole or not at all.
    options : SimulateOptions

    Returns
    -------
    Simulated

    Raises
    ------
    DataError
        If ``out`` exists, if fewer than two photographs are large enough, or if a strength is so
        small that it changes no pixel of a tile (with ``skip_plain``: of any tile).
    SettingsError
        If a strength lies outside (0, 1].
    UnknownNameError
        If there is no such artefact.
    """
    generators = _generators(options)
    if out.exists():
        raise DataError(f"{out} exists already, so it is left alone. Choose another --out.")
    tiles = {name: list(cut) for name, cut in _photographs(photos, options)}
    tiles = {name: cut for name, cut in tiles.items() if cut}
    # The split of every photograph; both have at least one.
    names = sorted(tiles)
    if len(names) < 2:
        raise DataError(
            f"{len(names)} photographs are large enough; two are needed, one to train and one to "
            "test. Add photographs, or take smaller tiles: --size."
        )
    splits = {name: split_of(name, options.test_fraction) for name in names}
    if len(set(splits.values())) == 1:
        splits[names[0]] = "train"
        splits[names[-1]] = "test"
    n_tiles, n_plain = sum(map(len, tiles.values())), 0
    with whole_folder(out) as folder, progress("simulate", n_tiles * len(generators)) as advance:
        for name, cut in tiles.items():
            for i, tile in enumerate(cut):
                try:
                    fakes = _make_fakes(f"{name}__{i}", tile, generators, options)
                    _write_tile(folder / splits[name], f"{name}__{i}", tile, fakes)
                except _PlainError:
                    if not options.skip_plain:
                        raise
                    n_plain += 1
                advance(len(generators))
        if n_plain == n_tiles:
            raise DataError(f"Every tile of {photos} is too plain for one of the strengths.")
    return Simulated(out, list(generators), len(tiles), n_tiles - n_plain, n_plain)


def generator_name(artefact: str, strength: float) -> str:
    """Return the name of a simulated generator.

    Parameters
    ----------
    artefact : str
        Name of the artefact.
    strength : float
        Strength of the artefact.

    Returns
    -------
    str
        The name of a simulated generator.

    Examples
    --------
    >>> generator_name("zero-insertion", 0.25)
    'zero-insertion@0.25'
    """
    return f"{artefact}{STRENGTH_MARK}{strength:g}"


def split_generator(name: str) -> tuple[str, float] | None:
    """Return artefact and strength of a simulated generator, None for any other name.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Returns
    -------
    tuple[str, float] | None
        Artefact and strength of a simulated generator, None for any other name.

    Examples
    --------
    >>> split_generator("peaks@0.1"), split_generator("progan")
    (('peaks', 0.1), None)
    """
    artefact, mark, strength = name.rpartition(STRENGTH_MARK)
    try:
        return (artefact, float(strength)) if mark else None
    except ValueError:
        return None


def parse_strengths(texts: Iterable[str]) -> tuple[float, ...]:
    """Return the strengths that a user wrote.

    Parameters
    ----------
    texts : Iterable[str]
        Texts to read.

    Returns
    -------
    tuple[float, ...]
        The strengths that a user wrote.

    Raises
    ------
    SettingsError
        If one is no number.
    """
    try:
        return tuple(float(text) for text in texts)
    except ValueError as error:
        raise SettingsError(f"--strengths: {error}.") from error


def _generators(options: SimulateOptions) -> dict[str, tuple[str, float]]:
    for name in options.artefacts:
        if name not in ARTEFACTS:
            raise unknown_name("artefact", name, ARTEFACTS)
    for strength in options.strengths:
        if not 0 < strength <= 1:
            raise SettingsError(f"strength = {strength} is not allowed: it lies above 0, up to 1.")
    pairs = [(name, strength) for name in options.artefacts for strength in options.strengths]
    return {generator_name(*pair): pair for pair in pairs}


def _photographs(
    photos: Path, options: SimulateOptions
) -> Iterator[tuple[str, list[NDArray[np.uint8]]]]:
    """Yield a name and the tiles of every photograph that can be decoded and is large enough."""
    if not photos.is_dir():
        raise DataError(f"{photos} is no folder of photographs.")
    seen: set[str] = set()
    for folder in walk(str(photos)):
        for file in folder.files:
            if suffix_of(file.name) not in IMAGE_SUFFIXES or file.problem:
                continue
            try:
                data = read_bytes(file.path)
                image = decode(data)
            except (ImageError, OSError):
                continue
            name = digest_bytes(data)[:12]
            if name not in seen:
                seen.add(name)
                yield name, _tiles(image, options.size, options.per_photo)


def _tiles(image: Image.Image, size: int, n_most: int) -> list[NDArray[np.uint8]]:
    """Cut squares that do not overlap, those nearest to the centre first."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    top, left = (height % size) // 2, (width % size) // 2
    corners = [
        (y, x)
        for y in range(top, height - size + 1, size)
        for x in range(left, width - size + 1, size)
    ]

    def distance(corner: tuple[int, int]) -> float:
        return float(np.hypot(corner[0] + (size - height) / 2, corner[1] + (size - width) / 2))

    chosen = sorted(corners, key=lambda corner: (distance(corner), corner))[:n_most]
    return [pixels[y : y + size, x : x + size] for y, x in chosen]


def _make_fakes(
    name: str,
    tile: NDArray[np.uint8],
    generators: dict[str, tuple[str, float]],
    options: SimulateOptions,
) -> dict[str, NDArray[np.uint8]]:
    """Return the fakes of a tile by generator."""
    fakes = {}
    for generator, (artefact, strength) in generators.items():
        seed = digest_bytes(f"{options.seed}/{name}/{generator}".encode())
        state = np.random.RandomState(np.frombuffer(bytes.fromhex(seed), dtype="<u4"))
        fakes[generator] = apply_artefact(artefact, strength, tile, state)
        if np.array_equal(fakes[generator], tile):
            raise _PlainError(
                f"{generator} changes no pixel of a tile of photograph {name.partition('__')[0]}: "
                "the strength is too small, or the tile too plain. Take a larger strength."
            )
    return fakes


def _write_tile(
    folder: Path, name: str, tile: NDArray[np.uint8], fakes: dict[str, NDArray[np.uint8]]
) -> None:
    """Write one tile as a real of every generator, and its fakes."""
    real: Path | None = None
    for generator, fake in fakes.items():
        for label in ("0_real", "1_fake"):
            (folder / generator / label).mkdir(parents=True, exist_ok=True)
        target = folder / generator / "0_real" / f"{name}.png"
        if real is None:
            target.write_bytes(_png(tile))
            real = target
        else:
            try:
                os.link(real, target)
            except OSError:  # a file system without hard links
                shutil.copyfile(real, target)
        (folder / generator / "1_fake" / f"{name}.png").write_bytes(_png(fake))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
