"""Every error that featcache raises on purpose.

::

    FeatcacheError
      SettingsError(ValueError)        exit 2   a flag, variable or setting is wrong
        UnknownNameError(LookupError)  exit 2   no backbone, generator, ... of that name
      DataError(ValueError)            exit 3   the input data cannot be used
        ImageError                     exit 3   one image cannot be decoded
      StoreError(OSError)              exit 4   the store cannot be read or written
        MissingFeaturesError           exit 4   the features asked for are not in the store
        ShardError                     exit 4   a shard is damaged
      ResourceError                    exit 5   something is missing on this machine
        WeightsError(OSError)          exit 5   weights missing, or not the ones they should be
        MissingExtraError(ImportError) exit 5   an optional package is not installed

A message says what is wrong, where, why, and how to fix it. Exit 6 is no error: the work is done
and some images were rejected.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FeatcacheError(Exception):
    """Root of the tree; ``exit_code`` is what the command line ends with."""

    exit_code = 1


class SettingsError(FeatcacheError, ValueError):
    """A setting is wrong: says which, its value, and what is allowed."""

    exit_code = 2


class UnknownNameError(SettingsError, LookupError):
    """Nothing has that name: says the near ones and all of them."""


class DataError(FeatcacheError, ValueError):
    """The input data cannot be used as they are."""

    exit_code = 3


class ImageError(DataError):
    """One image cannot be decoded; the message is the reason in the list of rejects."""


class StoreError(FeatcacheError, OSError):
    """The store cannot be read or written."""

    exit_code = 4


class MissingFeaturesError(StoreError):
    """Features are not in the store: says the command that makes them."""


class ShardError(StoreError):
    """A shard is truncated, altered or of another format."""


class ResourceError(FeatcacheError):
    """Something that the work needs is missing on this machine."""

    exit_code = 5


class WeightsError(ResourceError, OSError):
    """A weights file is missing, damaged, or not the one it should be."""


class MissingExtraError(ResourceError, ImportError):
    """An optional package is not installed: says the line that installs it."""


class FeatcacheWarning(UserWarning):
    """Something that a careful reader should know, and that does not stop the work."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a name that nothing has, with the near names first.

    Parameters
    ----------
    kind : str
        What was looked for, as the user calls it: ``"backbone"``, ``"generator"``.
    name : str
        The name that was not found.
    known : iterable of str
        The names that exist.

    Returns
    -------
    UnknownNameError

    Examples
    --------
    >>> print(unknown_name("backbone", "resnet5", ["clip", "resnet50"]))
    No backbone is called 'resnet5'. Did you mean 'resnet50'? Known: clip, resnet50.
    """
    names = sorted(known)
    # Case is no reason to miss a name: CLIP means clip.
    folded: dict[str, str] = {}
    for known_name in names:
        folded.setdefault(known_name.casefold(), known_name)
    matches = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
    near = [folded[match] for match in matches]
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    listing = ", ".join(names) if names else "none"
    return UnknownNameError(f"No {kind} is called {name!r}.{hint} Known: {listing}.")


def near_words(key: str, known: Iterable[str]) -> str:
    """Return the end of a message about a key that does not exist: the nearest one, or all of them.

    Parameters
    ----------
    key : str
        Function or text that identifies an item.
    known : Iterable[str]
        Known names.

    Returns
    -------
    str
        The end of a message about a key that does not exist.

    Examples
    --------
    >>> near_words("backbons", ["backbones", "views"])
    " Did you mean 'backbones'?"
    """
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(names)}."
