"""Saved results: ``<cache>/results/<digest>/`` holds result.json, scores.npz and the head.

The digest covers everything that determines the result, so the same question finds its result.
``<cache>/results/names/<name>`` holds the digest of a result that the user named.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from featcache.backbones.names import canonical_name
from featcache.errors import DataError, SettingsError
from featcache.files import read_file, read_text, write_atomic
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
NAMES = "names"
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,79}")
"""What a result may be called: a file name on every system."""

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
    document = {"format": FORMAT, "kind": _kind(result), "result": _to_json(asdict(result))}
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


@dataclass(frozen=True, kw_only=True)
class SavedResult:
    """A saved result in a list.

    Parameters
    ----------
    digest : str
        Digest of the question, the name of the folder.
    names : list of str
        What the user called it.
    kind : {"probe", "ablation", "transfer", "efficiency"}
    features, train : list of str
        Features, and generators in the training set; both may be empty.
    mAP : float
        In [0, 1]; NaN where the kind has none.
    modified : float
        Time of the last change, seconds since 1970.
    """

    digest: str
    names: list[str]
    kind: str
    features: list[str]
    train: list[str]
    mAP: float
    modified: float


def name_result(cache: Path, name: str, digest: str) -> None:
    """Give a saved result a name; a result of before that has it loses it.

    Parameters
    ----------
    cache : Path
        Folder of the feature store.
    name : str
        Letters, digits and ``._+@-``.
    digest : str
        Digest of the result.

    Raises
    ------
    SettingsError
        If the name has other characters.
    """
    check_result_name(name)
    write_atomic(cache / FOLDER / NAMES / name, digest.encode("ascii"))


def check_result_name(name: str) -> None:
    """Raise an error if a result cannot have this name.

    Parameters
    ----------
    name : str

    Raises
    ------
    SettingsError
        If it has other characters than letters, digits and ``._+@-``, or more than 80.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise SettingsError(
            f"A result cannot be called {name!r}: a name has letters, digits and ._+@-, begins "
            "with a letter or digit, and has at most 80 characters."
        )


def result_names(cache: Path) -> dict[str, str]:
    """Return the digest of every named result.

    Parameters
    ----------
    cache : Path
        Folder of the feature store.

    Returns
    -------
    dict of str to str
        Sorted by name; names whose result is gone are left out.
    """
    folder = cache / FOLDER / NAMES
    files = sorted(path for path in folder.glob("*") if NAME_PATTERN.fullmatch(path.name))
    names = {path.name: read_text(path, 200).strip() for path in files}
    return {
        name: digest
        for name, digest in names.items()
        if NAME_PATTERN.fullmatch(digest) and (result_folder(cache, digest) / RESULT_FILE).is_file()
    }


def list_results(cache: Path) -> list[SavedResult]:
    """Return what is known of every saved result, the newest first.

    Parameters
    ----------
    cache : Path
        Folder of the feature store.

    Returns
    -------
    list of SavedResult
        Results that cannot be read are left out.
    """
    names = result_names(cache)
    saved = []
    for file in (cache / FOLDER).glob(f"*/{RESULT_FILE}"):
        try:
            result = load_result(file.parent)
        except DataError:
            continue
        train = getattr(result, "train", None)
        saved.append(
            SavedResult(
                digest=file.parent.name,
                names=[name for name, digest in names.items() if digest == file.parent.name],
                kind=_kind(result),
                features=list(getattr(result, "features", [])),
                train=list(getattr(train, "generators", [])),
                mAP=float(getattr(result, "mAP", math.nan)),
                modified=file.stat().st_mtime,
            )
        )
    return sorted(saved, key=lambda one: -one.modified)


def find_result(cache: Path, text: str, *, probes: bool = False) -> Path:
    """Return the folder of a saved result.

    Parameters
    ----------
    cache : Path
        Folder of the feature store.
    text : str
        A folder or its ``result.json``, a name, the beginning of a digest, or features
        (``"clip,synclr"``): then the newest probe on them.
    probes : bool
        Only probes are meant, as in a comparison.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If there is none, or several digests begin so.
    """
    path = Path(text)
    path = path.parent if path.name == RESULT_FILE else path
    if text and (path / RESULT_FILE).is_file():
        return path
    names = result_names(cache)
    if text in names:
        return result_folder(cache, names[text])
    matches = [p for p in (cache / FOLDER).glob("*") if text and p.name.startswith(text)]
    matches = [p for p in matches if (p / RESULT_FILE).is_file()]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise DataError(f"{len(matches)} results in {cache / FOLDER} begin with {text!r}.")
    features = [_canonical(part.strip()) for part in text.split(",") if part.strip()]
    for one in list_results(cache):
        if one.kind == "probe" and sorted(map(_canonical, one.features)) == sorted(features):
            return result_folder(cache, one.digest)
    known = "".join(f" {name}" for name in names) or " none"
    advice = f" Make one with 'featcache probe --features {text}'." if probes else ""
    raise DataError(
        f"There is no result {text!r} in {cache / FOLDER}: no name, no digest, and no probe on "
        f"such features. Names:{known}. 'featcache results ls' lists all.{advice}"
    )


def remove_result(cache: Path, text: str) -> str:
    """Remove a saved result and its names; return its digest.

    Parameters
    ----------
    cache : Path
        Folder of the feature store.
    text : str
        As for :func:`find_result`, but of this store.

    Returns
    -------
    str

    Raises
    ------
    DataError
        If there is none, or it lies elsewhere.
    """
    folder = find_result(cache, text)
    if folder.resolve().parent != (cache / FOLDER).resolve():
        raise DataError(f"{folder} is no result of the store {cache}, so it is left alone.")
    for name, digest in result_names(cache).items():
        if digest == folder.name:
            (cache / FOLDER / NAMES / name).unlink(missing_ok=True)
    # result.json goes first: without it nothing finds the rest.
    for file in (RESULT_FILE, SCORES_FILE, HEAD_FILE):
        (folder / file).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
    return folder.name


def _canonical(feature: str) -> str:
    try:
        return canonical_name(feature)
    except SettingsError:  # it may be anything that was typed for a name
        return feature


def _kind(result: Result) -> str:
    return next(name for name, type_ in RESULT_TYPES.items() if isinstance(result, type_))


def _to_json(value: Any) -> Any:
    """Return a value with None for floats that JSON cannot hold, and lists for tuples."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _to_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    return value
