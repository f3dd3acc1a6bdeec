"""Reals that several generators share: whom they serve, and one row for each.

A table on disk names a shared real once. UnivFD's LAION photographs serve seven generators, DRCT's
COCO photographs sixteen, and the features of each are cached once.

How many reals and fakes each generator has, in each split.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from featcache.datasets.families import group_of
from featcache.datasets.layouts import EVERY, PAIRED_SEPARATOR
from featcache.datasets.manifest import Manifest, Sample
from featcache.errors import DataError

MAX_ROWS = 5_000_000
"""More rows than this are refused: thousands of generators times hundreds of thousands of reals."""

_Spec = tuple[str, str, str, str, str]


class PairedGenerators:
    """Who serves whom in a manifest.

    Parameters
    ----------
    manifest : Manifest
        Its fakes say which generators there are.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._makers: dict[tuple[str, str, str], dict[str, set[str]]] = defaultdict(dict)
        for sample in manifest:
            if sample.label:
                for scope in (("dataset", sample.dataset), ("layout", sample.layout), ("", "")):
                    makers = self._makers[(*scope, sample.split)]
                    makers.setdefault(sample.paired_with, set()).add(sample.category)
        self._memo: dict[_Spec, tuple[str, ...]] = {}

    def names(self, sample: Sample) -> tuple[str, ...]:
        """Return the generators whose sets a sample belongs to.

        Parameters
        ----------
        sample : Sample
            Sample.

        Returns
        -------
        tuple[str, ...]
            The generators whose sets a sample belongs to.
        """
        if sample.paired_with != EVERY and PAIRED_SEPARATOR not in sample.paired_with:
            return (sample.paired_with,)
        spec = (sample.paired_with, sample.dataset, sample.layout, sample.split, sample.category)
        if spec not in self._memo:
            self._memo[spec] = self._resolve(*spec)
        return self._memo[spec]

    def _resolve(
        self, paired_with: str, dataset: str, layout: str, split: str, category: str
    ) -> tuple[str, ...]:
        if paired_with != EVERY:
            listed = tuple(paired_with.split(PAIRED_SEPARATOR))
            there = self._makers.get(("", "", split), {})
            return tuple(name for name in listed if name in there) or listed
        makers = self._makers.get(("dataset", dataset, split)) or self._makers.get(
            ("layout", layout, split), {}
        )
        of_category = [name for name, categories in makers.items() if category in categories]
        return tuple(sorted(of_category or makers))


def expand(
    manifest: Manifest,
    generators: Collection[str] = (),
    groups: Mapping[str, Collection[str]] | None = None,
) -> Manifest:
    """Return the manifest with one row for each generator that a shared real serves.

    Parameters
    ----------
    manifest : Manifest
    generators : collection of str
        Give rows to these only; empty means all.
    groups : mapping of str to collection of str, optional
        The user's own families; see :func:`~featcache.datasets.families.group_of`.

    Returns
    -------
    Manifest
        The manifest with one row for each generator that a shared real serves.

    Raises
    ------
    DataError
        If there would be more than :data:`MAX_ROWS`.
    """
    pairs = PairedGenerators(manifest)
    folded_names = {name.casefold() for name in generators}
    rows: list[Sample] = []
    for sample in manifest:
        names = pairs.names(sample)
        if folded_names and len(names) > 1:
            names = tuple(name for name in names if name.casefold() in folded_names)
        if names == (sample.paired_with,) and group_of(sample.paired_with, groups) == sample.family:
            rows.append(sample)
        else:
            rows += (replace(sample, paired_with=n, family=group_of(n, groups)) for n in names)
        if len(rows) > MAX_ROWS:
            raise DataError(
                f"The reals are shared by so many generators that there are more than {MAX_ROWS:,} "
                "pairs of them. Name the generators that you want: --generators A,B."
            )
    return Manifest(tuple(rows))


_Cell = tuple[str, str, str, str]


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
    cells: dict[_Cell, list[Sample]] = defaultdict(list)
    pairs = PairedGenerators(manifest)
    for sample in manifest:
        for name in pairs.names(sample):
            group = sample.family if name == sample.paired_with else group_of(name, groups)
            cells[sample.dataset, name, group, sample.split].append(sample)
    return [_row(cell, samples) for cell, samples in sorted(cells.items())]


def _row(cell: _Cell, samples: list[Sample]) -> dict[str, Any]:
    good = [sample for sample in samples if not sample.problem]
    return {
        **dict(zip(("dataset", "generator", "group", "split"), cell, strict=True)),
        "n_real": sum(sample.label == 0 for sample in good),
        "n_fake": sum(sample.label == 1 for sample in good),
        "n_bad": len(samples) - len(good),
        "n_sources": len({sample.source for sample in good}),
        "n_categories": len({sample.category for sample in good} - {""}),
        "formats": dict(Counter(sample.format or "unknown" for sample in good).most_common()),
        "sizes": dict(Counter(f"{s.width}x{s.height}" for s in good).most_common(5)),
    }
