"""How many reals and fakes each generator has, in each split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from featcache.datasets.groups import group_of
from featcache.datasets.manifest import Manifest, Sample
from featcache.datasets.serving import Serving

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
        Keys ``dataset``, ``generator``, ``group``, ``split``, ``n_real``, ``n_fake``, ``n_bad`` (files
        that cannot be read), ``n_sources``, ``n_categories`` (how many), and the spread of facts that shortcuts are made of:
        ``formats`` (format to count) and ``sizes`` (the five most common ``"WxH"`` to count).
    """
    cells: dict[_Cell, list[Sample]] = defaultdict(list)
    serving = Serving(manifest)
    for sample in manifest:
        for name in serving.names(sample):
            group = sample.group if name == sample.serves else group_of(name, groups)
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
