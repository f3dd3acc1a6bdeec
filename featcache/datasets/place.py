"""What the place of an image says about it: label, generator, split, motif."""

from __future__ import annotations

from dataclasses import dataclass

EVERY = "*"
"""As ``serves``: every generator of the same data set, split and, where it has one, motif."""

SERVES_SEPARATOR = "|"


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
    serves : str
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
    serves: str = ""
    source: str = ""
    layout: str = "tree"
