"""UnivFD's ``fc_weights.pth`` read into a head of ours, and a head written in that form.

The file is torch's archive; it is opened with ``weights_only=True``, so that nothing in it is
executed.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from featcache.errors import DataError
from featcache.files import write_atomic
from featcache.probes import SavedHead


def import_fc_weights(path: Path) -> SavedHead:
    """Read a state dict with ``weight`` (1, n_features) and ``bias`` (1,).

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    SavedHead
        Without feature keys: the file does not say what it was trained on. UnivFD's own is for the
        768 features of CLIP ViT-L/14 behind its projection, preset ``univfd``.

    Raises
    ------
    DataError
        If the file is missing or something else.
    """
    import torch

    try:
        state = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
        weight = state["weight"].detach().double().numpy()
        bias = state["bias"].detach().double().numpy()
        if weight.ndim != 2 or weight.shape[0] != 1 or bias.shape != (1,):
            raise ValueError(f"its weight has shape {weight.shape} and its bias {bias.shape}")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError("its weights are not finite")
    except Exception as error:  # torch raises many kinds for a file that is none
        why = str(getattr(error, "strerror", None) or error).splitlines()[0][:200]
        raise DataError(
            f"{path} is no linear head as UnivFD saves it (weight (1, D), bias (1,)): {why}."
        ) from error
    meta = {"head": "univfd", "source": path.name, "features": []}
    return SavedHead(weight=weight[0], bias=float(bias[0]), widths=[weight.shape[1]], meta=meta)


def export_fc_weights(head: SavedHead, path: Path) -> Path:
    """Write a head as UnivFD's validate.py loads it, in float32.

    Parameters
    ----------
    head : SavedHead
        Fitted head.
    path : Path
        File or folder.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If the head divides features by their norms, which a linear layer cannot.
    """
    import torch

    if head.l2:
        raise DataError("A head that divides features by their norms is no linear layer.")
    weight = torch.from_numpy(head.weight.astype(np.float32)[None])
    bias = torch.tensor([head.bias], dtype=torch.float32)
    buffer = io.BytesIO()
    torch.save({"weight": weight, "bias": bias}, buffer)
    write_atomic(path, buffer.getvalue())
    return path.resolve()
