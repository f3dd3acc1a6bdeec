"""Layouts: how published data sets lie on disk, as a table of path templates.

The table is ``layouts.toml`` beside this file; users add their own as ``[[layout]]`` tables in
``featcache.toml``, which come first. A folder is read by the first rule that fits it, so that a
root may hold several data sets side by side. Templates are explained in
:mod:`featcache.datasets.template`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatch
from functools import lru_cache
from importlib.resources import files
from typing import Any

from featcache.datasets.evidence import FOLDER_WORDS
from featcache.datasets.template import Template, compile_template
from featcache.errors import SettingsError

EVERY = "*"
"""As ``paired_with``: every generator of the same data set, split and, where it has one, category.
"""

PAIRED_SEPARATOR = "|"


def is_shared(paired_with: str) -> bool:
    """Say whether a value of ``paired_with`` stands for several generators.

    Parameters
    ----------
    paired_with : str
        ``"*"``, or the names of generators with ``|`` between them.

    Returns
    -------
    bool
    """
    return paired_with == EVERY or PAIRED_SEPARATOR in paired_with


GENERAL = "tree"
"""The layout that fits any tree with class folders; what lies below them is looked at closely."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a layout or a list says about an image.

    Parameters
    ----------
    split : {"train", "val", "test", ""}
        Empty where nothing says it.
    generator : str
        The generator; for a real the one whose set it belongs to.
    category : str
    label : int
        0 real, 1 fake.
    paired_with : str
        Where a real belongs to several: their names joined by ``|``, or ``*`` for every one.
    source : str
        The photograph that it comes from, where the place says it.
    layout : str
        Name of the layout that was recognised.
    """

    split: str
    generator: str
    category: str
    label: int
    paired_with: str = ""
    source: str = ""
    layout: str = GENERAL


@dataclass(frozen=True)
class Rule:
    """One template and the values that it leaves open.

    Parameters
    ----------
    template : Template
    generator, split, source : str
        Values where the template has no such field; ``source`` is a regular expression on the
        file's path, whose first group is the photograph.
    label : int, optional
    paired_with : str
        The generators that reals in such a folder belong to (``a|b`` or ``*``).
    skip : bool
        Files here are no samples (reconstructions).
    """

    template: Template
    generator: str = ""
    split: str = ""
    label: int | None = None
    paired_with: str = ""
    source: str = ""
    skip: bool = False


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk.

    Parameters
    ----------
    name : str
        For ``--layout``.
    summary : str
    rules : tuple of Rule
    source : str
        Where the form is described.
    rename : mapping of str to str
        Folder names to generator names.
    marks : tuple of str
        Unless forced, the layout is considered only if the tree has ``n_marks`` of these names.
    n_marks : int
    requires, forbids : tuple of str
        Names that the tree must have, and must not have; ``*`` stands for any letters.
    """

    name: str
    summary: str
    rules: tuple[Rule, ...]
    source: str = ""
    rename: Mapping[str, str] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    n_marks: int = 0
    requires: tuple[str, ...] = ()
    forbids: tuple[str, ...] = ()

    def fits(self, names: Collection[str]) -> bool:
        """Return whether a tree with folders of these names can be of this layout.

        Parameters
        ----------
        names : collection of str
            Names of all folders, in lower case.

        Returns
        -------
        bool
        """
        if len({name.lower() for name in self.marks} & set(names)) < self.n_marks:
            return False
        has = all(any(fnmatch(name, pattern) for name in names) for pattern in self.requires)
        return has and not any(fnmatch(n, pattern) for n in names for pattern in self.forbids)

    def read(self, path: str) -> tuple[Rule, Place] | None:
        """Return what a folder's path (root's name first) says, None where no rule fits.

        Parameters
        ----------
        path : str
            Names of the folders, joined by ``/``.

        Returns
        -------
        (Rule, Place) or None
        """
        for rule in self.rules:
            values = rule.template.match(path)
            if values is not None:
                label = int(values["label"]) if "label" in values else rule.label or 0
                generator = values.get("generator") or rule.generator or path.split("/")[0]
                category = "/".join(filter(None, (values.get("tag"), values.get("category"))))
                return rule, Place(
                    split=values.get("split") or rule.split,
                    generator=self.rename.get(generator, ALIASES.get(generator, generator)),
                    category=category,
                    label=label,
                    paired_with="" if label else rule.paired_with,
                    layout=self.name,
                )
        return None


ALIASES = {"seeingdark": "sitd", "elsa_data": "elsa", "ffhq_test": "ffhq"}
"""Folders that are called otherwise than their generator, whatever the layout."""


def load_layouts(
    own: Sequence[Mapping[str, Any]] = (), words: Mapping[str, int] | None = None
) -> tuple[Layout, ...]:
    """Load the table of layouts, the user's own first.

    Parameters
    ----------
    own : sequence of mapping
        ``[[layout]]`` tables of ``featcache.toml``.
    words : mapping of str to int, optional
        Further names of class folders (``--label``) to labels.

    Returns
    -------
    tuple of Layout
        In the order in which they are tried.

    Raises
    ------
    SettingsError
        If a table has an unknown key, or a template cannot be read.
    """
    sets, tables = _shipped()
    all_words = {**FOLDER_WORDS, **(words or {})}
    if not own and not words:
        return _shipped_layouts()
    return tuple(_layout(table, sets, all_words) for table in (*own, *tables))


@lru_cache(maxsize=1)
def _shipped() -> tuple[dict[str, tuple[str, ...]], tuple[dict[str, Any], ...]]:
    text = files("featcache.datasets").joinpath("layouts.toml").read_text("utf-8")
    document = tomllib.loads(text)
    sets = {name: tuple(names) for name, names in document["sets"].items()}
    return sets, tuple(document["layout"])


@lru_cache(maxsize=1)
def _shipped_layouts() -> tuple[Layout, ...]:
    sets, tables = _shipped()
    return tuple(_layout(table, sets, FOLDER_WORDS) for table in tables)


def named_set(name: str) -> tuple[str, ...]:
    """Return a named set of folder names, such as ``progan20``.

    Parameters
    ----------
    name : str
        Name in the table ``[sets]``.

    Returns
    -------
    tuple of str
    """
    return _shipped()[0][name]


def _layout(
    table: Mapping[str, Any], sets: Mapping[str, tuple[str, ...]], words: Mapping[str, int]
) -> Layout:
    """Return the layout of one table."""
    known = {item.name for item in fields(Layout)}
    rule_keys = {item.name for item in fields(Rule)}
    name = str(table.get("name", ""))
    unknown = set(table) - known
    rules = table.get("rules") or ([table["template"]] if "template" in table else [])
    unknown -= {"template"}
    if not name or unknown or not rules:
        what = f"unknown keys {', '.join(sorted(unknown))}" if unknown else "name and rules needed"
        raise SettingsError(f"[[layout]] {name!r}: {what}. See docs/how-to/own-layout.md.")
    compiled = []
    for entry in rules:
        values = {"template": entry} if isinstance(entry, str) else dict(entry)
        if extra := set(values) - rule_keys:
            raise SettingsError(
                f"[[layout]] {name!r}: a rule has the unknown keys {', '.join(sorted(extra))}; "
                f"there are {', '.join(sorted(rule_keys))}."
            )
        if values.get("label") in ("real", "fake"):
            values["label"] = int(values["label"] == "fake")
        try:
            values["template"] = compile_template(values["template"], sets, words)
        except (KeyError, ValueError) as error:
            raise SettingsError(
                f"[[layout]] {name!r}: the template {values.get('template')!r} cannot be read: "
                f"{error}."
            ) from error
        compiled.append(Rule(**values))
    marks = table.get("marks", ())
    return Layout(
        name=name,
        summary=str(table.get("summary") or rules[0]),
        rules=tuple(compiled),
        source=str(table.get("source", "")),
        rename=dict(table.get("rename", {})),
        marks=sets[marks] if isinstance(marks, str) else tuple(marks),
        n_marks=int(table.get("n_marks", 0)),
        requires=tuple(table.get("requires", ())),
        forbids=tuple(table.get("forbids", ())),
    )
