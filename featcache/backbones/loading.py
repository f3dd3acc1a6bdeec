"""From a weights file to tensors by name, whatever its format; nothing in the file is executed."""

from __future__ import annotations

import argparse
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featcache.backbones.torchscript import is_torchscript, read_torchscript
from featcache.errors import WeightsError

_WRAPPERS = ("model", "state_dict")
"""Keys under which training scripts put the weights, beside optimiser and counters."""

# A training script's settings and counters: plain values, which torch does not allow by default.
_INERT: list[Any] = [argparse.Namespace]

_DAMAGE = (
    RuntimeError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OSError,
    zipfile.BadZipFile,
)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name.

    Parameters
    ----------
    path : Path
        A safetensors file, a state dict of ``torch.save`` (also under ``model`` or ``state_dict``), or a
        TorchScript archive.

    Returns
    -------
    dict of str to Tensor
        On the CPU, in the file's dtypes.

    Raises
    ------
    WeightsError
        If the file cannot be read, is damaged, holds code, or holds no weights.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
        return _tensors_in(_read(path, head), path)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise _holds_code(path, error) from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _read(path: Path, head: bytes) -> Any:
    if head[8:9] == b"{":
        return _read_safetensors(path)
    if head[:4] == b"PK\x03\x04":
        return read_torchscript(path) if is_torchscript(path) else _read_torch(path)
    if head[:1] == b"\x80":
        return _read_torch(path)
    raise WeightsError(
        f"{path} is no weights file: it begins neither like safetensors nor like a file of torch.save. "
        "Check what was downloaded (an HTML page instead of the file?) and fetch it again."
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise _damaged(path, error) from error
    return tensors


def _read_torch(path: Path) -> Any:
    with warnings.catch_warnings(), torch.serialization.safe_globals(_INERT):
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _tensors_in(value: Any, path: Path) -> dict[str, Tensor]:
    """Unwrap a checkpoint down to its mapping of tensors."""
    while isinstance(value, Mapping):
        inner = next(
            (value[name] for name in _WRAPPERS if isinstance(value.get(name), Mapping)), None
        )
        if inner is None:
            break
        value = inner
    tensors = _only_tensors(value) if isinstance(value, Mapping) else {}
    if not tensors:
        raise WeightsError(
            f"{path} holds no weights: neither tensors by name, nor such under 'model' or 'state_dict'. "
            "Give the file that the authors publish."
        )
    return tensors


def _only_tensors(value: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(name): item for name, item in value.items() if isinstance(item, Tensor)}


def _holds_code(path: Path, error: BaseException) -> WeightsError:
    return WeightsError(
        f"{path} holds Python objects other than tensors and was not loaded; none of its code has run "
        f"({_words(error)}). Do not load it elsewhere unless you trust its origin; get the weights as "
        "safetensors or as a plain state dict."
    )


def _damaged(path: Path, error: BaseException) -> WeightsError:
    if isinstance(error, FileNotFoundError):
        return WeightsError(f"{path} does not exist. Check the path given for the weights.")
    if isinstance(error, (PermissionError, IsADirectoryError)):
        return WeightsError(
            f"{path} cannot be read: {error.strerror}. Name a readable weights file."
        )
    size = path.stat().st_size if path.exists() else 0
    return WeightsError(
        f"{path} ({size:,} bytes) is truncated or damaged: {_words(error)}. Delete it and get it again."
    )


def _words(error: BaseException) -> str:
    text = str(error).strip().replace("\n", " ")
    cut = text.find("Please file an issue")
    return text[: min(160, cut if cut > 0 else 160)].strip() or type(error).__name__
