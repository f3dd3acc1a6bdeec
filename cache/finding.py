"""Which key a user means, and the words where it is none or several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featcache.cache.keys import FeatureKey
from featcache.errors import MissingFeaturesError, SettingsError, unknown_name


def describe(key: FeatureKey) -> str:
    """Return a key in one line for a person."""
    return f"{key.name} {key.settings} ({key.fingerprint[:8]})"


def fits(key: FeatureKey, wanted: dict[str, str | None]) -> bool:
    """Say whether a key has the values that were asked for."""
    fields: dict[str, Any] = {
        **key.fields,
        "preset": key.fields["preprocessing"].get("preset"),
        "view": key.fields["view"].get("name"),
    }
    return all(value is None or fields.get(name) == value for name, value in wanted.items())


def ambiguous(name: str, found: list[FeatureKey]) -> SettingsError:
    """Return the error for a name that several keys have."""
    differing = sorted({leaf for key in found[1:] for leaf, _, _ in found[0].differences(key)})
    weights = "weights" in differing
    flags = {
        f"--weights {name.partition('@')[0]}=FILE": weights,
        "--preset": any(leaf.startswith("preprocessing") for leaf in differing),
        "--precision": "precision" in differing,
    }
    says = [flag for flag, tells in flags.items() if tells] or ["--preset", "--precision"]
    return SettingsError(
        f"The store has {len(found)} kinds of {name!r}, which differ in {', '.join(differing)}: "
        f"{_list(found, weights)}. Say which with {' or '.join(says)}."
    )


def absent(
    root: Path, name: str, named: list[FeatureKey], keys: list[FeatureKey], weights: bool = False
) -> Exception:
    """Return the error for features that a store does not have; ``weights``: they were asked for."""
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
    words = (describe(k) + f" of weights {k.fields['weights']}" * weights for k in keys)
    return "; ".join(sorted(words))
