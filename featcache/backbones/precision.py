"""Which numeric precision the forward pass runs in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from featcache.errors import unknown_name

if TYPE_CHECKING:
    import torch

    from featcache.backbones.base import BackboneSpec

PRECISIONS = ("fp32", "bf16", "fp16", "auto")

_CPU_INFO = Path("/proc/cpuinfo")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
"""Instructions that multiply bf16; without them a CPU emulates it, slower than fp32."""


def choose_precision(name: str, device: str | torch.device, *, transformer: bool = True) -> str:
    """Return the precision that ``name`` means on a device; only ``auto`` depends on it.

    Parameters
    ----------
    name : {"fp32", "bf16", "fp16", "auto"}
        ``auto`` is bf16 for transformers where the device computes in it natively, else fp32.
    device : str or torch.device
        ``"auto"`` is the GPU if there is one.
    transformer : bool
        False for networks of convolutions: their features suffer in bf16 (docs/performance.md has figures).

    Returns
    -------
    {"fp32", "bf16", "fp16"}
        What stands in the feature key.

    Raises
    ------
    UnknownNameError
        If there is no such precision.
    """
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    if name != "auto":
        return name
    return "bf16" if transformer and _computes_bf16(str(device)) else "fp32"


def precision_of(spec: BackboneSpec, name: str, device: str | torch.device) -> str:
    """Return the precision that ``name`` means for a backbone; see :func:`choose_precision`."""
    transformer = spec.taps is not None and spec.taps.tokens
    return choose_precision(name, device, transformer=transformer)


def _computes_bf16(device: str) -> bool:
    if device == "cpu":
        return cpu_computes_bf16()
    import torch

    if device == "auto" and not torch.cuda.is_available():
        return cpu_computes_bf16()
    if device == "auto" or device.startswith("cuda"):
        index = None if device == "auto" else torch.device(device)
        return torch.cuda.is_available() and torch.cuda.get_device_capability(index) >= (8, 0)
    return False


def cpu_computes_bf16(info: Path = _CPU_INFO) -> bool:
    """Say whether this CPU has bf16 matrix instructions, as far as Linux tells."""
    try:
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(_BF16_FLAGS & set(flags.split()))
