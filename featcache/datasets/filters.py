"""Taking a part of a manifest: by generator, category, family, data set, and so many per class.

What a question is about: protocol, number of training categories, and filters, in this order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

from featcache.datasets.manifest import Manifest, Sample
from featcache.datasets.protocols import class_subset, get_protocol
from featcache.errors import SettingsError, unknown_name
from featcache.files import digest_bytes


def select(
    manifest: Manifest,
    *,
    generators: Collection[str] = (),
    categories: Collection[str] = (),
    groups: Collection[str] = (),
    datasets: Collection[str] = (),
    max_per_class: int | None = None,
    seed: int = 0,
) -> Manifest:
    """Return the samples that are asked for, in the manifest's order; an empty filter takes all.

    Parameters
    ----------
    manifest : Manifest
    generators : collection of str
        Generators; a real is taken with the generator that it serves.
    categories : collection of str
        Categories. Samples of a layout that has no category folders are taken too.
    groups : collection of str
        Families of generators; upper and lower case are the same.
    datasets : collection of str
        Names of data sets.
    max_per_class : int > 0, optional
        At most so many images of each generator, split and label. Which ones is decided by the
        digest of seed and sample id: the same on every machine, and a smaller number takes a part
        of a larger.
    seed : int

    Returns
    -------
    Manifest

    Raises
    ------
    UnknownNameError
        If the manifest has nothing of a name.
    SettingsError
        If ``max_per_class`` is not positive.
    """
    for kind, names, of in (
        ("data set", datasets, _dataset),
        ("group", groups, _group),
        ("generator", generators, _paired_with),
    ):
        manifest = _only(manifest, kind, names, of)
    if categories:
        known = _known(manifest, lambda sample: sample.category) - {""}
        chosen = {"", *_resolve("category", categories, known)}
        manifest = manifest.where(lambda sample: sample.category in chosen)
    return manifest if max_per_class is None else limit(manifest, max_per_class, seed)


def limit(manifest: Manifest, max_per_class: int, seed: int = 0) -> Manifest:
    """Return at most so many contents of each generator, split and label; see :func:`select`.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.
    max_per_class : int
        Images of each generator, split and label.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    Manifest
        At most so many contents of each generator, split and label.

    Raises
    ------
    SettingsError
        If a setting or a flag is not valid.
    """
    if max_per_class < 1:
        raise SettingsError(f"max-per-class = {max_per_class} is not allowed: it must be positive.")
    cells: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for sample in manifest:
        cells[_cell(sample)].add(sample.sample_id)
    kept = {cell: set(sample_ids(ids, seed)[:max_per_class]) for cell, ids in cells.items()}
    return manifest.where(lambda sample: sample.sample_id in kept[_cell(sample)])


def sample_ids(ids: Iterable[str], seed: int = 0) -> list[str]:
    """Return ids in a random order that depends on seed and ids only; files without an id come
    last.

    Parameters
    ----------
    ids : Iterable[str]
        Sample ids.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    list[str]
        Ids in a random order that depends on seed and ids only.

    Examples
    --------
    >>> sample_ids(["a", "b", "c"]) == sample_ids(["c", "b", "a"])
    True
    """
    return sorted(ids, key=lambda name: (not name, digest_bytes(f"{seed}/{name}".encode()), name))


def _only(
    manifest: Manifest, kind: str, names: Collection[str], of: Callable[[Sample], str]
) -> Manifest:
    if not names:
        return manifest
    chosen = set(_resolve(kind, names, _known(manifest, of)))
    return manifest.where(lambda sample: of(sample) in chosen)


def _resolve(kind: str, names: Iterable[str], known: Collection[str]) -> list[str]:
    """Return the known names that are meant; a name in another case counts where it is not
    ambiguous.
    """
    folded = defaultdict(list)
    for name in known:
        folded[name.casefold()].append(name)
    matches = []
    for name in names:
        near = folded.get(name.casefold(), [])
        if name not in known and len(near) != 1:
            raise unknown_name(kind, name, known)
        matches.append(name if name in known else near[0])
    return matches


def _known(manifest: Manifest, of: Callable[[Sample], str]) -> set[str]:
    return {of(sample) for sample in manifest}


def _cell(sample: Sample) -> tuple[str, str, int]:
    return (sample.paired_with, sample.split, sample.label)


def _dataset(sample: Sample) -> str:
    return sample.dataset


def _group(sample: Sample) -> str:
    return sample.family


def _paired_with(sample: Sample) -> str:
    return sample.paired_with


def choose(
    manifest: Manifest,
    *,
    protocol: str = "",
    classes: int | None = None,
    generators: Collection[str] = (),
    categories: Collection[str] = (),
    groups: Collection[str] = (),
    max_per_class: int | None = None,
) -> tuple[Manifest, list[str]]:
    """Return the samples that play a role, and notes on what the protocol misses.

    Parameters
    ----------
    manifest : Manifest
        Expanded: one row for each generator that a real serves.
    protocol : str
        Name of a protocol; empty means the splits of the manifest.
    classes : int, optional
        Categories in the training set; see :func:`~featcache.datasets.protocols.class_subset`.
    generators
        See :func:`~featcache.datasets.filters`.
    categories
        See :func:`~featcache.datasets.filters`.
    groups
        See :func:`~featcache.datasets.filters`.
    max_per_class
        See :func:`~featcache.datasets.filters`.

    Returns
    -------
    Manifest, list of str
    """
    notes = []
    if protocol:
        chosen = get_protocol(protocol)
        manifest = chosen.apply(manifest)
        if chosen.validation:
            notes.append(
                f"Leak: the protocol {chosen.name} validates on the test images of "
                f"{chosen.validation}, as the released code does; thresholds and C have seen them."
            )
        if missing := chosen.missing(manifest):
            notes.append(
                f"The protocol {chosen.name} also tests on {', '.join(missing)}: not in the store."
            )
    if classes:
        manifest = class_subset(manifest, classes)
    selected = select(
        manifest,
        generators=generators,
        categories=categories,
        groups=groups,
        max_per_class=max_per_class,
    )
    return selected, notes
