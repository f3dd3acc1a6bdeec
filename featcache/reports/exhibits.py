"""Exhibits: what embed, attend and spectra found, for a report, and as folders that are read
again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featcache.errors import DataError
from featcache.files import read_file, read_text, write_atomic
from featcache.parsing import parse_json
from featcache.reports.export import json_ready
from featcache.reports.figures.images import (
    TITLES,
    attention_picture,
    heads_picture,
    map_picture,
    spectra_picture,
)
from featcache.reports.formatting import Estimate, escape_controls
from featcache.reports.tables.base import Column, Exhibit, Section, Table, TableRow
from featcache.results.analysis import Attended, EmbeddingResult, SpectraResult

FILE = "exhibit.json"
_PICTURE = re.compile(r"\d+-[\w.-]+\.png")
"""Names that :func:`save_exhibit` gives to pictures."""


def map_exhibit(result: EmbeddingResult) -> Exhibit:
    """Return the maps of a feature space with the numbers of its separation.

    Parameters
    ----------
    result : EmbeddingResult
        Coordinates and separation measures of a feature space.

    Returns
    -------
    Exhibit
        The maps of a feature space with the numbers of its separation.
    """
    name = " + ".join(map(escape_controls, result.features))
    return Exhibit(
        title=f"The feature space of {name}",
        text=(
            "Each point is an image. A map of two dimensions can show gaps that are not there and"
            f" hide those that are; the table measures the separation in all {result.n_features:,}"
            " dimensions."
        ),
        pictures=tuple(
            (f"{TITLES.get(method, method)} of {name}", map_picture(result, method))
            for method in result.maps
        ),
        tables=(separation_table(result),),
    )


def separation_table(result: EmbeddingResult) -> Table:
    """Return how far reals and fakes lie apart in all dimensions.

    Parameters
    ----------
    result : EmbeddingResult
        Coordinates and separation measures of a feature space.

    Returns
    -------
    Table
        How far reals and fakes lie apart in all dimensions.
    """
    columns = (
        Column(key="name", label="Fakes"),
        Column(key="n_real", label="n real", kind="count"),
        Column(key="n_fake", label="n fake", kind="count"),
        Column(key="auroc", label="Linear AUROC", kind="percent", help="held-out photographs"),
        Column(key="purity", label="kNN purity", kind="percent", help="balanced; 50 is nothing"),
        Column(key="silhouette", label="Silhouette", kind="number", help="by cosine, -1 to 1"),
    )
    headings = {"all": "", "group": "By family", "generator": "By generator"}
    sections = tuple(
        Section(
            heading=heading,
            rows=tuple(
                TableRow(
                    cells={
                        "name": "all but controls" if s.kind == "all" else escape_controls(s.name),
                        "n_real": s.n_real,
                        "n_fake": s.n_fake,
                        "auroc": Estimate(s.auroc),
                        "purity": Estimate(s.purity),
                        "silhouette": s.silhouette,
                    }
                )
                for s in result.separations
                if s.kind == kind
            ),
        )
        for kind, heading in headings.items()
    )
    return Table(
        name="separation",
        caption=(
            "How far reals and fakes lie apart in all dimensions. Chance is 50 for AUROC and purity"
            " and 0 for the silhouette."
        ),
        columns=columns,
        sections=tuple(section for section in sections if section.rows),
    )


def attention_exhibit(attended: Sequence[Attended]) -> Exhibit:
    """Return the maps of all images and backbones, and the heads of each transformer on the first.

    Parameters
    ----------
    attended : Sequence[Attended]
        Attention maps of the images.

    Returns
    -------
    Exhibit
        The maps of all images and backbones, and the heads of each transformer on the first.
    """
    pictures = [("Attention, rollout and response of each backbone", attention_picture(attended))]
    first = [one for one in attended if one.path == attended[0].path and one.n_heads]
    pictures += [
        (
            f"Attention of every head of {escape_controls(one.backbone)} in its last layer",
            heads_picture(one),
        )
        for one in first
    ]
    return Exhibit(
        title="Where the networks look",
        text=(
            "Attention: what the class token looks at in the last layer, mean over heads. Rollout:"
            " the same followed through all layers. Response: which places push the head's score,"
            " red towards fake, blue towards real (without a head: what the feature is made of). A"
            " map explains a score; it does not prove it."
        ),
        pictures=tuple(pictures),
    )


def spectra_exhibit(result: SpectraResult) -> Exhibit:
    """Return the mean residual spectra beside an image of each generator.

    Parameters
    ----------
    result : SpectraResult
        Residual spectra of each set of images.

    Returns
    -------
    Exhibit
        The mean residual spectra beside an image of each generator.
    """
    return Exhibit(
        title="Spectra",
        text=(
            "Mean log spectrum of the residual (image less its median-filtered self) of crops of"
            f" {result.size} pixels, frequency 0 in the middle; right, less that of the reals."
            " Bright points and crosses away from the middle are traces of upsampling; a grid"
            " common to all, reals too, is JPEG's."
        ),
        pictures=(("Mean residual spectra", spectra_picture(result)),),
    )


def save_exhibit(folder: Path, exhibit: Exhibit) -> list[Path]:
    """Write an exhibit's pictures, and a file by which a report finds them.

    Parameters
    ----------
    folder : Path
        Folder that is read or written.
    exhibit : Exhibit
        Tables and pictures to save.

    Returns
    -------
    list of Path
        The pictures.
    """
    files = []
    for number, (caption, data) in enumerate(exhibit.pictures, 1):
        files.append(folder / f"{number}-{_slug(caption)}.png")
        write_atomic(files[-1], data)
    document = {
        "format": "featcache-exhibit-1",
        "title": exhibit.title,
        "text": exhibit.text,
        "pictures": [
            {"caption": caption, "file": file.name}
            for (caption, _), file in zip(exhibit.pictures, files, strict=True)
        ],
        "tables": [table.to_dict() for table in exhibit.tables],
    }
    text = json.dumps(json_ready(document), indent=1, allow_nan=False)
    _remove_pictures(folder, {file.name for file in files})
    write_atomic(folder / FILE, text.encode())
    return files


def _remove_pictures(folder: Path, written: set[str]) -> None:
    """Remove the pictures of an earlier exhibit in a folder that were not written anew."""
    try:
        names = {str(p["file"]) for p in parse_json(read_file(folder / FILE))["pictures"]}
    except (OSError, ValueError, TypeError, KeyError):
        return
    for name in names - written:
        if _PICTURE.fullmatch(name) and not (folder / name).is_symlink():
            (folder / name).unlink(missing_ok=True)


def load_exhibit(folder: Path) -> Exhibit:
    """Read what :func:`save_exhibit` wrote.

    Parameters
    ----------
    folder : Path
        Folder that is read or written.

    Returns
    -------
    Exhibit

    Raises
    ------
    DataError
        If the folder holds no exhibit.
    """
    try:
        stored = json.loads(read_text(folder / FILE))
        pictures = tuple(
            (str(p["caption"]), read_file(folder / Path(p["file"]).name))
            for p in stored["pictures"]
        )
        tables = tuple(_table(table) for table in stored["tables"])
        return Exhibit(
            title=str(stored["title"]), text=str(stored["text"]), pictures=pictures, tables=tables
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} holds no exhibit: {error}. Make one with 'featcache embed', 'attend' or"
            " 'spectra'."
        ) from error


def _table(stored: dict[str, Any]) -> Table:
    columns = tuple(
        Column(key=c["key"], label=c["label"], kind=c["kind"], help=c["help"])
        for c in stored["columns"]
    )
    sections: dict[str, list[TableRow]] = {}
    for row in stored["rows"]:
        cells = {c.key: _cell(row.get(c.key)) for c in columns}
        made = TableRow(cells=cells, role=row["role"], bold=frozenset(row["bold"]))
        sections.setdefault(row["section"], []).append(made)
    return Table(
        name=_file_name(str(stored["name"])),
        caption=str(stored["caption"]),
        note=stored["note"],
        columns=columns,
        sections=tuple(Section(heading=h, rows=tuple(rows)) for h, rows in sections.items()),
    )


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        nan = float("nan")
        return Estimate(*(nan if value[k] is None else value[k] for k in ("value", "low", "high")))
    return value


def _file_name(name: str) -> str:
    """Return a table's name as a part of a file name: names from files never become paths."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:80] or "table"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
