"""Path templates: ``**/{split}/{generator}/[{category}]/{label}`` to a pattern that reads folders.

A template is made of segments, one per folder::

    name          a folder of this name, upper and lower case alike; ``*`` for any letters
    {field}       any folder but a class folder; its name is the value
    {field*}      one folder or several
    {field:a|b=c} one of these folders; ``b=c`` gives the value c
    {field:@set}  one of a named set; ``_`` as the field keeps no value
    [segment]     may be missing
    **            any folders, also none; only at the beginning

``{label}`` and ``{split}`` without alternatives stand for the usual names. What lies deeper
belongs to the folder that was matched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

LABELS = {"0_real": "0", "1_fake": "1", "real": "0", "fake": "1", "nature": "0", "ai": "1"}
"""Class folders and their labels."""

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Split folders and the splits that they mean."""

_CLASS = "(?:" + "|".join(LABELS) + ")(?:/|$)"
_FREE = rf"(?!{_CLASS})[^/]+"
_SEGMENT = re.compile(r"\{(\w+)(\*?)(?::([^}]*))?\}")


@dataclass(frozen=True)
class Template:
    """A compiled template.

    Parameters
    ----------
    text : str
        As it was written.
    pattern : re.Pattern
        Matches the whole path of a folder, the root's name first, joined by ``/``.
    values : mapping of str to mapping
        For each field with alternatives: folder name in lower case to value.
    """

    text: str
    pattern: re.Pattern[str]
    values: Mapping[str, Mapping[str, str]]

    def match(self, path: str) -> dict[str, str] | None:
        """Return the fields that a folder's path gives, None where it is none of these folders.

        Parameters
        ----------
        path : str
            File or folder.

        Returns
        -------
        dict[str, str] | None
            The fields that a folder's path gives, None where it is none of these folders.
        """
        match = self.pattern.match(path)
        if match is None:
            return None
        fields = {name: value for name, value in match.groupdict().items() if value is not None}
        return {name: self._value(name, value) for name, value in fields.items()}

    def _value(self, field: str, folder: str) -> str:
        """Return what a folder's name stands for; one that fits a ``*`` stands for itself."""
        if field not in self.values:
            return folder
        choices = self.values[field]
        if folder.lower() in choices:
            return choices[folder.lower()]
        fits = (choice for choice in choices if re.fullmatch(_literal(choice), folder.lower()))
        value = choices[next(fits)]
        return folder if "*" in value else value


def compile_template(text: str, sets: Mapping[str, tuple[str, ...]]) -> Template:
    """Return the compiled template; ``sets`` are the named sets.

    Parameters
    ----------
    text : str
        Text to read.
    sets : Mapping[str, tuple[str, ...]]
        Feature sets.

    Returns
    -------
    Template
        The compiled template.
    """
    values: dict[str, dict[str, str]] = {}
    pattern = ""
    join = ""
    for segment in text.split("/"):
        if segment == "**":
            pattern += "(?:[^/]+/)*?"
        elif segment.startswith("["):
            piece = _piece(segment[1:-1], sets, values)
            pattern += f"(?:{join}{piece})?" if join else f"(?:{piece}/)?"
        else:
            pattern += join + _piece(segment, sets, values)
            join = "/"
    if "{label" not in text:
        # A class folder decides by itself: templates without one leave such paths alone.
        pattern = rf"(?!(?:.*/)?{_CLASS})" + pattern
    return Template(text, re.compile(rf"{pattern}(?:/.*)?$", re.IGNORECASE | re.DOTALL), values)


def _piece(
    segment: str, sets: Mapping[str, tuple[str, ...]], values: dict[str, dict[str, str]]
) -> str:
    match = _SEGMENT.fullmatch(segment)
    if match is None:
        return _literal(segment)
    name, many, alternatives = match.groups()
    if alternatives is None and name in ("label", "split"):
        choices = LABELS if name == "label" else SPLITS
    elif alternatives is None:
        return f"(?P<{name}>{_FREE}(?:/{_FREE})*?)" if many else f"(?P<{name}>{_FREE})"
    else:
        choices = _choices(alternatives, sets)
    body = "|".join(_literal(choice) for choice in choices)
    if name == "_":
        return f"(?:{body})"
    values[name] = {choice.lower(): value for choice, value in choices.items()}
    return f"(?P<{name}>{body})"


def _choices(text: str, sets: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    choices: dict[str, str] = {}
    for item in text.split("|"):
        if item.startswith("@"):
            choices |= {name: name for name in sets[item[1:]]}
        else:
            name, _, value = item.partition("=")
            choices[name] = value or name
    return choices


def _literal(text: str) -> str:
    return "[^/]*".join(re.escape(part) for part in text.split("*"))
