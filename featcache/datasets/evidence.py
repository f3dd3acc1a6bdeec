"""Labels are conclusions from named evidence: a folder, a column, names in a schema, a twin column.

Words beat numbers, and names in metadata beat positions. A number alone is read as 1 = fake only
where nothing contradicts it, and the scan says so. Two words that contradict each other stop the
scan with both pieces of evidence and the flag that decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from featcache.errors import DataError, SettingsError

REAL, FAKE, SKIP = "real", "fake", "skip"

REAL_WORDS = frozenset(
    [
        "real",
        "reals",
        "authentic",
        "original",
        "originals",
        "pristine",
        "human",
        "camera",
        "photo",
        "photograph",
        "natural",
        "nature",
        "genuine",
        "bonafide",
        "untampered",
        "unmodified",
        "unaltered",
        "notfake",
        "nonfake",
        "realimage",
        "realimages",
        "realphoto",
        "humanmade",
        "realworld",
    ]
)
"""Values that mean real, without case, spaces, dashes and underscores."""

FAKE_WORDS = frozenset(
    [
        "fake",
        "fakes",
        "ai",
        "synthetic",
        "synth",
        "generated",
        "aigc",
        "aigenerated",
        "aiimage",
        "aiimages",
        "deepfake",
        "deepfakes",
        "fullsynthetic",
        "fullysynthetic",
        "machinegenerated",
        "aimade",
        "artificial",
        "notreal",
        "gangenerated",
        "diffusiongenerated",
        "fakeimage",
        "fakeimages",
        "computergenerated",
        "syntheticimage",
    ]
)
"""Values that mean fake."""

PARTLY_FAKE_WORDS = frozenset(
    [
        "tampered",
        "inpainted",
        "inpainting",
        "manipulated",
        "forged",
        "forgery",
        "spliced",
        "edited",
        "partial",
        "partlyfake",
        "partiallyfake",
        "partiallyedited",
        "partlyedited",
        "partialsynthetic",
        "faceswap",
        "altered",
        "modified",
    ]
)
"""Values that mean that a part of the image is fake: label fake, the word is the category."""

FOLDER_WORDS = {
    **dict.fromkeys(("0_real", "real", "reals", "nature", "authentic", "pristine"), 0),
    **dict.fromkeys(("human", "genuine", "0_human", "0_nature"), 0),
    **dict.fromkeys(("1_fake", "fake", "fakes", "ai", "1_ai", "synthetic", "generated"), 1),
    **dict.fromkeys(("aigc", "ai_generated", "ai-generated", "full_synthetic"), 1),
    **dict.fromkeys(("tampered", "manipulated", "1_synthetic", "1_generated"), 1),
}
"""Names of class folders and their labels. Fewer than the values of columns: a folder called
``original`` or ``deepfake`` may be a generator or a data set as well.
"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence for the label of a sample.

    Parameters
    ----------
    source : str
        Where it stands: ``column 'label'``, ``names of 'label' in the schema``, ``folder 'fake'``.
    value : str
        What stands there.
    label : int or None
        0 real, 1 fake, None for a number that says nothing by itself.
    category : str
        Kind of fake where the word says it (``tampered``).
    skip : bool
        Whether the value means that the row is no sample.
    """

    source: str
    value: str
    label: int | None
    category: str = ""
    skip: bool = False

    def __str__(self) -> str:
        word = "skip" if self.skip else {0: REAL, 1: FAKE, None: "?"}[self.label]
        return f"{self.source} is {self.value!r} ({word})"


@dataclass(frozen=True)
class LabelMap:
    """The user's own reading of columns and values (``--column``, ``--label``, settings file).

    Parameters
    ----------
    columns : mapping of str to str
        Field (label, generator, split, source, path, image, category) to the column that holds it.
    labels : mapping of str to str
        Value, compared without case, to ``real``, ``fake`` or ``skip``.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def label_of(self, value: Any) -> Evidence | None:
        """Return what the user's map says about a value, None where it does not name it.

        Parameters
        ----------
        value : Any
            Value of a label column or name of a class folder.

        Returns
        -------
        Evidence or None
        """
        word = self.labels.get(str(value).strip().lower())
        if word is None:
            return None
        label = {REAL: 0, FAKE: 1, SKIP: None}[word]
        return Evidence("--label", f"{value}={word}", label, skip=word == SKIP)

    def fake_values(self) -> set[str]:
        """Return the values that the user says are fake.

        Returns
        -------
        set of str
        """
        return {value for value, word in self.labels.items() if word == FAKE}


FIELDS = ("label", "generator", "split", "source", "path", "image", "category", "id")


def parse_columns(texts: Iterable[str]) -> dict[str, str]:
    """Parse ``FIELD=NAME`` texts of ``--column``.

    Parameters
    ----------
    texts : iterable of str

    Returns
    -------
    dict of str to str
        Field to column name.

    Raises
    ------
    SettingsError
        If a text has no ``=`` or the field is unknown.
    """
    columns = {}
    for text in texts:
        name, _, column = text.partition("=")
        if name not in FIELDS or not column:
            raise SettingsError(
                f"--column {text!r}: write FIELD=NAME, where FIELD is one of {', '.join(FIELDS)}."
            )
        columns[name] = column
    return columns


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """Parse ``VALUE=real|fake|skip`` texts of ``--label``.

    Parameters
    ----------
    texts : iterable of str

    Returns
    -------
    dict of str to str
        Value in lower case to ``real``, ``fake`` or ``skip``.

    Raises
    ------
    SettingsError
        If a text is not of that form.
    """
    labels = {}
    for text in texts:
        value, _, word = text.rpartition("=")
        if not value or word not in (REAL, FAKE, SKIP):
            raise SettingsError(f"--label {text!r}: write VALUE=real, VALUE=fake or VALUE=skip.")
        labels[value.strip().lower()] = word
    return labels


def word_evidence(source: str, value: Any) -> Evidence | None:
    """Return the evidence in a word, None where the value is no known word.

    Parameters
    ----------
    source : str
        Where the value stands.
    value : Any
        Value of a column or name of a folder.

    Returns
    -------
    Evidence or None

    Examples
    --------
    >>> word_evidence("column 'label'", "Full_Synthetic").label
    1
    >>> word_evidence("column 'label'", "tampered").category
    'tampered'
    >>> word_evidence("column 'label'", "cat") is None
    True
    """
    text = str(value).strip()
    word = re.sub(r"[\s_\-./]+", "", text.lower())
    bare = re.sub(r"^[0-9]+", "", word)
    for candidate in (word, bare):
        if candidate in REAL_WORDS:
            return Evidence(source, text, 0)
        if candidate in FAKE_WORDS:
            return Evidence(source, text, 1)
        if candidate in PARTLY_FAKE_WORDS:
            return Evidence(source, text, 1, text.lower())
    return None


def number_of(value: Any) -> int | None:
    """Return the class number in a value, None where it is no whole number.

    Parameters
    ----------
    value : Any

    Returns
    -------
    int or None

    Examples
    --------
    >>> number_of("1.0"), number_of(True), number_of("fake")
    (1, 1, None)
    """
    text = str(value).strip().lower()
    if text in ("true", "false"):
        return int(text == "true")
    return int(float(text)) if re.fullmatch(r"\d+(\.0+)?", text) else None


def decide(evidence: Sequence[Evidence], where: str) -> Evidence:
    """Conclude the label from the evidence: the user's map first, then words, then numbers.

    Parameters
    ----------
    evidence : sequence of Evidence
        All pieces, the strongest first.
    where : str
        File and row, for the message.

    Returns
    -------
    Evidence
        The deciding piece.

    Raises
    ------
    DataError
        If two words contradict each other; the message names both and the flag that decides.
    """
    mapped = [piece for piece in evidence if piece.source == "--label"]
    if mapped:
        return mapped[0]
    words = [piece for piece in evidence if piece.label is not None]
    for piece in words[1:]:
        if piece.label != words[0].label:
            raise DataError(
                f"{where}: the evidence for the label contradicts itself: {words[0]}, but {piece}. "
                f"Decide with --label {words[0].value}=real or --label {words[0].value}=fake "
                "(or name the column with --column label=NAME)."
            )
    category = next((piece for piece in words if piece.category), None)
    return category or words[0]
