"""A backbone with its head as one ONNX file, checked against the original."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.backbones import build_network
from featcache.cache import FeatureKey
from featcache.detect.features import make_request
from featcache.errors import DataError, MissingExtraError
from featcache.extract.plan import Request
from featcache.files import write_atomic
from featcache.probes import SavedHead

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = 1e-4
"""The logits of the file may differ by so much from the original's, else it is not written."""


def export_onnx(
    head: SavedHead, path: Path, *, weights: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Write backbone and head as ONNX.

    Parameters
    ----------
    head : SavedHead
        All its features must see the same pixels (one preset, one view).
    path : Path
        The file. Input ``pixels``: (N, 3, size, size), float32 in [0, 1], resized and cropped as
        the head's preset says; outputs ``logit`` and ``probability`` (uncalibrated), each (N,).
    weights : mapping of str to Path, optional

    Returns
    -------
    dict
        ``size`` of the input and the largest ``difference`` of logits from the original.

    Raises
    ------
    DataError
        If the features see different pixels, or the exported network gives other numbers.
    MissingExtraError
        If onnx or onnxruntime is not installed.
    """
    from importlib.util import find_spec

    import torch

    for package in ("onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise MissingExtraError(
                f"The export needs {package}, which is not installed. Run: pip install"
                " 'featcache[onnx]'"
            )
    keys = [FeatureKey(fields) for fields in head.feature_keys]
    requests = [make_request(key, weights or {}) for key in keys]
    streams = {request.stream for request in requests}
    if len(streams) > 1:
        raise DataError(
            "The head joins features that see different pixels (preset or view), which one input "
            "cannot feed. Train it on features of one preset and view."
        )
    size = requests[0].preprocessing.size
    network = _detector_module(requests, head).eval()
    pixels = torch.rand((2, 3, size, size), generator=torch.Generator().manual_seed(0))
    data = _to_onnx(network, pixels)
    difference = _compare(network, data, pixels)
    if not difference <= TOLERANCE:
        raise DataError(
            f"The exported network gives logits that differ by {difference:g}, more than"
            f" {TOLERANCE:g}; nothing was written."
        )
    write_atomic(path, data)
    return {"size": size, "difference": difference}


def _detector_module(requests: list[Request], head: SavedHead) -> nn.Module:
    """Return a module from pixels in [0, 1] to (logit, probability)."""
    import torch
    from torch import nn

    class FromPixels(nn.Module):
        """Normalise for each backbone, take features, join them, apply the head."""

        def __init__(self) -> None:
            super().__init__()
            self.networks = nn.ModuleList(build_network([r.spec]) for r in requests)
            for name in ("mean", "std"):
                rows = [getattr(request.preprocessing, name) for request in requests]
                self.register_buffer(name, torch.tensor(rows).reshape(-1, 1, 3, 1, 1))
            self.register_buffer("weight", torch.from_numpy(head.weight).float())
            self.bias = head.bias

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            """Return logit and probability of each image."""
            parts = [
                network((pixels - self.mean[i]) / self.std[i])[0]  # type: ignore[index]
                for i, network in enumerate(self.networks)
            ]
            if head.l2:
                parts = [nn.functional.normalize(part, dim=1) for part in parts]
            logit = torch.cat(parts, dim=1) @ self.weight + self.bias  # type: ignore[operator]
            return logit, torch.sigmoid(logit)

    return FromPixels()


def _to_onnx(network: nn.Module, pixels: Any) -> bytes:
    """Return the traced network; the tracer is ten times as fast as torch's newer exporter.

    Its warnings (it is deprecated; it takes sizes for constants) are not passed on: the size is
    fixed here, and the outcome is compared with the original.
    """
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (pixels,),
            buffer,  # type: ignore[arg-type]
            input_names=["pixels"],
            output_names=["logit", "probability"],
            dynamic_axes={name: {0: "n"} for name in ("pixels", "logit", "probability")},
            opset_version=17,
            dynamo=False,
        )
    return buffer.getvalue()


def _compare(network: nn.Module, data: bytes, pixels: Any) -> float:
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (logit,) = session.run(["logit"], {"pixels": pixels.numpy()})
    with torch.inference_mode():
        expected = network(pixels)[0].numpy()
    return float(np.abs(logit - expected).max())
