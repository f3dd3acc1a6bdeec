"""Why a sample has the label, generator and split that it has: the evidence of a root or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featcache.datasets.discovery import Discovered, find
from featcache.datasets.evidence import LabelMap
from featcache.errors import DataError
from featcache.settings import Settings

MOST_EXAMPLES = 12


def explain_root(root: Path, settings: Settings) -> dict[str, Any]:
    """Return the evidence for the labels of a root, or of one image in a tree.

    Parameters
    ----------
    root : Path
        A tree, a container, a list, or an image below a folder that is a tree.
    settings : Settings
        Layout, and the user's own columns, labels and layouts.

    Returns
    -------
    dict
        ``root``, ``evidence`` (text and number of samples, the most common first), ``examples``
        (one sample of each reading: path, label, generator, split, layout) and ``notes``.

    Raises
    ------
    DataError
        If no folder above the image is a tree of a known layout.
    """
    mapping = LabelMap(
        settings.columns, {value.lower(): word for value, word in settings.labels.items()}
    )
    path = root.resolve()
    folders = [path] if not _is_image(path) else list(path.parents)[:-1]
    result, chosen = None, path
    for folder in folders:
        try:
            result = find(folder, settings.layout, mapping, settings.own_layouts)
        except DataError:
            if folder == folders[-1]:
                raise
            continue
        if len({place.label for _, place in result.samples}) == 2 or folder == folders[-1]:
            chosen = folder
            break
    assert result is not None
    only = str(path) if _is_image(path) else ""
    return {
        "root": str(chosen),
        "evidence": [
            {"evidence": text, "n_samples": count} for text, count in result.evidence.most_common()
        ],
        "examples": _examples(result, only),
        "notes": result.notes,
    }


def _is_image(path: Path) -> bool:
    from featcache.datasets.walk import IMAGE_SUFFIXES

    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES


def _examples(result: Discovered, only: str) -> list[dict[str, str]]:
    """Return the first sample of each combination of label, generator and split."""
    seen = set()
    rows = []
    for file, place in result.samples:
        reading = (place.label, place.generator, place.split)
        if (only and file.path != only) or (not only and reading in seen):
            continue
        seen.add(reading)
        shared = place.paired_with or place.generator
        rows.append(
            {
                "path": file.path,
                "label": ("real", "fake")[place.label],
                "generator": place.generator if place.label else f"none, paired with {shared}",
                "split": place.split or "by source",
                "layout": place.layout,
            }
        )
        if len(rows) == MOST_EXAMPLES:
            break
    return rows
