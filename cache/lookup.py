"""Why one feature is not another: the fields in which keys differ, in sentences.

Which key a user means, and the words where it is none or several.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbones.names import is_foreign
from featcache.errors import MissingFeaturesError, SettingsError, unknown_name
from featcache.files import canonical_json

if TYPE_CHECKING:
    from featcache.cache.store import FeatureStore
from typing import Any

from featcache.cache.keys import FeatureKey


def describe(key: FeatureKey) -> str:
    """Return a key in one line for a person.

    Parameters
    ----------
    key : FeatureKey
        Feature key.

    Returns
    -------
    str
        A key in one line for a person.
    """
    return f"{key.name} {key.settings} ({key.fingerprint[:8]})"


def key_matches(key: FeatureKey, requested: dict[str, str | None]) -> bool:
    """Say whether a key has the values that were asked for.

    Parameters
    ----------
    key : FeatureKey
        Feature key.
    requested : dict[str, str | None]
        What is asked for.

    Returns
    -------
    bool
    """
    fields: dict[str, Any] = {
        **key.fields,
        "preset": key.fields["preprocessing"].get("preset"),
        "view": key.fields["view"].get("name"),
    }
    if is_foreign(key.name):  # of how they were made nothing is known
        requested = {"view": requested.get("view")}
    return all(value is None or fields.get(name) == value for name, value in requested.items())


def ambiguity_error(name: str, keys: list[FeatureKey]) -> SettingsError:
    """Return the error for a name that several keys have.

    Parameters
    ----------
    name : str
        Name to look up or to show.
    keys : list[FeatureKey]
        Feature keys, one for each feature.

    Returns
    -------
    SettingsError
        The error for a name that several keys have.
    """
    differing = sorted({leaf for key in keys[1:] for leaf, _, _ in keys[0].differences(key)})
    weights = "weights" in differing
    flags = {
        f"--weights {name.partition('@')[0]}=FILE": weights,
        "--preset": any(leaf.startswith("preprocessing") for leaf in differing),
        "--precision": "precision" in differing,
        "--dtype": "dtype" in differing,
    }
    flags_needed = [flag for flag, differs in flags.items() if differs] or [
        "--preset",
        "--precision",
    ]
    return SettingsError(
        f"The store has {len(keys)} kinds of {name!r}, which differ in {', '.join(differing)}: "
        f"{_list(keys, weights)}. Say which with {' or '.join(flags_needed)}."
    )


def missing_error(
    root: Path, name: str, named: list[FeatureKey], keys: list[FeatureKey], weights: bool = False
) -> Exception:
    """Return the error for features that a store does not have; ``weights``: they were asked for.

    Parameters
    ----------
    root : Path
        Root folder.
    name : str
        Name to look up or to show.
    named : list[FeatureKey]
        Keys with the requested name.
    keys : list[FeatureKey]
        Feature keys, one for each feature.
    weights : bool
        Weights files by name.

    Returns
    -------
    Exception
        The error for features that a store does not have.
    """
    if named:
        return MissingFeaturesError(
            f"The store {root} has {name!r}, but not with these settings. "
            f"It has: {_list(named, weights)}."
        )
    known = {key.name for key in keys}
    if not known:
        return MissingFeaturesError(
            f"The store {root} has no features. "
            f"Run 'featcache extract --backbone {name} --data FOLDER' first."
        )
    hint = str(unknown_name("feature in the store", name, known))
    return MissingFeaturesError(f"{hint} To make them: featcache extract --backbone {name}")


def _list(keys: list[FeatureKey], weights: bool) -> str:
    """Return keys in words, with their weights where these matter."""
    lines = (describe(k) + f" of weights {k.fields['weights']}" * weights for k in keys)
    return "; ".join(sorted(lines))


MIN_PREFIX = 4
"""Digits of a fingerprint that name a key at the least."""


def explain(first: FeatureKey, second: FeatureKey) -> str:
    """Say in which fields two keys differ.

    Parameters
    ----------
    first : FeatureKey
        First feature key.
    second : FeatureKey
        Second feature key.

    Returns
    -------
    str

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
    differences_text = "; ".join(
        f"{name}: {_word(one)} and {_word(two)}" for name, one, two in differences
    )
    return f"They differ in {differences_text}. Features of the one are a miss for the other."


def explain_missing(requested: FeatureKey, keys: Sequence[FeatureKey]) -> str:
    """Say whether features of a key are in a store, and if not, what the nearest has otherwise.

    Parameters
    ----------
    requested : FeatureKey
        What is asked for.
    keys : Sequence[FeatureKey]
        Feature keys, one for each feature.

    Returns
    -------
    str
    """
    if any(key.fingerprint == requested.fingerprint for key in keys):
        return f"Hit: the store has {describe(requested)}."
    if not keys:
        return f"Miss: the store has no features, so not {describe(requested)}."
    nearest = min(
        keys, key=lambda key: (key.name != requested.name, len(requested.differences(key)))
    )
    differences_text = "; ".join(
        f"{name} would be {_word(requested_value)}, and is {_word(stored_value)}"
        for name, requested_value, stored_value in requested.differences(nearest)
    )
    return (
        f"Miss: the nearest in the store is {describe(nearest)}, which differs: {differences_text}."
    )


def pick_key(store: FeatureStore, text: str) -> FeatureKey:
    """Return the key that a name or the beginning of a fingerprint means.

    Parameters
    ----------
    store : FeatureStore
        Feature store.
    text : str
        Text to read.

    Returns
    -------
    FeatureKey
        The key that a name or the beginning of a fingerprint means.

    Raises
    ------
    SettingsError
        If several begin so.
    MissingFeaturesError
        If none does, and none has that name.
    """
    keys = store.list_keys()
    matches = [key for key in keys if key.fingerprint.startswith(text)]
    if len(text) < MIN_PREFIX or not matches:
        return store.find(text)
    if len(matches) > 1:
        raise SettingsError(
            f"{len(matches)} keys begin with {text!r}:"
            f" {', '.join(key.fingerprint for key in matches)}."
        )
    return matches[0]


def _word(value: Any) -> str:
    if value is None:
        return "missing"
    return repr(value) if isinstance(value, str) else canonical_json(value)
