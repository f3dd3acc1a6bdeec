"""Which reals are negatives for which generators: a relation, never multiplied out.

A shared real is one row. Its column ``paired_with`` names its generators (``a|b``), and the table
of the column holds each such list once, so that thousands of generators times hundreds of thousands
of reals cost no more than the lists. UnivFD's LAION photographs serve seven generators, DRCT's COCO
photographs sixteen, those of Community Forensics 4,803.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.datasets.columns import Index, Texts, group_rows
from featcache.datasets.families import group_of
from featcache.datasets.layouts import EVERY, PAIRED_SEPARATOR, is_shared
from featcache.datasets.manifest import Manifest


def members(paired_with: str) -> list[str]:
    """Return the generators that a value of ``paired_with`` names.

    Parameters
    ----------
    paired_with : str
        One name, or several with ``|`` between them.

    Returns
    -------
    list of str
    """
    return paired_with.split(PAIRED_SEPARATOR)


def has_shared_reals(manifest: Manifest) -> bool:
    """Say whether a manifest is as on disk and has reals whose generators are still to be named.

    Parameters
    ----------
    manifest : Manifest

    Returns
    -------
    bool
    """
    values = manifest.texts("paired_with").values().values()
    return manifest.families is None and any(map(is_shared, values))


def resolve_pairs(
    manifest: Manifest, groups: Mapping[str, Collection[str]] | None = None
) -> Manifest:
    """Name the generators of every shared real.

    On disk a shared real may be for "every generator": for those of its data set, else those of its
    layout, that have fakes in its split, and in its category where some have.

    Parameters
    ----------
    manifest : Manifest
        Its fakes say which generators there are.
    groups : mapping of str to collection of str, optional
        The user's own families of generators.

    Returns
    -------
    Manifest
        With explicit lists in ``paired_with``, and the family of each generator. Reals that are
        for every generator where there is none are left out.
    """
    paired = manifest.texts("paired_with")
    fake = manifest.numbers("label") == 1
    shared = paired.where(is_shared)
    makers: dict[tuple[str, str, str], dict[str, set[str]]] = defaultdict(dict)
    if shared.any():
        for dataset, layout, split, name, category in _combinations(manifest.subset(fake)):
            for scope in (("dataset", dataset), ("layout", layout), ("", "")):
                makers[(*scope, split)].setdefault(name, set()).add(category)

    def names_of(dataset: str, layout: str, split: str, spec: str, category: str) -> list[str]:
        if spec != EVERY:
            there = makers.get(("", "", split), {})
            return [name for name in members(spec) if name in there] or members(spec)
        makers_of = makers.get(("dataset", dataset, split)) or makers.get(
            ("layout", layout, split), {}
        )
        return sorted(
            [n for n, categories in makers_of.items() if category in categories] or makers_of
        )

    part = manifest.subset(shared)
    keys = [part.codes(name) for name in _SPEC]
    first, combination = group_rows(*keys)
    lists = [PAIRED_SEPARATOR.join(names_of(*spec)) for spec in _rows(part.subset(first))]
    values = paired.values()
    table = Texts.of([*values.values(), *lists])
    numbers = np.zeros(len(paired.table), np.int32)
    numbers[list(values)] = table.codes[: len(values)]
    codes = numbers[paired.codes]
    codes[shared] = table.codes[len(values) :][combination]
    texts = Texts(codes, table.table)
    own_names = {name for text in texts.values().values() for name in members(text) if name}
    families = {name: group_of(name, groups) for name in own_names}
    family = texts.map(lambda text: "" if PAIRED_SEPARATOR in text else families.get(text, ""))
    resolved = manifest.replace(paired_with=texts, family=family)
    resolved = Manifest.of(resolved._columns, resolved._rows, families)
    # An explicit empty name is a name; only "every generator" of none is no pair.
    return resolved.subset(~shared | ~texts.where(lambda text: not text))


_SPEC = ("dataset", "layout", "split", "paired_with", "category")


def _rows(manifest: Manifest) -> Iterator[tuple[str, ...]]:
    return zip(*(manifest.strings(name) for name in _SPEC), strict=True)


def _combinations(manifest: Manifest) -> Iterator[tuple[str, ...]]:
    first, _ = group_rows(*(manifest.codes(name) for name in _SPEC))
    return _rows(manifest.subset(first))


def generator_names(manifest: Manifest) -> set[str]:
    """Return the generators that samples of a manifest are paired with.

    Parameters
    ----------
    manifest : Manifest

    Returns
    -------
    set of str
    """
    values = manifest.texts("paired_with").values().values()
    return {name for text in values for name in members(text)}


def families_of(manifest: Manifest) -> dict[str, str]:
    """Return the family of each generator that samples of a manifest are paired with.

    Parameters
    ----------
    manifest : Manifest

    Returns
    -------
    dict of str to str
    """
    if manifest.families is not None:
        known = manifest.families
        return {name: known.get(name) or group_of(name) for name in generator_names(manifest)}
    paired, family = manifest.texts("paired_with"), manifest.texts("family")
    _, first = np.unique(paired.codes, return_index=True)
    names = paired.subset(first).decode()
    single = dict(zip(names, family.subset(first).decode(), strict=True))
    return {n: single[n] if n in single else group_of(n) for n in generator_names(manifest)}


def restrict(manifest: Manifest, names: Collection[str]) -> Manifest:
    """Return the samples that are paired with some generators, and with these alone.

    Parameters
    ----------
    manifest : Manifest
    names : collection of str

    Returns
    -------
    Manifest
        In the same order; the other generators of shared reals are taken out of their lists.
    """
    chosen = set(names)
    paired = manifest.texts("paired_with").map(
        lambda text: PAIRED_SEPARATOR.join(name for name in members(text) if name in chosen)
    )
    has_pair = paired.where(bool)
    if "" in chosen:
        has_pair |= manifest.is_text("paired_with", "")
    part, paired = manifest.subset(has_pair), paired.subset(has_pair)
    return part if paired.equals(part.texts("paired_with")) else with_pairs(part, paired)


def with_pairs(manifest: Manifest, paired: Texts) -> Manifest:
    """Return the manifest with other generators, and their families.

    Parameters
    ----------
    manifest : Manifest
    paired : Texts
        The new column ``paired_with``.

    Returns
    -------
    Manifest
    """
    families = families_of(manifest)
    family = paired.map(
        lambda text: "" if PAIRED_SEPARATOR in text else families.get(text) or group_of(text)
    )
    return manifest.replace(paired_with=paired, family=family)


def expand(
    manifest: Manifest,
    generators: Collection[str] = (),
    groups: Mapping[str, Collection[str]] | None = None,
) -> Manifest:
    """Return a row for each pair of a sample and a generator.

    For those that look at pairs one by one; all of featcache's evaluation works on the relation.

    Parameters
    ----------
    manifest : Manifest
    generators : collection of str
        Give shared reals rows for these only; empty means all.
    groups : mapping of str to collection of str, optional
        The user's own families; see :func:`~featcache.datasets.families.group_of`.

    Returns
    -------
    Manifest
        In the order of the samples; a real's generators in the order of its list.
    """
    if has_shared_reals(manifest):
        manifest = resolve_pairs(manifest, groups)
    elif manifest.families is None:
        return manifest
    folded = {name.casefold() for name in generators}
    paired = manifest.texts("paired_with")
    lists: dict[int, list[str]] = {}
    for code, text in paired.values().items():
        names = members(text)
        if folded and len(names) > 1:
            names = [name for name in names if name.casefold() in folded]
        lists[code] = names
    n_pairs = np.zeros(len(paired.table), np.intp)
    n_pairs[list(lists)] = [len(names) for names in lists.values()]
    single = Texts.of(name for names in lists.values() for name in names)
    starts = np.zeros(len(paired.table), np.intp)
    starts[list(lists)] = np.cumsum([0, *map(len, lists.values())])[:-1]
    repeats = n_pairs[paired.codes]
    rows = np.repeat(np.arange(len(manifest)), repeats)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    codes = single.codes[np.repeat(starts[paired.codes], repeats) + within]
    return with_pairs(manifest.subset(rows), Texts(codes, single.table))


class GeneratorRows(Mapping[str, Index]):
    """The rows of each generator's set in a manifest.

    Parameters
    ----------
    manifest : Manifest
        Its column ``paired_with`` is the relation.

    Attributes
    ----------
    groups : dict of int to ndarray of intp
        Rows that belong to the sets of the same generators.
    names : dict of int to list of str
        These generators.
    """

    def __init__(self, manifest: Manifest) -> None:
        paired = manifest.texts("paired_with")
        order = np.argsort(paired.codes, kind="stable")
        stops = np.cumsum(paired.counts())
        self.groups: dict[int, Index] = {}
        self.names: dict[int, list[str]] = {}
        self._groups_of: dict[str, list[int]] = defaultdict(list)
        for code, text in paired.values().items():
            start = int(stops[code - 1]) if code else 0
            self.groups[code] = order[start : int(stops[code])]
            self.names[code] = list(dict.fromkeys(members(text)))
            for name in self.names[code]:
                self._groups_of[name].append(code)

    def __len__(self) -> int:
        return len(self._groups_of)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._groups_of))

    def __getitem__(self, name: str) -> Index:
        """Return the rows of a generator, in order."""
        if name not in self._groups_of:
            raise KeyError(name)
        groups = [self.groups[code] for code in self._groups_of[name]]
        return groups[0] if len(groups) == 1 else np.sort(np.concatenate(groups))

    def groups_of(self, name: str) -> tuple[int, ...]:
        """Return the groups of rows with one list of generators that a generator's set is made of.

        Parameters
        ----------
        name : str

        Returns
        -------
        tuple of int
            Keys of ``groups``. Generators with the same groups have the same set.
        """
        return tuple(self._groups_of[name])


def count_rows(
    manifest: Manifest, groups: Mapping[str, Collection[str]] | None = None
) -> list[dict[str, Any]]:
    """Return one row per dataset, generator and split, sorted.

    Parameters
    ----------
    manifest : Manifest
    groups : mapping of str to collection of str, optional
        The user's own families of generators.

    Returns
    -------
    list of dict
        Keys ``dataset``, ``generator``, ``group``, ``split``, ``n_real``, ``n_fake``, ``n_bad``
        (files that cannot be read), ``n_sources``, ``n_categories`` (how many), and the spread of
        facts that shortcuts are made of: ``formats`` (format to count) and ``sizes`` (the five most
        common ``"WxH"`` to count).
    """
    if manifest.families is None:
        manifest = resolve_pairs(manifest, groups)
    families = families_of(manifest)
    first, places = group_rows(manifest.codes("dataset"), manifest.codes("split"))
    heads = manifest.subset(first)
    rows = []
    for place, (dataset, split) in enumerate(
        zip(heads.strings("dataset"), heads.strings("split"), strict=True)
    ):
        counts = _Counts(manifest.subset(places == place))
        for name in counts.rows:
            place_of = {"dataset": dataset, "generator": name, "group": families[name]}
            rows.append({**place_of, "split": split, **counts.of(name)})
    keys = ("dataset", "generator", "group", "split")
    return sorted(rows, key=lambda row: [row[key] for key in keys])


class _Counts:
    """What the rows of one data set and split hold, for each generator; groups are counted once."""

    def __init__(self, manifest: Manifest) -> None:
        self.rows = GeneratorRows(manifest)
        self._good = manifest.is_text("problem", "")
        self._label = manifest.numbers("label")
        self._sources = manifest.source_codes()
        self._category = manifest.texts("category")
        self._format = manifest.texts("format")
        size = manifest.numbers("width").astype(np.int64) << 32 | manifest.numbers("height")
        self._sizes, self._size = np.unique(size, return_inverse=True)
        self._memo: dict[tuple[int, ...], dict[str, Any]] = {}

    def of(self, name: str) -> dict[str, Any]:
        """Return the counts of a generator: of its largest group, and of the others added to it."""
        groups = self.rows.groups_of(name)
        if len(groups) == 1:
            return self._result(self._stats(groups))
        large = max(groups, key=lambda code: len(self.rows.groups[code]))
        rest = tuple(code for code in groups if code != large)
        return self._result(_add(self._stats((large,)), self._stats(rest)))

    def _stats(self, groups: tuple[int, ...]) -> dict[str, Any]:
        if groups in self._memo:
            return self._memo[groups]
        rows = np.sort(np.concatenate([self.rows.groups[code] for code in groups]))
        good = rows[self._good[rows]]
        stats = {
            "n_real": int((self._label[good] == 0).sum()),
            "n_fake": int((self._label[good] == 1).sum()),
            "n_bad": len(rows) - len(good),
            "sources": np.unique(self._sources[good]),
            "categories": set(np.unique(self._category.codes[good]).tolist()),
            "formats": _spread(self._format.codes[good], good),
            "sizes": _spread(self._size[good], good),
        }
        self._memo[groups] = stats
        return stats

    def _result(self, stats: dict[str, Any]) -> dict[str, Any]:
        texts = self._format.values()
        empty = self._category.number("")
        sizes = [(int(self._sizes[i]), n) for i, (n, _) in islice(stats["sizes"].items(), 5)]
        return {
            **{key: stats[key] for key in ("n_real", "n_fake", "n_bad")},
            "n_sources": len(stats["sources"]),
            "n_categories": len(stats["categories"] - {empty}),
            "formats": {texts[c] or "unknown": n for c, (n, _) in stats["formats"].items()},
            "sizes": {f"{size >> 32}x{size & 0xFFFFFFFF}": n for size, n in sizes},
        }


_Spread = dict[int, tuple[int, int]]
"""By value, how many rows have it, and the first of them; the most common value first."""


def _spread(values: NDArray[Any], rows: Index) -> _Spread:
    distinct, first, counts = np.unique(values, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    pairs = zip(counts[order].tolist(), rows[first[order]].tolist(), strict=True)
    return dict(zip(distinct[order].tolist(), pairs, strict=True))


def _add(large: dict[str, Any], small: dict[str, Any]) -> dict[str, Any]:
    """Return the sums of two statistics in the time that the smaller takes."""
    known, added = large["sources"], small["sources"]  # both sorted
    n_new = len(added)
    if len(known):
        places = np.minimum(np.searchsorted(known, added), len(known) - 1)
        n_new = int((known[places] != added).sum())
    return {
        **{key: large[key] + small[key] for key in ("n_real", "n_fake", "n_bad")},
        "sources": range(len(known) + n_new),
        "categories": large["categories"] | small["categories"],
        "formats": _add_spread(large["formats"], small["formats"]),
        "sizes": _add_spread(large["sizes"], small["sizes"]),
    }


def _add_spread(large: _Spread, small: _Spread, most: int = 100) -> _Spread:
    """Return the most common values of both; the order is that of one count of all rows."""
    first = (item for item in large.items() if item[0] not in small)
    sums = dict(islice(first, most))
    for value, (count, row) in small.items():
        n, earlier = large.get(value, (0, row))
        sums[value] = (n + count, min(row, earlier))
    return dict(sorted(sums.items(), key=lambda item: (-item[1][0], item[1][1])))
