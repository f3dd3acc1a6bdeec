"""Taking a part of a manifest: by generator, category, family, data set, and so many per class.

What a question is about: protocol, number of training categories, and filters, in this order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

import numpy as np

from featcache.datasets.columns import Index, Texts, group_rows
from featcache.datasets.layouts import PAIRED_SEPARATOR
from featcache.datasets.manifest import Manifest, stack
from featcache.datasets.pairings import (
    GeneratorRows,
    families_of,
    generator_names,
    restrict,
    with_pairs,
)
from featcache.datasets.protocols import class_subset, get_protocol
from featcache.errors import SettingsError, UnknownNameError, unknown_name
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
    if datasets:
        known = set(manifest.texts("dataset").values().values())
        manifest = manifest.subset(
            manifest.is_text("dataset", *_resolve("data set", datasets, known))
        )
    if groups:
        families = families_of(manifest)
        chosen = set(_resolve("group", groups, set(families.values())))
        manifest = restrict(manifest, {n for n, family in families.items() if family in chosen})
    if generators:
        try:
            chosen = set(_resolve("generator", generators, generator_names(manifest)))
        except UnknownNameError as error:
            folded = {family.casefold() for family in families_of(manifest).values()}
            if named := [name for name in generators if name.casefold() in folded]:
                raise UnknownNameError(
                    f"{error} {named[0]} is a family of generators: --groups {named[0]}."
                ) from error
            raise
        manifest = restrict(manifest, chosen)
    if categories:
        known = set(manifest.texts("category").values().values()) - {""}
        manifest = manifest.subset(
            manifest.is_text("category", "", *_resolve("category", categories, known))
        )
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
    ids = manifest.codes("sample_id")
    first, cells = group_rows(manifest.codes("split"), manifest.numbers("label"))
    parts = [np.flatnonzero(cells == cell) for cell in range(len(first))]
    sets = [GeneratorRows(manifest.subset(part)) for part in parts]
    # Generators with the same rows are counted once. Only those with too many need an order.
    exceeding: list[dict[tuple[int, ...], Index]] = []
    for part, members in zip(parts, sets, strict=True):
        one_of = {members.groups_of(name): name for name in members}
        sizes = {key: part[members[name]] for key, name in one_of.items()}
        exceeding.append(
            {key: r for key, r in sizes.items() if len(np.unique(ids[r])) > max_per_class}
        )
    all_rows = [rows for one in exceeding for rows in one.values()]
    if not all_rows:
        return manifest
    ranked = np.unique(np.concatenate([ids[rows] for rows in all_rows]))
    texts = manifest.texts("sample_id").table.texts(ranked)
    number = {name: i for i, name in enumerate(sample_ids(texts, seed))}
    rank = np.zeros(len(manifest.texts("sample_id").table), np.int64)
    rank[ranked] = [number[name] for name in texts]
    new: list[str] = []  # lists of generators
    codes = np.zeros(len(manifest), np.int32)
    left = np.ones(len(manifest), bool)
    for part, members, too_many in zip(parts, sets, exceeding, strict=True):
        last = {  # the highest rank that a generator takes
            key: int(np.unique(rank[ids[rows]])[max_per_class - 1])
            for key, rows in too_many.items()
        }
        for group, names in members.names.items():
            rows = part[members.groups[group]]
            limits = {name: last.get(members.groups_of(name), len(rank)) for name in names}
            steps = np.unique(list(limits.values()))
            # A row is left to the generators that take ranks up to its own.
            step = np.searchsorted(steps, rank[ids[rows]])
            left[rows] = step < len(steps)
            codes[rows] = len(new) + np.minimum(step, len(steps) - 1)
            new += [PAIRED_SEPARATOR.join(n for n in names if limits[n] >= v) for v in steps]
    texts_of_rows = Texts.of(new)
    changed = Texts(texts_of_rows.codes[codes[left]], texts_of_rows.table)
    chosen = manifest.subset(left)
    same = changed.equals(chosen.texts("paired_with"))
    return chosen if same else with_pairs(chosen, changed)


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


def choose(
    manifest: Manifest,
    *,
    protocol: str = "",
    classes: int | None = None,
    generators: Collection[str] = (),
    categories: Collection[str] = (),
    groups: Collection[str] = (),
    max_per_class: int | None = None,
    tested: Collection[str] = (),
) -> tuple[Manifest, list[str]]:
    """Return the samples that play a role, and notes on what the protocol misses.

    Parameters
    ----------
    manifest : Manifest
        Its shared reals name their generators; see
        :func:`~featcache.datasets.pairings.resolve_pairs`.
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
    tested : collection of str
        Generators whose test sets are left; empty leaves all. A shared real stays in the test sets
        of those that it is paired with. Training and validation samples are not affected.

    Returns
    -------
    Manifest, list of str

    Raises
    ------
    UnknownNameError
        If the manifest has nothing of a name, or no test sample of a generator in ``tested``.
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
    selected = select(manifest, generators=generators, groups=groups)
    if categories:
        before = _test_generators(selected)
        selected = select(selected, categories=categories)
        if lost := before - _test_generators(selected):
            notes.append(
                f"No test image of {', '.join(sorted(lost))} is of the categories "
                f"{', '.join(categories)}: {'they are' if len(lost) > 1 else 'it is'} not tested."
            )
    if max_per_class is not None:
        selected = limit(selected, max_per_class)
    if tested:
        in_test = selected.is_text("split", "test")
        test = selected.subset(in_test)
        names = _resolve("test generator", tested, generator_names(test))
        selected = stack([selected.subset(~in_test), restrict(test, names)])
    return selected, notes


def _test_generators(manifest: Manifest) -> set[str]:
    """Return the generators that have fakes to test on."""
    fakes = (manifest.numbers("label") == 1) & manifest.is_text("split", "test")
    return generator_names(manifest.subset(fakes))
