"""Saved results: ``<cache>/results/<digest>/`` holds result.json, scores.npz and the head.

The digest covers everything that determines the result, so the same question finds its result.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from featcache.errors import DataError
from featcache.files import read_file, write_atomic
from featcache.parsing import parse_json
from featcache.probes.saved_head import SavedHead
from featcache.results import (
    AblationResult,
    EfficiencyResult,
    EvalResult,
    Scores,
    TransferResult,
)

FOLDER = "results"
RESULT_FILE, SCORES_FILE, HEAD_FILE = "result.json", "scores.npz", "head.safetensors"
FORMAT = 1
MAX_BYTES = 1 << 28
"""Largest result.json that is read; an ablation of 1,000 rows x 40 generators is a tenth of it."""

Result = EvalResult | AblationResult | TransferResult | EfficiencyResult
ResultT = TypeVar("ResultT", EvalResult, AblationResult, TransferResult, EfficiencyResult)
RESULT_TYPES: dict[str, type[Result]] = {
    "probe": EvalResult,
    "ablation": AblationResult,
    "transfer": TransferResult,
    "efficiency": EfficiencyResult,
}
"""Class of a result by the value of ``kind`` in result.json."""


def result_folder(cache: Path, digest: str) -> Path:
    """Return the folder of a result.

    Parameters
    ----------
    cache : Path
        Folder of the feature store.
    digest : str
        Digest of the question.

    Returns
    -------
    Path
        It need not exist.
    """
    return cache / FOLDER / digest


def save_result(
    cache: Path,
    result: Result,
    scores: Scores | None = None,
    head: SavedHead | None = None,
) -> Path:
    """Save a result under its digest.

    Parameters
    ----------
    cache : Path
        Folder of the feature store.
    result : EvalResult, AblationResult, TransferResult or EfficiencyResult
        The result.
    scores : Scores, optional
        Scores of the test samples.
    head : SavedHead, optional
        The head.

    Returns
    -------
    Path
        The folder.
    """
    folder = result_folder(cache, result.digest)
    if scores is not None:
        # Plain strings instead of objects: npz files with objects need pickle to be read.
        arrays: dict[str, Any] = {item.name: getattr(scores, item.name) for item in fields(Scores)}
        plain = {name: v.astype(str) if v.dtype == object else v for name, v in arrays.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **plain)
        write_atomic(folder / SCORES_FILE, buffer.getvalue())
    if head is not None:
        head.save(folder / HEAD_FILE)
    kind = next(name for name, type_ in RESULT_TYPES.items() if isinstance(result, type_))
    document = {"format": FORMAT, "kind": kind, "result": _to_json(asdict(result))}
    text = json.dumps(document, indent=1, allow_nan=False)
    # result.json is written last: where it exists, the folder is complete.
    write_atomic(folder / RESULT_FILE, text.encode("ascii"))
    return folder


def find_saved(cache: Path, digest: str, result_type: type[ResultT]) -> ResultT | None:
    """Return a result that was saved before.

    Parameters
    ----------
    cache : Path
        Folder of the feature store.
    digest : str
        Digest of the question.
    result_type : type
        Class of the result.

    Returns
    -------
    result_type or None
        None where there is none, or it is damaged or of another version.
    """
    try:
        result = load_result(result_folder(cache, digest))
    except DataError:  # it is computed anew
        return None
    return result if isinstance(result, result_type) else None


def load_result(path: Path) -> Result:
    """Read a saved result.

    Parameters
    ----------
    path : Path
        Folder of the result or its ``result.json``.

    Returns
    -------
    EvalResult, AblationResult, TransferResult or EfficiencyResult
        The result.

    Raises
    ------
    DataError
        If it is missing, damaged or of another version.
    """
    file = path / RESULT_FILE if path.is_dir() else path
    try:
        document = parse_json(read_file(file, MAX_BYTES), max_bytes=MAX_BYTES)
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']}, not {FORMAT}")
        return TypeAdapter(RESULT_TYPES[document["kind"]]).validate_python(document["result"])
    except (OSError, ValueError, TypeError, KeyError, ValidationError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{file} is no result of this featcache: {reason}. "
            "Make one with 'featcache probe' or 'featcache ablate'."
        ) from error


def load_scores(folder: Path) -> Scores:
    """Read the scores that were saved with a result.

    Parameters
    ----------
    folder : Path
        Folder of the result.

    Returns
    -------
    Scores
        Score of every test sample.

    Raises
    ------
    DataError
        If they are missing or damaged.
    """
    file = folder / SCORES_FILE
    try:
        with np.load(io.BytesIO(read_file(file)), allow_pickle=False) as arrays:
            values: dict[str, Any] = {item.name: arrays[item.name] for item in fields(Scores)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"The scores {file} cannot be read: {error}. Run the probe again."
        ) from error
    texts = {name: v.astype(object) for name, v in values.items() if v.dtype.kind == "U"}
    return Scores(**{**values, **texts})


def _to_json(value: Any) -> Any:
    """Return a value with None for floats that JSON cannot hold, and lists for tuples."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _to_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    return value
