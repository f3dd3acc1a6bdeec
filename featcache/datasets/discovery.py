"""Which files of a root are samples, and what their place says: a tree, a container or a list."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from featcache.datasets.archives import COMPRESSED_TARS
from featcache.datasets.class_folders import resolve_below
from featcache.datasets.containers import TABLES, container_stem, is_container, read_bytes
from featcache.datasets.evidence import LabelMap
from featcache.datasets.layouts import GENERAL, Layout, Place, Rule, load_layouts
from featcache.datasets.listed import in_list, in_table, in_tar, is_list, share_reals
from featcache.datasets.records import Reading
from featcache.datasets.walk import (
    IMAGE_SUFFIXES,
    SPLIT_ARCHIVE,
    File,
    Folder,
    name_of_root,
    suffix_of,
    walk,
)
from featcache.errors import DataError, unknown_name
from featcache.files import open_file
from featcache.images import is_image
from featcache.parsing import BoundedPattern

HEAD_BYTES = 65536
"""Enough of a file's beginning to recognise its format, also behind EXIF of a phone."""

HIDDEN = ("Thumbs.db", "desktop.ini")
NOT_NAMED = "image in a folder that the layout does not name"
NO_SAMPLE = "no sample of the data set (reconstructions)"
UNREAD_ARCHIVES = re.compile(
    r"\.(tar\.(zst|lz4?|z)|tzst|7z|rar|r\d\d|z\d\d|(zip|7z|rar|tar|tgz|gz|bz2|xz)\.\d+|\d\d\d|part\d+"
    r"|gz|bz2|xz|zst)$"
)
"""Archives that are not read in place: split volumes and other formats."""

UNREAD = "archive of a kind that is not read in place (unpack it)"
NO_IMAGES = frozenset((".txt", ".json", ".csv", ".py", ".md", ".npy", ".pkl", ".pdf", ".h5"))


@dataclass
class Discovered:
    """The samples below a root, before their bytes are read.

    Parameters
    ----------
    samples : list of (File, Place)
        In the order of their paths.
    skipped : Counter of str
        Entries that were passed over, by reason.
    layouts : Counter of str
        Samples by the layout that they were read by.
    strays : list of str
        Folders with images that no layout names.
    notes : list of str
        Readings that the user must know.
    evidence : Counter of str
        Evidence of the labels to number of samples.
    """

    samples: list[tuple[File, Place]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    layouts: Counter[str] = field(default_factory=Counter)
    strays: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    evidence: Counter[str] = field(default_factory=Counter)


def find(
    root: Path,
    layout: str = "",
    mapping: LabelMap | None = None,
    own_layouts: Sequence[Mapping[str, Any]] = (),
) -> Discovered:
    """Find the samples of a root.

    Parameters
    ----------
    root : Path
        A folder, a tar, zip or Parquet file with images in it, or a list.
    layout : str
        Name of the layout to read it by; empty means by its structure.
    mapping : LabelMap, optional
        The user's own columns and values.
    own_layouts : sequence of mapping
        ``[[layout]]`` tables of the settings file.

    Returns
    -------
    Discovered

    Raises
    ------
    DataError
        If the root is missing, of no known layout, or its labels contradict each other.
    UnknownNameError
        If there is no such layout.
    """
    mapping = mapping or LabelMap()
    words = {value: int(word == "fake") for value, word in mapping.labels.items() if word != "skip"}
    layouts = load_layouts(own_layouts, words)
    chosen: tuple[Layout, ...] = ()
    if layout:
        chosen = tuple(entry for entry in layouts if entry.name == layout)
        if not chosen:
            raise unknown_name("layout", layout, [entry.name for entry in layouts])
    if not root.exists():
        raise DataError(f"{root} is no folder and no file. {_expected(chosen or layouts)}")
    reading = Reading()
    if root.is_file() and is_list(root):
        result = Discovered(samples=share_reals(list(in_list(root, mapping, reading))))
    elif root.is_file() and not is_container(root.name):
        if UNREAD_ARCHIVES.search(root.name.lower()):
            raise DataError(
                f"{root} is an archive, or a volume of one, that is not read in place. Unpack it "
                "(7z x FILE; of a split archive give the first volume) and give the folder."
            )
        raise DataError(
            f"{root} is a file. Give the root of a tree, a .tar (also .gz, .xz, .bz2), .zip,"
            " .parquet or .arrow file with images, or a list"
            " (.csv, .tsv, .json, .jsonl, .txt, .parquet)."
        )
    else:
        folders = list(walk(str(root)))
        result = _find_in_folders(root, folders, layouts, chosen, mapping, reading)
    result.layouts.update(place.layout for _, place in result.samples)
    result.skipped.update(reading.skipped)
    result.notes += reading.notes
    result.evidence.update(reading.evidence)
    return result


def read_place(path: str, layouts: Sequence[Layout] = ()) -> tuple[Rule, Place] | None:
    """Return what a folder's path says (root's name first, joined by ``/``), None where nothing.

    Parameters
    ----------
    path : str
        Names of the folders.
    layouts : sequence of Layout
        Layouts to try, in order; by default the shipped table.

    Returns
    -------
    (Rule, Place) or None

    Examples
    --------
    >>> read_place("data/test/stylegan/cat/1_fake")[1].generator
    'stylegan'
    """
    table = layouts or load_layouts()
    return next((read for layout in table if (read := layout.read(path))), None)


def layout_names() -> list[str]:
    """Return the names that ``--layout`` takes.

    Returns
    -------
    list of str
    """
    return [layout.name for layout in load_layouts()]


def describe_layouts(own: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, str]]:
    """Return name, summary and source of every layout, in the order in which they are tried.

    Parameters
    ----------
    own : sequence of mapping
        ``[[layout]]`` tables of the settings file.

    Returns
    -------
    list of dict
    """
    return [
        {"name": layout.name, "summary": layout.summary, "source": layout.source}
        for layout in load_layouts(own)
    ]


def _find_in_folders(
    root: Path,
    folders: list[Folder],
    layouts: tuple[Layout, ...],
    chosen: tuple[Layout, ...],
    mapping: LabelMap,
    reading: Reading,
) -> Discovered:
    """Read every folder by the first layout that fits it."""
    root_name = name_of_root(root)
    # A shard of a data set of the Hub is named by the data set, but says its split.
    shard = (stem,) if root.is_file() and (stem := container_stem(root.name)) != root_name else ()
    names = {part.lower() for folder in folders for part in (root_name, *folder.parts)}
    table = chosen or tuple(layout for layout in layouts if layout.fits(names))
    skip = {value for value, word in mapping.labels.items() if word == "skip"}
    result = Discovered()
    rows: list[tuple[File, Place]] = []
    by_path: list[tuple[Folder, str, tuple[Rule, Place]]] = []
    is_named = False
    for folder in folders:
        path = "/".join((root_name, *shard, *folder.parts))
        if folder.problem:
            result.skipped[folder.problem] += 1
        elif skip & {part.lower() for part in folder.parts}:
            result.skipped["left out by --label"] += len(folder.files)
        elif folder.container.lower().endswith(TABLES):
            rows += in_table(folder, path, mapping, reading)
        elif folder.container.lower().endswith((".tar", *COMPRESSED_TARS)) and (
            inside := in_tar(folder, path, mapping, reading)
        ):
            rows += inside
        elif read := read_place(path, table):
            is_named = True
            if folder.files:
                by_path.append((folder, path, read))
        else:
            _count_strays(result, folder, path)
    places = resolve_below([(path, place) for _, path, (_, place) in by_path], result.notes)
    for (folder, _, (rule, _)), place in zip(by_path, places, strict=True):
        result.samples += _samples_of(result, folder, rule, place)
    result.samples += share_reals(rows)
    if unread := _unread_archives(folders):
        result.notes.append(unread)
    if not result.samples and not is_named:
        _refuse(root, folders, table)
    return result


def _unread_archives(folders: list[Folder]) -> str:
    """Return the note on archives that are not read in place, empty where there are none."""
    names = [
        os.path.basename(file.path)
        for folder in folders
        for file in folder.files
        if UNREAD_ARCHIVES.search(file.name.lower())
    ] + [os.path.basename(f.container) for f in folders if f.problem == SPLIT_ARCHIVE]
    if not names:
        return ""
    return (
        f"{len(names):,} archives, or volumes of archives, are not read in place: "
        f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}. If their images belong to the "
        "data set, unpack them (7z x FILE; of a split archive the first volume)."
    )


def _refuse(root: Path, folders: list[Folder], layouts: Sequence[Layout]) -> None:
    """Raise the error of a root of no known layout."""
    what = "that of the layout" if len(layouts) == 1 else "0_real and 1_fake (or real and fake)"
    shown = ["/".join((*folder.parts, "")) or "./" for folder in folders if folder.files]
    if not shown and root.is_dir():
        shown = sorted(entry.name for entry in os.scandir(root))
    listing = ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "") if shown else "nothing"
    raise DataError(
        f"{root} holds no folders named {what}. {_expected(layouts)} Found: {listing}. "
        "Name your class folders (--label NAME=real --label OTHER=fake), force a layout with "
        "--layout, describe one as [[layout]] in featcache.toml, or give a list with the columns "
        f"path, label, generator. {_unread_archives(folders)}".rstrip()
    )


def _count_strays(result: Discovered, folder: Folder, path: str) -> None:
    """Count the files of a folder that no layout names."""
    for file in folder.files:
        result.skipped[why_skipped(file) or NOT_NAMED] += 1
    if any(suffix_of(file.name) in IMAGE_SUFFIXES for file in folder.files):
        result.strays.append(path)


def _samples_of(
    result: Discovered, folder: Folder, rule: Rule, place: Place
) -> list[tuple[File, Place]]:
    """Return the images of one folder; what is none is counted with its reason."""
    source_of = BoundedPattern(rule.source, "source =").first_group if rule.source else None
    samples = []
    for file in folder.files:
        reason = why_skipped(file) or (NO_SAMPLE if rule.skip else "")
        if reason:
            result.skipped[reason] += 1
            continue
        source = source_of(file.path) if source_of else ""
        samples.append((file, replace(place, source=source) if source else place))
    if samples:
        word = ("real", "fake")[place.label]
        result.evidence[f"layout {place.layout}, {rule.template.text} ({word})"] += len(samples)
    return samples


def why_skipped(file: File) -> str:
    """Return why a file of a tree is passed over, empty where it is read as an image.

    Parameters
    ----------
    file : File
        As :func:`~featcache.datasets.walk.walk` yields it.

    Returns
    -------
    str
    """
    if file.name.startswith(".") or file.name in HIDDEN:
        return "hidden file"
    if UNREAD_ARCHIVES.search(file.name.lower()):
        return UNREAD
    suffix = suffix_of(file.name)
    if suffix in IMAGE_SUFFIXES or not suffix or _looks_like_image(file):
        return ""
    return f"no image ({suffix})"


def _looks_like_image(file: File) -> bool:
    """Return whether a file of another suffix is an image all the same (``picture.png_large``)."""
    if file.problem or suffix_of(file.name) in NO_IMAGES:
        return False
    try:
        if "::" in file.path:
            return is_image(read_bytes(file.path)[:HEAD_BYTES])
        with open_file(file.path) as opened:
            return is_image(opened.read(HEAD_BYTES))
    except OSError:
        return False


def _expected(layouts: Sequence[Layout]) -> str:
    if len(layouts) == 1:
        return f"Expected {layouts[0].summary}."
    general = next(layout for layout in load_layouts() if layout.name == GENERAL)
    named = ", ".join(layout.name for layout in load_layouts() if layout.name != GENERAL)
    return f"Expected <root>/{general.summary}, or one of the layouts {named}; or a list."
