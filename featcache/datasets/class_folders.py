"""Folders below a class folder: generators (``Fake/StyleGAN3``), categories or splits.

A tree ``progan/1_fake/cat`` and a tree ``Fake/StyleGAN3/faces`` look alike. What lies below the
class folders of one set is compared: names that both classes have are categories (or splits);
names that only the fakes have are generators, unless the folder above is itself a generator.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from featcache.datasets.evidence import FOLDER_WORDS
from featcache.datasets.families import OTHER_FAMILY, group_of
from featcache.datasets.layouts import EVERY, GENERAL, Place
from featcache.datasets.template import split_of_folder
from featcache.errors import DataError

_NEUTRAL = frozenset(
    ["images", "image", "imgs", "img", "png", "jpg", "jpeg", "webp", "data", "files", "all"]
)
"""Folders that only hold the images of the folder above."""


@dataclass
class _Set:
    """Paths below the class folders of one set, by label."""

    below: dict[int, list[tuple[str, ...]]] = field(default_factory=lambda: defaultdict(list))
    layouts: dict[str, str] = field(default_factory=dict)
    """Name of the class folder to the layout that it was read by."""


def resolve_below(read: Sequence[tuple[str, Place]], notes: list[str]) -> list[Place]:
    """Return the places of folders, with generators that lie below the class folders.

    Parameters
    ----------
    read : sequence of (str, Place)
        Path of each folder with images (root's name first), and what its layout says.
    notes : list of str
        Readings that the user must know are added.

    Returns
    -------
    list of Place
        In the order of the folders.

    Raises
    ------
    DataError
        If the two classes of one set were read by different layouts.
    """
    sets: dict[str, _Set] = defaultdict(_Set)
    cuts = _without_splits([_cut(path) for path, _ in read], [place for _, place in read])
    for (_, place), cut in zip(read, cuts, strict=True):
        if cut is not None:
            one_set = sets[cut.above]
            one_set.layouts[cut.word] = place.layout
            one_set.below[place.label].append(cut.below)
    for above, one_set in sets.items():
        if len(set(one_set.layouts.values())) > 1:
            pairs = ", ".join(f"{word}/ by {name}" for word, name in one_set.layouts.items())
            raise DataError(
                f"{above}: its class folders are read by different layouts: {pairs}. Force one "
                "with --layout NAME ('featcache datasets layouts' lists them)."
            )
    kinds = {above: _kind_below(above, one_set) for above, one_set in sets.items()}
    named: dict[str, set[str]] = {"generator": set(), "categories": set()}
    places = []
    for (_, place), cut in zip(read, cuts, strict=True):
        kind = kinds[cut.above] if cut and place.layout == GENERAL else ""
        if cut and kind == "generator":
            place = _with_generator(place, cut, is_paired=False)
            if place.label:
                named[kind].add(place.generator)
        elif cut and kind == "paired":
            place = _with_generator(place, cut, is_paired=True)
            named["generator"].add(place.generator)
        elif cut and kind == "categories":
            named[kind].update(cut.below[:1])
        if cut and cut.split and not place.split and place.layout == GENERAL:
            place = replace(place, split=cut.split)
        places.append(place)
    _note(named, notes)
    return places


class _Cut(NamedTuple):
    """A path cut at its class folder; a split folder below it is taken out."""

    above: str
    word: str
    below: tuple[str, ...]
    split: str = ""


def _without_splits(cuts: list[_Cut | None], places: list[Place]) -> list[_Cut | None]:
    """Take out the level below the class folders whose folders are all splits, where there is one.

    A single folder called ``train`` may be a category (of ProGAN); a whole level is not.
    """
    below: dict[tuple[str, int], list[tuple[str, ...]]] = defaultdict(list)
    for cut, place in zip(cuts, places, strict=True):
        if cut is not None and cut.below:
            below[cut.above, place.label].append(cut.below)
    levels = {
        key: next(
            (
                level
                for level in range(min(map(len, paths)))
                if all(split_of_folder(path[level]) for path in paths)
            ),
            None,
        )
        for key, paths in below.items()
    }
    cleaned: list[_Cut | None] = []
    for cut, place in zip(cuts, places, strict=True):
        level = levels.get((cut.above, place.label)) if cut is not None else None
        if cut is not None and level is not None and cut.below:
            split = split_of_folder(cut.below[level]) or ("", "")
            rest = cut.below[:level] + cut.below[level + 1 :]
            cut = cut._replace(below=rest, split=split[0])
        cleaned.append(cut)
    return cleaned


def _cut(path: str) -> _Cut | None:
    """Split a path at its class folder: what lies above, its name, what lies below."""
    parts = path.split("/")
    for i, part in enumerate(parts):
        if i and part.lower() in FOLDER_WORDS:
            below = tuple(name for name in parts[i + 1 :] if name.lower() not in _NEUTRAL)
            return _Cut("/".join(parts[:i]), part, below)
    return None


def _kind_below(above: str, one_set: _Set) -> str:
    """Return what the folders below the class folders of a set are.

    ``generator``: names that only the fakes have. ``paired``: names of known generators that both
    classes have. ``categories``: names that both have, below a folder that names no generator.
    Empty: nothing that needs a note.
    """
    fakes = {below[0] for below in one_set.below[1] if below}
    reals = {below[0] for below in one_set.below[0] if below}
    direct = any(not below for below in one_set.below[1])
    own = above.split("/")[-1]
    is_root = "/" not in above
    is_generator = not is_root and group_of(own) != OTHER_FAMILY
    if not fakes or direct or is_generator:
        is_known = any(group_of(name) != OTHER_FAMILY for name in fakes)
        return "generator" if is_known and not direct and not fakes & reals else ""
    if fakes & reals:
        if all(group_of(name) != OTHER_FAMILY for name in fakes & reals):
            return "paired"
        return "categories" if len(fakes) > 1 else ""
    if any(group_of(name) != OTHER_FAMILY for name in fakes):
        return "generator"
    return "generator" if is_root or split_of_folder(own) or len(fakes) > 1 else ""


def _with_generator(place: Place, cut: _Cut, is_paired: bool) -> Place:
    """Return a place whose generator lies below its class folder; what lies above is a category."""
    channels = [name for name in cut.above.split("/")[1:] if not split_of_folder(name)]
    splits = [named for name in cut.above.split("/")[1:] if (named := split_of_folder(name))]
    category = "/".join(channels)
    split = splits[0][0] if splits else place.split
    if is_paired and cut.below:
        return replace(place, generator=cut.below[0], category=category, split=split)
    if not place.label:
        return replace(place, category=category, paired_with=EVERY, split=split)
    return replace(place, generator=cut.below[0], category=category, split=split)


def _note(named: dict[str, set[str]], notes: list[str]) -> None:
    """Add one note on all generators, and one on all categories, below class folders."""
    for kind, names in named.items():
        listed = ", ".join(sorted(names)[:5]) + (", …" if len(names) > 5 else "")
        if names and kind == "generator":
            notes.append(
                f"Generators are read from the folders below the fakes: {listed} "
                f"({len(names):,}). If these are categories, force a layout with --layout."
            )
        elif names:
            notes.append(
                f"Folders below the class folders that both classes have are read as categories of"
                f" one generator: {listed} ({len(names):,}). If these are generators, describe the "
                "layout ([[layout]] in featcache.toml)."
            )
