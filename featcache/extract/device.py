"""Which device, in how many workers, with which batch: what the machine decides and a user may
override.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.errors import SettingsError
from featcache.threads import available_memory

if TYPE_CHECKING:
    import torch

BATCH = {"cpu": 16, "cuda": 256, "mps": 64}
"""Images per forward pass where memory allows: beyond it nothing gets faster."""

MEMORY_SHARE = 0.5
"""Of the free memory, how much the forward passes may take by the estimate."""


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = {_M_MMAP_THRESHOLD: 256 * 2**20, _M_TRIM_THRESHOLD: 2**30}
"""Of glibc's mallopt: arrays up to this size come from the heap; so much of it may lie free, in
bytes.
"""


def choose_device(name: str) -> torch.device:
    """Return the torch device of that name.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Returns
    -------
    torch.device
        The torch device of that name.

    Raises
    ------
    SettingsError
        If this machine has no such device; nothing falls back silently to another.
    """
    import torch

    has_gpu = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(
            f"The device {name!r} cannot be used here: {reason}. Use --device cpu, or see"
            " 'featcache doctor'."
        ) from error
    return device


def idle_gpu_warning(device: torch.device) -> str:
    """Return what to say where a torch that is built for CUDA runs on the CPU; empty otherwise.

    Parameters
    ----------
    device : torch.device
        Device that computes.

    Returns
    -------
    str
        What to say where a torch that is built for CUDA runs on the CPU.
    """
    import torch

    if device.type != "cpu" or not torch.version.cuda:
        return ""
    if torch.cuda.is_available():
        return "This machine has a GPU, but the work runs on the CPU. Use --device cuda."
    if not has_nvidia_device():  # pip's default build of torch, on a machine without a GPU
        return ""
    return (
        f"This machine has an NVIDIA GPU, but this torch (CUDA {torch.version.cuda}) cannot use it,"
        " so the work runs on the CPU, 10 to 100 times slower. Look at nvidia-smi and the driver."
    )


def has_nvidia_device(devices: Path = Path("/dev")) -> bool:
    """Return whether the machine has an NVIDIA GPU, whether or not its driver works.

    Parameters
    ----------
    devices : Path
        Folder of the device files.

    Returns
    -------
    bool
    """
    return any(devices.glob("nvidia[0-9]*")) or shutil.which("nvidia-smi") is not None


def describe_device(device: torch.device) -> str:
    """Return the device in words (``"cuda:0 NVIDIA H100"``, ``"cpu"``).

    Parameters
    ----------
    device : torch.device
        Device that computes.

    Returns
    -------
    str
        The device in words (``"cuda:0 NVIDIA H100"``, ``"cpu"``).
    """
    import torch

    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return str(device)


def count_cores() -> int:
    """Return the cores that this process may use, by affinity and by the quota of its container.

    Returns
    -------
    int
        The cores that this process may use, by affinity and by the quota of its container.
    """
    import joblib

    return int(joblib.cpu_count())


def fit_batch(nominal: int, bytes_per_image: int, workers: int, free_bytes: int) -> int:
    """Return the images per forward pass: ``nominal``, halved until the workers fit into the
    memory.

    Parameters
    ----------
    nominal : int
        A constant of the kind of device, so that two runs on like machines cut alike.
    bytes_per_image : int
        What one image takes during its forward pass.
    workers : int
        Forward passes at the same time.
    free_bytes : int

    Returns
    -------
    int
        The images per forward pass.

    Examples
    --------
    >>> fit_batch(256, bytes_per_image=2**26, workers=1, free_bytes=2**33)
    64
    """
    batch = nominal
    while batch > 1 and batch * bytes_per_image * workers > MEMORY_SHARE * free_bytes:
        batch //= 2
    return batch


def free_memory(device: torch.device) -> int:
    """Return the free bytes of the memory that the device computes in.

    Parameters
    ----------
    device : torch.device
        Device that computes.

    Returns
    -------
    int
        The free bytes of the memory that the device computes in.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_memory()


def bytes_of_forward(run: Callable[[], object]) -> int:
    """Return what a forward pass needs at once: the most that one operation reads and writes,
    twice.

    Works on every device, also ``meta``, because it only looks at shapes.

    Parameters
    ----------
    run : callable
        Does the forward pass of one image, all of it within ``torch.inference_mode``.

    Returns
    -------
    int
        What a forward pass needs at once.
    """
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Sizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
        most = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            # Weights are no inference tensors: they are there already and do not grow with the
            # batch.
            tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
            moving = {id(t): t.nbytes for t in tensors if t.is_inference()}
            self.most = max(self.most, sum(moving.values()))
            return out

    with Sizes() as sizes:  # type: ignore[no-untyped-call]
        run()
    return 2 * int(sizes.most)


def keep_freed_memory() -> bool:
    """Let this process keep what one batch frees for the next; return whether it does (glibc only).

    By default glibc gives large arrays back to the system, which hands out every page anew: 0.5 to
    1.5 ms for each image through a small network, a tenth of all its time.

    Returns
    -------
    bool
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(option, n_bytes) == 1 for option, n_bytes in _KEPT.items())


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let torch use one thread per operation meanwhile: the workers themselves fill the cores.

    Yields
    ------
    None
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error of torch or Python means that the memory was too small.

    Parameters
    ----------
    error : BaseException
        Error that was raised.

    Returns
    -------
    bool
    """
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )
