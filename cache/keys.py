"""The feature key: all that determines a feature vector except the image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from featcache.cache import layout
from featcache.errors import StoreError
from featcache.files import canonical_json, digest_json, open_file
from featcache.parsing import parse_json

FIELDS = (
    "backbone",
    "architecture",
    "weights",
    "tap",
    "preprocessing",
    "precision",
    "dtype",
    "view",
)
"""Every field of a key; one that cannot be determined means that the features cannot be kept."""


@dataclass(frozen=True)
class FeatureKey:
    """Identity of a kind of feature.

    Parameters
    ----------
    fields : mapping
        One JSON value for each name in :data:`FIELDS`.

    Raises
    ------
    StoreError
        If a field is missing, unknown or None: such features would have no identity.
    """

    fields: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name in FIELDS:
            if self.fields.get(name) is None:
                raise StoreError(
                    f"The feature key has no {name!r}: features of unknown origin are not kept."
                )
        if extra := sorted(set(self.fields) - set(FIELDS)):
            raise StoreError(f"The feature key has unknown fields: {', '.join(extra)}.")

    @property
    def name(self) -> str:
        """Name of the feature as the user types it (``"clip"``)."""
        return str(self.fields["backbone"])

    @property
    def settings(self) -> str:
        """Preset, precision, view, and a dtype that is not float32, for a person
        (``"univfd fp32 clean"``).
        """
        preset = self.fields["preprocessing"].get("preset", "?")
        view = self.fields["view"].get("name", "?")
        dtype = "" if self.fields["dtype"] == "float32" else f" {self.fields['dtype']}"
        return f"{preset} {self.fields['precision']} {view}{dtype}"

    @cached_property
    def json(self) -> str:
        """The key as canonical JSON."""
        return canonical_json(dict(self.fields))

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the canonical JSON: the name of the key's folder."""
        return digest_json(dict(self.fields))

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def differences(self, other: FeatureKey) -> list[tuple[str, Any, Any]]:
        """Return (field, mine, other's) for every leaf in which two keys differ, sorted by field.

        Parameters
        ----------
        other : FeatureKey
            Feature key to compare with.

        Returns
        -------
        list[tuple[str, Any, Any]]
            (field, mine, other's) for every leaf in which two keys differ, sorted by field.
        """
        own, theirs = dict(_leaves(self.fields)), dict(_leaves(other.fields))
        names = sorted({*own, *theirs})
        return [
            (name, own.get(name), theirs.get(name))
            for name in names
            if own.get(name) != theirs.get(name)
        ]


def parse_key(text: bytes | str) -> FeatureKey:
    """Return the key that a JSON text from anywhere holds.

    Parameters
    ----------
    text : bytes | str
        Text to read.

    Returns
    -------
    FeatureKey
        The key that a JSON text from anywhere holds.

    Raises
    ------
    ValueError, TypeError
        If it is no JSON object of reasonable size.
    StoreError
        If it is no complete key.
    """
    fields = parse_json(text, max_bytes=layout.MAX_KEY_BYTES)
    if not isinstance(fields, dict):
        raise TypeError("it is no JSON object")
    key = FeatureKey(fields)
    for name in ("preprocessing", "view"):
        if not isinstance(fields[name], dict):
            raise TypeError(f"its field {name!r} is no JSON object")
    return key


def read_key(path: Path) -> FeatureKey:
    """Read a key file and check that it lies in the folder of its fingerprint.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    FeatureKey

    Raises
    ------
    StoreError
        If it is something else: says what to do.
    """
    try:
        with open_file(path) as file:
            key = parse_key(file.read(layout.MAX_KEY_BYTES + 1))
        fits = key.fingerprint == path.parent.name
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} is no feature key: {error}. Remove the folder {path.parent}."
        ) from error
    if not fits:
        raise StoreError(f"{path} holds another key than its folder says. Remove the folder.")
    return key


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item
