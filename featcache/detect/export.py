"""A backbone with its head as one ONNX file, checked against the original."""

from __future__ import annotations

import contextlib
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
from featcache.files import canonical_json, write_atomic
from featcache.probes import SavedHead

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = 1e-4
"""The logits of the file may differ from the original's by so much of their own size (the largest
absolute logit of the test batch, at least 1), else it is not written: float32 keeps 7 digits.
"""

BATCHES = (1, 2, 5)
"""Sizes of the batches that the file is tried with; it is traced with the second."""


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
        the head's preset says (the metadata entry ``featcache`` describes it); outputs ``logit``
        and ``probability`` (uncalibrated), each (N,).
    weights : mapping of str to Path, optional

    Returns
    -------
    dict
        ``size`` of the input and the largest ``difference`` of logits from the original.

    Raises
    ------
    DataError
        If the features see different pixels, the network has what ONNX has not, or the exported
        one gives other numbers.
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
    generator = torch.Generator().manual_seed(0)
    batches = [torch.rand((n, 3, size, size), generator=generator) for n in BATCHES]
    data = _add_metadata(_to_onnx(network, batches[1]), requests)
    differences, scales = zip(*(_compare(network, data, pixels) for pixels in batches), strict=True)
    difference, scale = max(differences), max(1.0, *scales)
    if not difference <= TOLERANCE * scale:
        raise DataError(
            f"The exported network gives logits that differ by {difference:g}, more than"
            f" {TOLERANCE:g} of their size {scale:g}; nothing was written."
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
    fused = torch.backends.mha.get_fastpath_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The fused attention of nn.MultiheadAttention (CLIP's towers) is one operator that ONNX
        # has not; without it the same numbers come from matrix products.
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            _trace(network, pixels, buffer)
        except Exception as error:  # noqa: BLE001 (of many kinds, some with the whole graph)
            reason = str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
            raise DataError(
                f"This backbone cannot be written as ONNX: {reason} Run it with 'featcache score'."
            ) from None
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
    return buffer.getvalue()


def _trace(network: nn.Module, pixels: Any, buffer: io.BytesIO) -> None:
    import torch

    # What torch prints while tracing must not come between the JSON of --json.
    with contextlib.redirect_stdout(io.StringIO()):
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


def _add_metadata(data: bytes, requests: list[Request]) -> bytes:
    """Return the file with the preprocessing of its input and the keys of its features."""
    import onnx

    model = onnx.load_from_string(data)
    about = {
        "input": "pixels: (N, 3, size, size), float32 in [0, 1]; mean and std are in the network",
        "preprocessing": requests[0].preprocessing.to_key(),
        "view": requests[0].view.to_key(),
        "features": [dict(request.key.fields) for request in requests],
        "outputs": {"logit": "higher is more likely fake", "probability": "its sigmoid"},
    }
    onnx.helper.set_model_props(model, {"featcache": canonical_json(about)})
    return bytes(model.SerializeToString())


def _compare(network: nn.Module, data: bytes, pixels: Any) -> tuple[float, float]:
    """Return the largest difference of logits, and the largest absolute logit."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (logit,) = session.run(["logit"], {"pixels": pixels.numpy()})
    with torch.inference_mode():
        expected = network(pixels)[0].numpy()
    return float(np.abs(logit - expected).max()), float(np.abs(expected).max())
