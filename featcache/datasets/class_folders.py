"""Folders below a class folder: generators (``Fake/StyleGAN3``), categories or splits.

A tree ``progan/1_fake/cat`` and a tree ``Fake/StyleGAN3/faces`` look alike. What lies below the
class folders of one set is compared: names that both classes have are categories (or splits);
names that only the fakes have are generators, unless the folder above is itself a generator.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
    cuts = [_cut(path) for path, _ in read]
    for (_, place), cut in zip(read, cuts, strict=True):
        if cut is not None:
            above, word, below = cut
            one_set = sets[above]
            one_set.layouts[word] = place.layout
            one_set.below[place.label].append(below)
    for above, one_set in sets.items():
        if len(set(one_set.layouts.values())) > 1:
            pairs = ", ".join(f"{word}/ by {name}" for word, name in one_set.layouts.items())
            raise DataError(
                f"{above}: its class folders are read by different layouts: {pairs}. Force one "
                "with --layout NAME ('featcache datasets layouts' lists them)."
            )
    kinds = {above: _kind_below(above, one_set) for above, one_set in sets.items()}
    named: dict[str, set[str]] = defaultdict(set)
    places = []
    for (path, place), cut in zip(read, cuts, strict=True):
        kind = kinds[cut[0]] if cut and place.layout == GENERAL else ""
        if cut and kind == "generator":
            place = _with_generator(place, cut, path)
            if place.label:
                named[cut[0]].add(place.generator)
        elif cut and kind == "split" and not place.split:
            named_split = split_of_folder(cut[2][0]) if cut[2] else None
            place = replace(place, split=named_split[0]) if named_split else place
        places.append(place)
    _note(named, notes)
    return places


def _cut(path: str) -> tuple[str, str, tuple[str, ...]] | None:
    """Split a path at its class folder: what lies above, its name, what lies below."""
    parts = path.split("/")
    for i, part in enumerate(parts):
        if i and part.lower() in FOLDER_WORDS:
            below = tuple(name for name in parts[i + 1 :] if name.lower() not in _NEUTRAL)
            return "/".join(parts[:i]), part, below
    return None


def _kind_below(above: str, one_set: _Set) -> str:
    """Return what the folders below the class folders of a set are: generator, split or ''."""
    fakes = {below[0] for below in one_set.below[1] if below}
    reals = {below[0] for below in one_set.below[0] if below}
    if fakes and all(split_of_folder(name) for name in fakes | reals):
        return "split"
    direct = any(not below for below in one_set.below[1])
    if not fakes or direct or fakes & reals:
        return ""
    own = above.split("/")[-1]
    is_root = "/" not in above
    if any(group_of(name) != OTHER_FAMILY for name in fakes):
        return "generator"
    if not is_root and group_of(own) != OTHER_FAMILY:
        return ""
    return "generator" if is_root or split_of_folder(own) or len(fakes) > 1 else ""


def _with_generator(place: Place, cut: tuple[str, str, tuple[str, ...]], path: str) -> Place:
    """Return a place whose generator lies below its class folder; what lies above is a category."""
    above, _, below = cut
    channels = [name for name in above.split("/")[1:] if not split_of_folder(name)]
    splits = [named for name in above.split("/")[1:] if (named := split_of_folder(name))]
    category = "/".join(channels)
    split = splits[0][0] if splits else place.split
    if not place.label:
        return replace(place, category=category, paired_with=EVERY, split=split)
    return replace(place, generator=below[0], category=category, split=split)


def _note(named: dict[str, set[str]], notes: list[str]) -> None:
    """Add one note on all generators that were read below class folders."""
    if named:
        generators = sorted(set().union(*named.values()))
        listed = ", ".join(generators[:5]) + (", …" if len(generators) > 5 else "")
        notes.append(
            f"Generators are read from the folders below the fakes: {listed} "
            f"({len(generators):,}). If these are categories, force a layout with --layout."
        )
