"""UnivFD's ``fc_weights.pth`` read into a head of ours, and a head written in that form.

The file is torch's archive; it is opened with ``weights_only=True``, so that nothing in it is
executed.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.errors import DataError
from featcache.files import read_file, write_atomic
from featcache.probes import SavedHead
from featcache.probes.saved_head import MAX_BYTES


def import_fc_weights(path: Path) -> SavedHead:
    """Read one linear layer from a checkpoint, in the forms in which heads are published.

    State dicts with ``weight`` and ``bias`` under any prefix (``fc.``, ``0.``) are read, also in
    ``{"model": …}`` or ``{"state_dict": …}`` as training code saves them; layers with two outputs,
    of which the second is fake; and scikit-learn coefficients in an ``.npz`` file.

    Parameters
    ----------
    path : Path
        A file of torch or numpy.

    Returns
    -------
    SavedHead
        Without feature keys: the file does not say what it was trained on. UnivFD's own is for the
        768 features of CLIP ViT-L/14 behind its projection, preset ``univfd``.

    Raises
    ------
    DataError
        If the file is missing or holds no single linear layer; the tensors in it are listed.
    """
    try:
        weight, bias = _one_output(*_linear_layer(_read_arrays(path)))
        if not (np.isfinite(weight).all() and np.isfinite(bias)):
            raise ValueError("its weights are not finite")
    except Exception as error:  # torch raises many kinds for a file that is none
        why = str(getattr(error, "strerror", None) or error).splitlines()[0][:300]
        raise DataError(
            f"{path} holds no linear head (weight (1, D) and bias (1,), or two outputs): {why}."
        ) from error
    meta = {"head": "univfd", "source": path.name, "features": []}
    return SavedHead(weight=weight, bias=bias, widths=[len(weight)], meta=meta)


def _read_arrays(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the arrays of a file by name; wrappings such as ``model`` are opened."""
    if path.suffix == ".npz":
        with np.load(io.BytesIO(read_file(path, MAX_BYTES)), allow_pickle=False) as file:
            return {name: np.asarray(file[name], dtype=np.float64) for name in file.files}
    import torch

    state = torch.load(
        io.BytesIO(read_file(path, MAX_BYTES)), map_location="cpu", weights_only=True
    )
    for wrapping in ("model", "state_dict", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(wrapping), dict):
            state = state[wrapping]
    if not isinstance(state, dict):
        raise TypeError(f"it holds a {type(state).__name__}, not a dict of tensors")
    return {
        str(name): tensor.detach().double().numpy()
        for name, tensor in state.items()
        if isinstance(tensor, torch.Tensor)
    }


def _linear_layer(
    arrays: dict[str, NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight and bias of the only linear layer with one or two outputs."""
    names = {"coef_": "intercept_"} | {
        name: f"{name.removesuffix('weight')}bias" for name in arrays if name.endswith("weight")
    }
    layers = [
        (arrays[weight], arrays[bias].reshape(-1))
        for weight, bias in names.items()
        if weight in arrays
        and bias in arrays
        and arrays[weight].ndim == 2
        and arrays[weight].shape[0] in (1, 2)
        and arrays[bias].size == arrays[weight].shape[0]
    ]
    if len(layers) != 1:
        listed = ", ".join(f"{name} {array.shape}" for name, array in list(arrays.items())[:8])
        count = str(len(layers) or "none")
        raise ValueError(
            f"{count} of its tensors are such a layer; it has {listed or 'no tensors'}"
        )
    return layers[0]


def _one_output(
    weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Return the logit of fake against real as one output."""
    if weight.shape[0] == 2:
        return weight[1] - weight[0], float(bias[1] - bias[0])
    return weight[0], float(bias[0])


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
