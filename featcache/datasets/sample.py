"""One image file as a row of the manifest, and its values as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.datasets.columns import Column, Texts

REAL = "real"
"""The ``generator`` of a photograph."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file.

    Parameters
    ----------
    dataset : str
        Name of the tree that it was found in.
    root, path : str
        Folder of the dataset, and the file, both absolute.
    label : int
        0 real, 1 fake.
    generator : str
        The program that made it; ``"real"`` for photographs.
    paired_with : str
        The generator whose test or training set it belongs to; for a fake its own generator. A
        shared real has several (``a|b``, in a table on disk also ``*`` for all).
    family : str
        Family of the generator that it is paired with; empty where there are several.
    split : {"train", "val", "test"}
    category : str
        Content class (``"cat"``), empty where the layout has none.
    source : str
        The photograph that it comes from: samples of one source are not independent.
    sample_id : str
        Digest of the file's bytes; empty where they could not be read.
    format, mode : str
        As Pillow calls them, from the header; empty where it is no image.
    width, height : int, pixels
    n_bytes, mtime_ns : int
        Size and time of change, by which a later scan knows the file again.
    jpeg_quality : int in [0, 100]
    tables : str
        Name of the JPEG quantisation tables, empty for other formats.
    has_exif : int in {0, 1}
    layout : str
        The layout that the file was found by.
    problem : str
        Why the file cannot be used; empty where it can be tried.
    """

    dataset: str
    root: str
    path: str
    label: int
    generator: str
    paired_with: str
    family: str
    split: str
    category: str = ""
    source: str = ""
    sample_id: str = ""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    n_bytes: int = 0
    mtime_ns: int = 0
    jpeg_quality: int = 0
    tables: str = ""
    has_exif: int = 0
    layout: str = ""
    problem: str = ""


FIELDS = [field.name for field in fields(Sample)]
"""Columns of a manifest, in order."""

INTEGERS = [field.name for field in fields(Sample) if field.type in ("int", int)]

OWN = "own_source"
"""Internal column: the sample is its own source, and the column ``source`` holds nothing."""


def encode(values: Mapping[str, Sequence[Any]]) -> dict[str, Column]:
    """Return the columns of a manifest from lists of values.

    Parameters
    ----------
    values : mapping of str to sequence
        Of each of :data:`FIELDS`.

    Returns
    -------
    dict of str to Texts or ndarray
        Also :data:`OWN`.
    """
    columns: dict[str, Column] = {}
    for name in FIELDS:
        if name in INTEGERS:
            columns[name] = shrink(np.array(values[name], np.int64))
        elif name == "sample_id":
            columns[name] = Texts.of_ids(values[name])
    pairs = zip(values["source"], values["sample_id"], strict=True)
    own = np.fromiter((source == name for source, name in pairs), np.int8, len(values["source"]))
    sources = ("" if o else s for o, s in zip(own.tolist(), values["source"], strict=True))
    for name in FIELDS:
        if name not in columns:
            columns[name] = Texts.of(sources if name == "source" else values[name])
    return {**columns, OWN: own}


def shrink(values: NDArray[Any]) -> NDArray[Any]:
    """Return integers in the smallest type that holds them.

    Parameters
    ----------
    values : ndarray of int

    Returns
    -------
    ndarray of int8, int16, int32 or int64
    """
    if not len(values):
        return values.astype(np.int8)
    low, high = int(values.min()), int(values.max())
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.int64)
