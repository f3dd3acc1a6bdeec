"""Features of other programs: one file, or a folder of a known program with its lists of rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import DataError
from featcache.extract.foreign_arrays import (
    SUFFIXES,
    Part,
    Row,
    open_file_arrays,
    open_table,
    read_tensor,
    table_rows,
)
from featcache.files import open_text


@dataclass(frozen=True)
class ForeignArrays:
    """Features of one kind that other programs computed.

    Parameters
    ----------
    parts : list of Part
        In the order of their rows.
    rows : list of (str, dict), optional
        What came along about the rows; None where a table must say it.
    form : str
        How the input was read, for the user.
    """

    parts: list[Part]
    rows: list[Row] | None
    form: str

    @property
    def n_rows(self) -> int:
        """Rows of all parts."""
        return sum(part.shape[0] for part in self.parts)

    @property
    def n_features(self) -> int:
        """Columns."""
        return self.parts[0].shape[1]

    @property
    def dtype(self) -> str:
        """Type in which the store keeps them: float16 stays, everything else becomes float32."""
        half = all(part.dtype == np.float16 for part in self.parts)
        return "float16" if half else "float32"

    def blocks(self, n: int) -> Iterator[NDArray[Any]]:
        """Yield the rows in order.

        Parameters
        ----------
        n : int
            Rows of a block at the most.

        Yields
        ------
        ndarray of shape (m, n_features), float16 or float32
            Values beyond the type's range are infinite.
        """
        for part in self.parts:
            for block in part.blocks(n):
                with np.errstate(over="ignore"):
                    yield np.asarray(block, self.dtype)


def open_arrays(path: Path, array: str = "") -> ForeignArrays:
    """Open features that another program wrote.

    Parameters
    ----------
    path : Path
        A file (:data:`SUFFIXES`), or a folder of thingsvision (``features.npy|pt`` and
        ``file_names.txt``), clip-retrieval (``img_emb/*.npy``, ``metadata/*.parquet``) or
        CLIP_benchmark (``features_train.pt``, ``targets_train.pt`` …).
    array : str
        Name of the array in a file of several, or of the column of a table.

    Returns
    -------
    ForeignArrays

    Raises
    ------
    DataError
        If there are no features of one length in it, or parts do not fit together.
    SettingsError
        If several arrays could be meant.
    """
    if path.is_dir():
        arrays = _open_folder(path, array)
    else:
        part = open_file_arrays(path, array)
        arrays = ForeignArrays([part], part.rows, path.suffix.lower().lstrip("."))
    if len({part.shape[1] for part in arrays.parts}) > 1:
        widths = ", ".join(f"{part.path.name}: {part.shape[1]:,}" for part in arrays.parts)
        raise DataError(f"{path}: the parts have different numbers of columns ({widths}).")
    if not arrays.n_rows:
        raise DataError(f"{path} has no rows.")
    return arrays


def _open_folder(folder: Path, array: str) -> ForeignArrays:
    names = {item.name for item in folder.iterdir()}
    if targets := sorted(name for name in names if re.fullmatch(r"targets_\w+\.pt", name)):
        return _clip_benchmark(folder, [name[8:-3] for name in targets], array)
    if "img_emb" in names:
        return _clip_retrieval(folder, array)
    if "file_names.txt" in names:
        files = [folder / name for name in names if re.match(r"features.*\.(npy|pt)$", name)]
        if not files:
            raise DataError(
                f"{folder} has file_names.txt, but no features.npy or features.pt. Other forms of"
                " thingsvision (mat, txt, hdf5) are not read: save the features as npy."
            )
        parts = [open_file_arrays(file, array) for file in sorted(files, key=_natural)]
        list_file = folder / "file_names.txt"
        with open_text(list_file, newline=None) as lines:
            paths = [line.rstrip("\n") for line in lines if line.strip()]
        rows = [(f"{list_file}, line {i}", {"path": name}) for i, name in enumerate(paths, 1)]
        _require_rows(list_file, len(rows), sum(part.shape[0] for part in parts))
        return ForeignArrays(parts, rows, "thingsvision")
    raise DataError(
        f"{folder} is no folder of thingsvision (features.npy|pt, file_names.txt), clip-retrieval "
        "(img_emb/, metadata/) or CLIP_benchmark (features_train.pt, targets_train.pt). Name a "
        f"file: {', '.join(SUFFIXES)}."
    )


def _clip_benchmark(folder: Path, splits: list[str], array: str) -> ForeignArrays:
    """Return the features of each split; without a test set, val is what it was tested on."""
    parts, rows = [], []
    for split in sorted(splits, key=("train", "val", "test").index):
        part = open_file_arrays(folder / f"features_{split}.pt", array)
        path = folder / f"targets_{split}.pt"
        targets = np.asarray(read_tensor(path, ""))
        _require_rows(path, targets.size, part.shape[0])
        role = "test" if split == "val" and "test" not in splits else split
        rows += [
            (f"{path}, row {i}", {"id": f"{split}/{i}", "label": str(target), "split": role})
            for i, target in enumerate(targets.reshape(-1).tolist())
        ]
        parts.append(part)
    return ForeignArrays(parts, rows, "CLIP_benchmark")


def _clip_retrieval(folder: Path, array: str) -> ForeignArrays:
    """Return the parts of ``img_emb`` with the rows of ``metadata`` of the same numbers."""
    files = sorted((folder / "img_emb").glob("*.npy"), key=_natural)
    tables = sorted((folder / "metadata").glob("*.parquet"), key=_natural)
    if not files:
        raise DataError(f"{folder / 'img_emb'} has no .npy files.")
    parts = [open_file_arrays(file, array) for file in files]
    if not tables:
        return ForeignArrays(parts, None, "clip-retrieval")
    if len(tables) != len(files):
        raise DataError(
            f"{folder} has {len(files)} files in img_emb and {len(tables)} in metadata; the parts"
            " do not belong together."
        )
    rows: list[Row] = []
    for part, table in zip(parts, tables, strict=True):
        own = table_rows(table, open_table(table), set())
        _require_rows(table, len(own), part.shape[0])
        rows += own
    return ForeignArrays(parts, rows, "clip-retrieval")


def _require_rows(path: Path, n: int, n_features: int) -> None:
    if n != n_features:
        raise DataError(f"{path} names {n:,} rows, and the features beside it have {n_features:,}.")


def _natural(path: Path) -> list[Any]:
    """Sort ``img_emb_10`` behind ``img_emb_9``."""
    return [int(text) if text.isdigit() else text for text in re.split(r"(\d+)", path.name)]
