"""What a question is about: protocol, number of training motifs, and filters, in this order."""

from __future__ import annotations

from collections.abc import Collection

from featcache.datasets.manifest import Manifest
from featcache.datasets.protocols import class_subset, get_protocol
from featcache.datasets.select import select


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
        Motifs in the training set; see :func:`~featcache.datasets.protocols.class_subset`.
    generators, categories, groups, max_per_class
        See :func:`~featcache.datasets.select`.

    Returns
    -------
    Manifest, list of str
    """
    notes = []
    if protocol:
        chosen = get_protocol(protocol)
        manifest = chosen.apply(manifest)
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
