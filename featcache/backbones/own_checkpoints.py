"""Weights files of our own: every tensor of a backbone as safetensors, with where it comes from.

``featcache finetune`` writes them. Any backbone that can be made without weights reads them,
under the names that its module gives its tensors; nothing in them is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.errors import WeightsError
from featcache.files import canonical_json, open_file, write_atomic

if TYPE_CHECKING:
    from torch import nn

    from featcache.backbones.base import BackboneSpec

FORMAT = "featcache-weights-1"
KEY = "featcache"
"""Where in the file's metadata the text stands."""

MAX_HEADER_BYTES = 100_000_000
"""What the safetensors format allows."""


def write_checkpoint(path: Path, network: str, model: nn.Module, about: Mapping[str, Any]) -> Path:
    """Write every tensor of a network, whole or not at all.

    Parameters
    ----------
    path : Path
    network : str
        Canonical name of the backbone, without tap and seed.
    model : nn.Module
        What the backbone's ``build`` gives.
    about : mapping
        Where the weights come from; JSON values.

    Returns
    -------
    Path
        The file, absolute.
    """
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in _state(model)}
    metadata = {**about, "format": FORMAT, "network": network}
    # One text only: safetensors writes several in an order that changes, and the bytes are the
    # identity.
    write_atomic(path, save(state, {KEY: canonical_json(metadata)}))
    return path.resolve()


def read_metadata(path: Path) -> dict[str, Any] | None:
    """Return what a weights file of ours says about itself; None where it is another file.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    dict or None
        ``format``, ``network``, and what :func:`write_checkpoint` was told.
    """
    try:
        with open_file(path) as file:
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= min(MAX_HEADER_BYTES, path.stat().st_size):
                return None
            about = json.loads(json.loads(file.read(size))["__metadata__"][KEY])
        return about if about["format"] == FORMAT and about["network"] else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def load_checkpoint(path: Path, spec: BackboneSpec) -> nn.Module:
    """Return the network of ``spec`` with the weights in a file that :func:`write_checkpoint`
    wrote.

    Parameters
    ----------
    path : Path
        File or folder.
    spec : BackboneSpec
        Specification of the backbone.

    Returns
    -------
    nn.Module
        The network of ``spec`` with the weights in a file that :func:`write_checkpoint` wrote.

    Raises
    ------
    WeightsError
        If they are those of another network, damaged, or do not fit to the last tensor.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = (read_metadata(path) or {}).get("network")
    if network != spec.network:
        raise WeightsError(
            f"{path} holds weights of {network}, not of {spec.network}. "
            f"Give it as --weights {network}={path}"
        )
    if spec.create is None:
        raise WeightsError(f"{spec.network} cannot be made without its own weights file.")
    model = spec.create()
    try:
        model.load_state_dict(load_file(path), strict=True)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{path} does not fit {spec.network}: {reason}. Make it again with 'featcache"
            " finetune'."
        ) from error
    return model.eval()


def _state(model: nn.Module) -> list[tuple[str, Any]]:
    """Return the tensors; those that share memory are copied, for the format has no such thing."""
    seen: set[int] = set()
    out = []
    for name, tensor in model.state_dict().items():
        out.append((name, tensor.clone() if tensor.data_ptr() in seen else tensor))
        seen.add(tensor.data_ptr())
    return out
