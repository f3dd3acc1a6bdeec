"""Which files of a root are samples, and what their place says: a tree, a container or a list."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from featcache.datasets.containers import is_container, read_bytes
from featcache.datasets.layouts import LAYOUTS, Layout, Place, Rule
from featcache.datasets.listed import in_list, in_parquet, in_tar, is_list, share_reals
from featcache.datasets.walk import IMAGE_SUFFIXES, File, Folder, suffix_of, walk
from featcache.errors import DataError, unknown_name
from featcache.images import is_image

HEAD_BYTES = 4096
"""Enough of a file's beginning to recognise its format."""

HIDDEN = ("Thumbs.db", "desktop.ini")
NOT_NAMED = "image in a folder that the layout does not name"
NO_SAMPLE = "no sample of the data set (reconstructions)"


@dataclass
class Discovered:
    """What was found below a root.

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
    """

    samples: list[tuple[File, Place]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    layouts: Counter[str] = field(default_factory=Counter)
    strays: list[str] = field(default_factory=list)


def find(root: Path, layout: str = "") -> Discovered:
    """Find the samples of a root.

    Parameters
    ----------
    root : Path
        A folder, a tar, zip or Parquet file with images in it, or a CSV, JSON Lines or Parquet
        list.
    layout : str
        Name of the layout to read it by; empty means by its structure.

    Returns
    -------
    Discovered

    Raises
    ------
    DataError
        If the root is missing or of no known layout: says what was expected and what was found.
    UnknownNameError
        If there is no such layout.
    """
    chosen = _chosen(layout)
    if not root.exists():
        raise DataError(f"{root} is no folder and no file. {_expected(chosen or LAYOUTS)}")
    if root.is_file() and is_list(root):
        result = Discovered(samples=share_reals(list(in_list(root))))
    elif root.is_file() and not is_container(root.name):
        raise DataError(
            f"{root} is a file. Give the root of a tree, a .tar, .zip or .parquet file with images,"
            " or a .csv, .jsonl or .parquet list."
        )
    else:
        result = _find_in_folders(root, list(walk(str(root))), chosen)
    result.layouts.update(place.layout for _, place in result.samples)
    return result


def read_place(path: str, layouts: Iterable[Layout] = LAYOUTS) -> tuple[Rule, Place] | None:
    """Return what a folder's path says (root's name first, joined by ``/``), None where nothing.

    Parameters
    ----------
    path : str
        File or folder.
    layouts : Iterable[Layout]
        Layouts to try, in order.

    Returns
    -------
    tuple[Rule, Place] | None
        What a folder's path says (root's name first, joined by ``/``), None where nothing.

    Examples
    --------
    >>> read_place("data/test/stylegan/cat/1_fake")[1].generator
    'stylegan'
    """
    return next((read for layout in layouts if (read := layout.read(path))), None)


def layout_names() -> list[str]:
    """Return the names that ``--layout`` takes.

    Returns
    -------
    list[str]
        The names that ``--layout`` takes.
    """
    return [layout.name for layout in LAYOUTS]


def _chosen(name: str) -> tuple[Layout, ...]:
    if not name:
        return ()
    chosen = tuple(layout for layout in LAYOUTS if layout.name == name)
    if not chosen:
        raise unknown_name("layout", name, layout_names())
    return chosen


def _find_in_folders(root: Path, folders: list[Folder], chosen: tuple[Layout, ...]) -> Discovered:
    root_name = root.stem if root.is_file() else root.name
    names = {part.lower() for folder in folders for part in (root_name, *folder.parts)}
    layouts = chosen or tuple(layout for layout in LAYOUTS if layout.fits(names))
    result = Discovered()
    rows: list[tuple[File, Place]] = []
    for folder in folders:
        path = "/".join((root_name, *folder.parts))
        if folder.container.lower().endswith(".parquet"):
            rows += in_parquet(folder, path)
        elif folder.container.lower().endswith(".tar") and (inside := in_tar(folder, path)):
            rows += inside
        else:
            _add_folder(result, folder, path, read_place(path, layouts))
    result.samples += share_reals(rows)
    if not result.samples and not _has_named_folder(folders, root_name, layouts):
        what = "that of the layout" if len(layouts) == 1 else "0_real and 1_fake (or real and fake)"
        shown = ["/".join((*folder.parts, "")) or "./" for folder in folders if folder.files]
        if not shown and root.is_dir():
            shown = sorted(entry.name for entry in os.scandir(root))
        listing = ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "") if shown else "nothing"
        raise DataError(
            f"{root} holds no folders named {what}. {_expected(layouts)} Found: {listing}. "
            "Rename the folders, force a layout with --layout, or give a list with the columns "
            "path, label, generator."
        )
    return result


def _has_named_folder(folders: list[Folder], root_name: str, layouts: Sequence[Layout]) -> bool:
    paths = ("/".join((root_name, *folder.parts)) for folder in folders)
    return any(read_place(path, layouts) for path in paths)


def _add_folder(
    result: Discovered, folder: Folder, path: str, read: tuple[Rule, Place] | None
) -> None:
    """Add the files of one folder, or count why they are none."""
    images = []
    for file in folder.files:
        reason = _why_skipped(file)
        if not reason and read is None:
            reason = NOT_NAMED
        elif not reason and read and read[0].skip:
            reason = NO_SAMPLE
        if reason:
            result.skipped[reason] += 1
        else:
            images.append(file)
    if read is None:
        if any(suffix_of(file.name) in IMAGE_SUFFIXES for file in folder.files):
            result.strays.append(path)
        return
    rule, place = read
    source_of = re.compile(rule.source) if rule.source else None
    for file in images:
        match = source_of.search(file.path) if source_of else None
        result.samples.append(
            (
                file,
                (
                    Place(
                        place.split,
                        place.generator,
                        place.category,
                        place.label,
                        place.paired_with,
                        match.group(1),
                        place.layout,
                    )
                    if match
                    else place
                ),
            )
        )


def _why_skipped(file: File) -> str:
    if file.name.startswith(".") or file.name in HIDDEN:
        return "hidden file"
    suffix = suffix_of(file.name)
    if suffix in IMAGE_SUFFIXES or not suffix or _looks_like_image(file):
        return ""
    return f"no image ({suffix})"


def _looks_like_image(file: File) -> bool:
    """Say whether a file of another suffix is an image all the same (``picture.png_large``)."""
    if file.problem or suffix_of(file.name) in (
        ".txt",
        ".json",
        ".csv",
        ".py",
        ".md",
        ".npy",
        ".pkl",
    ):
        return False
    try:
        if "::" in file.path:
            return is_image(read_bytes(file.path)[:HEAD_BYTES])
        with open(file.path, "rb") as opened:
            return is_image(opened.read(HEAD_BYTES))
    except OSError:
        return False


def _expected(layouts: Sequence[Layout]) -> str:
    if len(layouts) == 1:
        return f"Expected {layouts[0].summary}."
    general = next(layout for layout in LAYOUTS if layout.name == "tree")
    named = ", ".join(layout.name for layout in LAYOUTS if layout.name != "tree")
    return f"Expected <root>/{general.summary}, or one of the layouts {named}; or a list."


def describe_layouts() -> list[dict[str, str]]:
    """Return name and summary of every layout, in the order in which they are tried.

    Returns
    -------
    list[dict[str, str]]
        Name and summary of every layout, in the order in which they are tried.
    """
    return [{"name": layout.name, "summary": layout.summary} for layout in LAYOUTS]
