"""The tensors of a TorchScript archive, read without running any of its code.

``torch.jit.load`` would compile and may run what the archive brings. Here only its ``data.pkl``
is read, by an unpickler that can make tensors, containers and inert records of modules, and
nothing else.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Record:
    """A module of the archive: its attributes, without its class."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = dict(state)


def is_torchscript(path: Path) -> bool:
    """Say whether a zip file is a TorchScript archive, by its list of members.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    bool
    """
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/", 1)[-1] == "constants.pkl" for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the parameters and buffers of the archived module by name.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    dict[str, Tensor]
        The parameters and buffers of the archived module by name.

    Raises
    ------
    pickle.UnpicklingError
        If the archive asks for anything but tensors and plain containers.
    zipfile.BadZipFile, KeyError
        If it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.split("/", 1)[-1] == "data.pkl")
        root = _Unpickler(archive, name.removesuffix("data.pkl")).load()
    if not isinstance(root, Record):
        raise pickle.UnpicklingError("the archive holds no module")
    return dict(_tensors(root, ""))


class _Unpickler(pickle.Unpickler):
    """Makes only what stands in :meth:`find_class`; every other name in the file is refused
    unread.
    """

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}data.pkl")))
        self._archive = archive
        self._folder = f"{folder}data/"
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return one of our own harmless makers for a name in the file."""
        if module.startswith("__torch__"):
            return Record
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        maker = _MAKERS.get((module, name))
        if maker is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return maker

    def persistent_load(self, pid: Any) -> Tensor:
        """Return a storage of the archive as a flat tensor."""
        _, dtype, key, *_ = pid
        if not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("it holds a storage of unknown type")
        if key not in self._storages:
            data = self._archive.read(f"{self._folder}{key}")  # zipfile checks its CRC
            self._storages[key] = torch.frombuffer(bytearray(data), dtype=dtype)
        return self._storages[key]


def _make_tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    return storage.as_strided(tuple(size), tuple(stride), offset)


_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MAKERS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _make_tensor,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch.jit._pickle", "build_intlist"): list,
    ("torch.jit._pickle", "build_doublelist"): list,
    ("torch.jit._pickle", "build_boollist"): list,
    ("torch.jit._pickle", "build_tensorlist"): list,
}


def _tensors(record: Record, prefix: str) -> Any:
    for name, value in record.state.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Record):
            yield from _tensors(value, f"{prefix}{name}.")
