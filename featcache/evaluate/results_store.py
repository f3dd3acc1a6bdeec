"""Results on disk: ``<cache>/results/<digest>/`` holds result.json, scores.npz and the head.

The digest is of all that determines the result, so that the same question finds its answer again.
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
from featcache.files import write_atomic
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
"""An ablation of a thousand rows over forty generators is a tenth of this."""

Result = EvalResult | AblationResult | TransferResult | EfficiencyResult
Kind = TypeVar("Kind", EvalResult, AblationResult, TransferResult, EfficiencyResult)
_KINDS: dict[str, type[Result]] = {
    "probe": EvalResult,
    "ablation": AblationResult,
    "transfer": TransferResult,
    "efficiency": EfficiencyResult,
}


def result_folder(cache: Path, digest: str) -> Path:
    """Return the folder of a result; it need not exist.

    Parameters
    ----------
    cache : Path
        Folder of the feature store.
    digest : str
        Digest of the question.

    Returns
    -------
    Path
        The folder of a result.
    """
    return cache / FOLDER / digest


def save_result(
    cache: Path,
    result: Result,
    scores: Scores | None = None,
    head: SavedHead | None = None,
) -> Path:
    """Keep a result under its digest; ``result.json`` is written last, so that it stands for all.

    Parameters
    ----------
    cache : Path
        Folder of the feature store.
    result : Result
        Result of a command.
    scores : Scores | None
        Labels, logits and probabilities of the test samples.
    head : SavedHead | None
        Fitted head.

    Returns
    -------
    Path
        The folder.
    """
    folder = result_folder(cache, result.digest)
    if scores is not None:
        # The scores as an npz file of plain strings and numbers.
        arrays: dict[str, Any] = {item.name: getattr(scores, item.name) for item in fields(Scores)}
        plain = {name: v.astype(str) if v.dtype == object else v for name, v in arrays.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **plain)
        write_atomic(folder / SCORES_FILE, buffer.getvalue())
    if head is not None:
        head.save(folder / HEAD_FILE)
    kind = next(name for name, type_ in _KINDS.items() if isinstance(result, type_))
    document = {"format": FORMAT, "kind": kind, "result": _plain(asdict(result))}
    text = json.dumps(document, indent=1, allow_nan=False)
    write_atomic(folder / RESULT_FILE, text.encode("ascii"))
    return folder


def find_saved(root: Path, digest: str, kind: type[Kind]) -> Kind | None:
    """Return the saved answer to a question; None where there is none, or none of this version.

    Parameters
    ----------
    root : Path
        Root folder.
    digest : str
        Digest of the question.
    kind : type[Kind]
        Kind of the requested item.

    Returns
    -------
    Kind | None
        The saved answer to a question.
    """
    try:
        result = load_result(result_folder(root, digest))
    except DataError:  # damaged or of another version too: made anew
        return None
    return result if isinstance(result, kind) else None


def load_result(path: Path) -> Result:
    """Read a saved result.

    Parameters
    ----------
    path : Path
        The folder of the result or its ``result.json``.

    Returns
    -------
    Result

    Raises
    ------
    DataError
        If it is no result of this version.
    """
    file = path / RESULT_FILE if path.is_dir() else path
    try:
        document = parse_json(file.read_bytes(), max_bytes=MAX_BYTES)
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']}, not {FORMAT}")
        return TypeAdapter(_KINDS[document["kind"]]).validate_python(document["result"])
    except (OSError, ValueError, TypeError, KeyError, ValidationError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(
            f"{file} is no result of this featcache: {why}. "
            "Make one with 'featcache probe' or 'featcache ablate'."
        ) from error


def load_scores(folder: Path) -> Scores:
    """Read the scores that lie beside a result.

    Parameters
    ----------
    folder : Path
        Folder that is read or written.

    Returns
    -------
    Scores

    Raises
    ------
    DataError
        If they are missing or damaged.
    """
    file = folder / SCORES_FILE
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            values: dict[str, Any] = {item.name: arrays[item.name] for item in fields(Scores)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"The scores {file} cannot be read: {error}. Run the probe again."
        ) from error
    texts = {name: v.astype(object) for name, v in values.items() if v.dtype.kind == "U"}
    return Scores(**{**values, **texts})


def _plain(value: Any) -> Any:
    """Return a value with None for every float that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
