"""Why one feature is not another: the fields in which keys differ, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from featcache.cache.finding import describe
from featcache.cache.keys import FeatureKey
from featcache.cache.store import FeatureStore
from featcache.errors import SettingsError
from featcache.hashing import canonical_json

MIN_PREFIX = 4
"""Digits of a fingerprint that name a key at the least."""


def explain(first: FeatureKey, second: FeatureKey) -> str:
    """Say in which fields two keys differ.

    Examples
    --------
    >>> from featcache.cache.testing import make_key
    >>> print(explain(make_key(), make_key(precision="bf16")))
    They differ in precision: 'fp32' and 'bf16'. Features of the one are a miss for the other.
    >>> print(explain(make_key(), make_key()))
    They are the same key.
    """
    differences = first.differences(second)
    if not differences:
        return "They are the same key."
    words = "; ".join(f"{name}: {_word(one)} and {_word(two)}" for name, one, two in differences)
    return f"They differ in {words}. Features of the one are a miss for the other."


def explain_wanted(wanted: FeatureKey, keys: Sequence[FeatureKey]) -> str:
    """Say whether features of a key are in a store, and if not, what the nearest has otherwise."""
    if any(key.fingerprint == wanted.fingerprint for key in keys):
        return f"Hit: the store has {describe(wanted)}."
    if not keys:
        return f"Miss: the store has no features, so not {describe(wanted)}."
    nearest = min(keys, key=lambda key: (key.name != wanted.name, len(wanted.differences(key))))
    words = "; ".join(
        f"{name} would be {_word(mine)}, and is {_word(theirs)}"
        for name, mine, theirs in wanted.differences(nearest)
    )
    return f"Miss: the nearest in the store is {describe(nearest)}, which differs: {words}."


def pick_key(store: FeatureStore, text: str) -> FeatureKey:
    """Return the key that a name or the beginning of a fingerprint means.

    Raises
    ------
    SettingsError
        If several begin so.
    MissingFeaturesError
        If none does, and none has that name.
    """
    keys = store.list_keys()
    hits = [key for key in keys if key.fingerprint.startswith(text)]
    if len(text) < MIN_PREFIX or not hits:
        return store.find(text)
    if len(hits) > 1:
        raise SettingsError(
            f"{len(hits)} keys begin with {text!r}: {', '.join(key.fingerprint for key in hits)}."
        )
    return hits[0]


def _word(value: Any) -> str:
    if value is None:
        return "missing"
    return repr(value) if isinstance(value, str) else canonical_json(value)
