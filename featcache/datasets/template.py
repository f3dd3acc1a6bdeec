"""Path templates: ``**/{split}/{generator}/[{category}]/{label}`` to a pattern that reads folders.

A template is made of segments, one per folder::

    name          a folder of this name, upper and lower case alike; ``*`` for any letters
    {field}       any folder but a class folder; its name is the value
    {field*}      one folder or several
    {field:a|b=c} one of these folders; ``b=c`` gives the value c
    {field:@set}  one of a named set; ``_`` as the field keeps no value
    [segment]     may be missing
    **            any folders, also none; only at the beginning
    $             nothing below; only at the end

``{label}`` and ``{split}`` without alternatives stand for the usual names. What lies deeper
belongs to the folder that was matched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from featcache.datasets.evidence import FOLDER_WORDS

LABELS = {word: str(label) for word, label in FOLDER_WORDS.items()}
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

_SPLIT = (
    r"(?:train|training|val|valid|validation|test|testing)"
    r"(?:[-_. ](?!(?:19|20)\d\d(?:$|/))[a-z0-9]+|\d{1,2})?(?=/|$)"
)
"""A split folder, perhaps with a tag: ``test_unseen``, ``val2``; ``train2017`` names a year."""


def split_of_folder(name: str) -> tuple[str, str] | None:
    """Return the split that a folder or value names, and its tag.

    Parameters
    ----------
    name : str
        Name of a folder, or value of a column.

    Returns
    -------
    (str, str) or None
        ``train``, ``val`` or ``test`` and the tag; None where it names no split.

    Examples
    --------
    >>> split_of_folder("test_unseen"), split_of_folder("val2"), split_of_folder("train2017")
    (('test', 'unseen'), ('val', '2'), None)
    """
    text = name.strip().lower()
    if not re.fullmatch(_SPLIT, text):
        return None
    word = next(w for w in sorted(SPLITS, key=len, reverse=True) if text.startswith(w))
    return SPLITS[word], text[len(word) :].strip("-_. ")


def split_of_stem(stem: str) -> tuple[str, str]:
    """Return what is left of the name of a list or shard without its split, and the split.

    Parameters
    ----------
    stem : str
        Name of a file without suffix and number.

    Returns
    -------
    (str, str)
        The rest, which may be empty, and ``train``, ``val``, ``test`` or an empty text.

    Examples
    --------
    >>> split_of_stem("cifake-train"), split_of_stem("test_unseen"), split_of_stem("progan")
    (('cifake', 'train'), ('', 'test'), ('progan', ''))
    """
    if named := split_of_folder(stem):
        return "", named[0]
    rest, _, word = re.sub(r"[-_.]([a-z]+)$", r"/\1", stem, flags=re.IGNORECASE).partition("/")
    return (rest, SPLITS[word.lower()]) if word.lower() in SPLITS else (stem, "")


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
        read = {name: self._value(name, value) for name, value in fields.items()}
        if "split" in fields and "split" not in self.values:
            read["split"], read["tag"] = split_of_folder(fields["split"]) or ("", "")
            if read["tag"] and match.start("split") == 0:
                return None  # the root is a data set, whatever its name begins with
        return read

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


def compile_template(
    text: str, sets: Mapping[str, tuple[str, ...]], words: Mapping[str, int] = FOLDER_WORDS
) -> Template:
    """Compile a template.

    Parameters
    ----------
    text : str
        The template.
    sets : mapping of str to tuple of str
        Named sets of folder names.
    words : mapping of str to int
        Names of class folders, in lower case, to labels.

    Returns
    -------
    Template

    Raises
    ------
    KeyError
        If there is no such named set.
    """
    classes = "(?:" + "|".join(map(re.escape, words)) + ")(?:/|$)"
    values: dict[str, dict[str, str]] = {}
    pattern = ""
    join = ""
    ends = text.endswith("/$")
    for segment in text.removesuffix("/$").split("/"):
        if segment == "**":
            pattern += "(?:[^/]+/)*?"
        elif segment.startswith("["):
            piece = _piece(segment[1:-1], sets, values, words)
            pattern += f"(?:{join}{piece})?" if join else f"(?:{piece}/)?"
        else:
            pattern += join + _piece(segment, sets, values, words)
            join = "/"
    if "{label" not in text:
        # A class folder decides by itself: templates without one leave such paths alone.
        pattern = rf"(?!(?:.*/)?{classes})" + pattern
    below = "" if ends else "(?:/.*)?"
    return Template(text, re.compile(rf"{pattern}{below}$", re.IGNORECASE | re.DOTALL), values)


def _piece(
    segment: str,
    sets: Mapping[str, tuple[str, ...]],
    values: dict[str, dict[str, str]],
    words: Mapping[str, int],
) -> str:
    match = _SEGMENT.fullmatch(segment)
    if match is None:
        return _literal(segment)
    name, many, alternatives = match.groups()
    if alternatives is None and name == "split":
        return f"(?P<split>{_SPLIT})"
    if alternatives is None and name == "label":
        choices = {word: str(label) for word, label in words.items()}
    elif alternatives is None:
        free = "(?!(?:" + "|".join(map(re.escape, words)) + ")(?:/|$))[^/]+"
        return f"(?P<{name}>{free}(?:/{free})*?)" if many else f"(?P<{name}>{free})"
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
