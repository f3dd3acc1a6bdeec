"""Several processes at one store: what one passes over because another is making it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from featcache.cache import FeatureKey, FeatureStore
from featcache.extract.plan import WorkItem


def without(item: WorkItem, done: Container[str]) -> WorkItem:
    """Return an item with only those requests that this process has not done."""
    return replace(item, requests=tuple(name for name in item.requests if name not in done))


def await_others(
    passed: Iterable[WorkItem], keys: Mapping[str, FeatureKey], store: FeatureStore
) -> list[WorkItem]:
    """Wait for the shards that other processes are making; return what they left undone.

    Parameters
    ----------
    passed : iterable of WorkItem
        With the requests that another process held or had made.
    keys : mapping of str to FeatureKey
        By the id of the request.
    store : FeatureStore

    Returns
    -------
    list of WorkItem
        What is in nobody's hands and not in the store: its maker was killed or could not read it.
    """
    left = []
    for item in passed:
        lacking = [name for name in item.requests if not store.has(keys[name], item.job.name)]
        for name in lacking:
            store.wait(keys[name], item.job.name)
        undone = tuple(name for name in lacking if not store.has(keys[name], item.job.name))
        if undone:
            left.append(replace(item, requests=undone))
    return left
