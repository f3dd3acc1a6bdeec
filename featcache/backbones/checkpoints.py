"""Weights into a network, all of them or none: whatever does not fit is listed.

From a weights file to tensors by name, whatever its format; nothing in the file is executed.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featcache.backbones.hub import INDEX, index_parts
from featcache.backbones.torchscript import is_torchscript, read_torchscript
from featcache.errors import WeightsError
from featcache.files import open_file
from featcache.progress import log

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
        A safetensors file or the index of one in several parts, a state dict of ``torch.save``
        (also under ``model`` or ``state_dict``), or a TorchScript archive.

    Returns
    -------
    dict of str to Tensor
        On the CPU, in the file's dtypes.

    Raises
    ------
    WeightsError
        If the file cannot be read, is damaged, holds code, or holds no weights.
    """
    if path.name.endswith(INDEX):
        tensors: dict[str, Tensor] = {}
        for part in index_parts(path):
            tensors |= read_tensors(part)
        return tensors
    try:
        with open_file(path) as file:
            head = file.read(16)
        # Unwrap a checkpoint down to its mapping of tensors.
        value = _read(path, head)
        while isinstance(value, Mapping):
            inner = next(
                (value[name] for name in _WRAPPERS if isinstance(value.get(name), Mapping)), None
            )
            if inner is None:
                break
            value = inner
        tensors = {}
        if isinstance(value, Mapping):
            tensors = {str(name): item for name, item in value.items() if isinstance(item, Tensor)}
            tensors = tensors or _flatten(value)
        if not tensors:
            raise WeightsError(
                f"{path} holds no weights: no tensors by name, at the top or below 'model',"
                " 'state_dict', 'teacher' and the like. Give the file that the authors publish."
            )
        return tensors
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise _holds_code(path, error) from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _flatten(value: Mapping[Any, Any], prefix: str = "") -> dict[str, Tensor]:
    """Return the tensors of nested mappings (``teacher``, ``student``), by dotted names."""
    tensors: dict[str, Tensor] = {}
    for name, item in value.items():
        if isinstance(item, Tensor):
            tensors[f"{prefix}{name}"] = item
        elif isinstance(item, Mapping):
            tensors |= _flatten(item, f"{prefix}{name}.")
    return tensors


def _read(path: Path, head: bytes) -> Any:
    if head[8:9] == b"{":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors: dict[str, Tensor] = load_file(path)
        except SafetensorError as error:
            raise _damaged(path, error) from error
        return tensors
    if head[:4] == b"PK\x03\x04":
        return read_torchscript(path) if is_torchscript(path) else _read_torch(path)
    if head[:1] == b"\x80":
        return _read_torch(path)
    raise WeightsError(
        f"{path} is no weights file: it begins neither like safetensors nor like a file of"
        " torch.save. Check what was downloaded (an HTML page instead of the file?) and fetch it"
        " again."
    )


def _read_torch(path: Path) -> Any:
    with warnings.catch_warnings(), torch.serialization.safe_globals(_INERT):
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _holds_code(path: Path, error: BaseException) -> WeightsError:
    return WeightsError(
        f"{path} holds Python objects other than tensors and was not loaded; none of its code has"
        f" run ({_message(error)}). Do not load it elsewhere unless you trust its origin; get the"
        " weights as safetensors or as a plain state dict."
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
        f"{path} ({size:,} bytes) is truncated or damaged: {_message(error)}. Delete it and get it"
        " again."
    )


def _message(error: BaseException) -> str:
    text = str(error).strip().replace("\n", " ")
    cut = text.find("Please file an issue")
    return text[: min(160, cut if cut > 0 else 160)].strip() or type(error).__name__


SHOWN = 6
_COUNTER = "num_batches_tracked"
"""Counts training steps; no network in evaluation mode reads it, so it may be missing."""


def load_state(model: nn.Module, tensors: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Load ``tensors`` into ``model``.

    Parameters
    ----------
    model : nn.Module
        Its parameters and buffers must all be in ``tensors``, and nothing else.
    tensors : mapping of str to Tensor
        Half precision is widened.
    path : Path
        The file that they come from, for the message.
    name : str
        The network, for the message.

    Raises
    ------
    WeightsError
        Listing what is missing, left over, of another shape or not finite.
    """
    expected = {key: value for key, value in model.state_dict().items() if _COUNTER not in key}
    given = {key: value for key, value in tensors.items() if _COUNTER not in key}
    problems = list(_problems(expected, given)) or list(_bad_numbers(given))
    if problems:
        raise WeightsError(
            f"{path} does not fit {name}, and nothing was loaded."
            f" {' '.join(problems)}{_sizes(expected, given)} Give the file published for {name}"
            f" ('featcache backbones show {name}' says which), or name the backbone that this file"
            " is for."
        )
    model.load_state_dict(given, strict=False)  # strict but for the counters, as just compared


def make_empty(make: Callable[[], nn.Module]) -> nn.Module:
    """Return what ``make`` makes with memory for its weights but no values, which takes no time.

    Only :func:`load_state` may follow, which fills all of it. A network that computes some tensors
    when it is made, and does not keep them in its state, is made as usual.

    Parameters
    ----------
    make : Callable[[], nn.Module]
        Function that builds the object in the worker.

    Returns
    -------
    nn.Module
        What ``make`` makes with memory for its weights but no values, which takes no time.
    """
    with torch.device("meta"):
        model = make()
    if {name for name, _ in model.named_buffers()} - set(model.state_dict()):
        return make()
    model.to_empty(device="cpu")
    for name, buffer in model.named_buffers():
        if _COUNTER in name:
            buffer.zero_()
    return model


def select_prefix(tensors: Mapping[str, Tensor], prefixes: Iterable[str]) -> dict[str, Tensor]:
    """Return the tensors under the first prefix that occurs, without it; all of them where none
    does.

    Parameters
    ----------
    tensors : mapping of str to Tensor
    prefixes : iterable of str
        The longest first: ``("module.visual.", "visual.")``.

    Returns
    -------
    dict[str, Tensor]
        The tensors under the first prefix that occurs, without it.
    """
    for prefix in prefixes:
        if any(key.startswith(prefix) for key in tensors):
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return dict(tensors)


def load_translated(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    translate: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    path: Path,
    name: str,
) -> None:
    """Load a checkpoint whose network may lie below a prefix, as training code leaves it.

    Lightning, DistributedDataParallel, ``torch.compile``, self-distillation and exponential means
    put the network below ``model.``, ``module.``, ``_orig_mod.``, ``teacher.backbone.`` and the
    like. Every prefix that many names share is tried; the network has to fit below it to the last
    tensor. What was taken is logged.

    Parameters
    ----------
    model : nn.Module
        Its parameters and buffers must all be in the translated tensors, and nothing else.
    tensors : mapping of str to Tensor
        Of the file.
    translate : callable
        From a file's tensors to those of the model, by the model's names.
    path : Path
        The file, for messages.
    name : str
        The network, for messages.

    Raises
    ------
    WeightsError
        If no prefix fits, or several networks of the file fit.
    """
    tensors = {_WRAPPED.sub("", key): value for key, value in tensors.items()}
    expected = {key: value for key, value in model.state_dict().items() if _COUNTER not in key}
    states = {}
    for prefix in ("", *_shared_prefixes(tensors, len(expected))):
        inner = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        try:
            states[prefix] = translate(inner)
        except _DAMAGE:  # a translation stumbles over names that are not its network's
            states[prefix] = inner
        if not prefix and not _n_problems(expected, states[prefix]):
            break  # as published
    fitting = [prefix for prefix, state in states.items() if not _n_problems(expected, state)]
    if not fitting:
        chosen = min(states, key=lambda prefix: _n_problems(expected, states[prefix]))
    elif fitting == [""]:
        chosen = ""
    else:
        chosen = _choose_prefix(fitting, path, name)
    load_state(model, states[chosen], path, name)
    if chosen:
        left = [key for key in tensors if not key.startswith(chosen)]
        beside = (
            f"; {len(left)} tensors beside it are not used ({_first_few(left)})" if left else ""
        )
        log.warning(f"{path.name}: the network of {name} lies below {chosen!r}{beside}.")


_WRAPPED = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module)\.")
"""What ``torch.compile`` and FSDP put into names, at any depth."""


def _shared_prefixes(tensors: Mapping[str, Tensor], n_wanted: int) -> list[str]:
    """Return the dotted prefixes that at least half as many names share as are wanted."""
    counts: Counter[str] = Counter()
    for key in tensors:
        parts = key.split(".")
        counts.update(".".join(parts[:n]) + "." for n in range(1, min(len(parts), 6)))
    return [prefix for prefix, n in counts.items() if 2 * n >= n_wanted]


def _n_problems(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> int:
    names = {key for key in given if _COUNTER not in key}
    shapes = sum(expected[k].shape != given[k].shape for k in names & expected.keys())
    return len(names ^ expected.keys()) + shapes


def _choose_prefix(fitting: list[str], path: Path, name: str) -> str:
    """Return the only prefix that fits, or the teacher's or the mean's where there are two."""
    # What lies below a prefix that fits is the same network.
    fitting = [p for p in fitting if not any(p != q and p.startswith(q) for q in fitting)]
    averaged = [prefix for prefix in fitting if re.search(r"teacher|ema", prefix)]
    if len(fitting) == 1:
        return fitting[0]
    if len(averaged) == 1:
        return averaged[0]
    raise WeightsError(
        f"{path} holds several networks that fit {name}: {', '.join(fitting)}. Save the one that"
        " you want as a file of its own, as safetensors or by torch.save of its state dict."
    )


def _problems(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Iterable[str]:
    if missing := [key for key in expected if key not in given]:
        yield f"Missing: {_first_few(missing)}."
    if extra := [key for key in given if key not in expected]:
        yield f"Left over: {_first_few(extra)}."
    both = [key for key in expected if key in given]
    shapes = [key for key in both if expected[key].shape != given[key].shape]
    if shapes:
        items = [f"{k} {_shape(given[k])} instead of {_shape(expected[k])}" for k in shapes]
        yield f"Of another shape: {_first_few(items)}."
    if kinds := [
        k for k in both if expected[k].is_floating_point() != given[k].is_floating_point()
    ]:
        yield f"Of another kind of number: {_first_few(kinds)}."


def _bad_numbers(given: Mapping[str, Tensor]) -> Iterable[str]:
    if bad := [key for key, value in given.items() if not bool(torch.isfinite(value).all())]:
        yield f"With NaN or Inf: {_first_few(bad)}."


def _first_few(items: list[str]) -> str:
    rest = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + rest


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _sizes(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Say the sizes of the two networks where they are transformers of different sizes."""
    expected_size, given_size = _size(expected), _size(given)
    if expected_size == given_size or not given_size:
        return ""
    return f" The file holds {given_size}; the network has {expected_size}."


def _size(tensors: Mapping[str, Tensor]) -> str:
    blocks = {match[1] for key in tensors if (match := re.search(r"blocks\.(\d+)\.", key))}
    norms = [
        value
        for key, value in tensors.items()
        if re.search(r"blocks\.0\.(norm1|ln_1)\.weight", key)
    ]
    return f"{len(blocks)} blocks of width {norms[0].numel()}" if norms else ""
