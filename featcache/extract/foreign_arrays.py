"""Read feature arrays that other programs wrote, block by block, with the rows that come along.

No file is executed: ``.npy`` and ``.npz`` without pickles, ``.pt`` with ``weights_only=True``,
safetensors, Parquet and Arrow.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import DataError, FeatcacheError, SettingsError
from featcache.files import require_file

SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors", ".parquet", ".arrow", ".feather", ".ipc")
"""Files that are read."""

Blocks = Callable[[int], Iterator[NDArray[Any]]]
Row = tuple[str, dict[str, Any]]
"""Where a row stands, for messages, and column to value."""


@dataclass(frozen=True)
class Part:
    """One array of features.

    Parameters
    ----------
    path : Path
    shape : tuple of (int, int)
        Rows and columns.
    dtype : dtype
        As the file has it.
    blocks : callable
        Given n, yields arrays of at most n rows, in order; each is new or read-only.
    rows : list of (str, dict), optional
        What the file itself says about its rows.
    """

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    blocks: Blocks = field(repr=False)
    rows: list[Row] | None = field(default=None, repr=False)


def open_file_arrays(path: Path, array: str) -> Part:
    """Open the features in one file.

    Parameters
    ----------
    path : Path
    array : str
        Name of the array or column; empty where there is one only.

    Returns
    -------
    Part

    Raises
    ------
    DataError
        If there are none, or the file cannot be read.
    SettingsError
        If several arrays could be meant.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path} cannot be read as features; forms: {', '.join(SUFFIXES)}.")
    try:
        require_file(path)
        if suffix == ".npy":
            return _in_memory(path, np.load(path, mmap_mode="r", allow_pickle=False))
        if suffix == ".npz":
            return _open_npz(path, array)
        if suffix in (".pt", ".pth"):
            return _in_memory(path, read_tensor(path, array))
        if suffix == ".safetensors":
            return _open_safetensors(path, array)
        return _open_columns(path, array)
    except FeatcacheError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as features: {error}.") from error


def _in_memory(path: Path, values: NDArray[Any]) -> Part:
    shape = _two_axes(path, values.shape)
    _require_numbers(path, values.dtype)
    flat = values.reshape(shape)

    def blocks(n: int) -> Iterator[NDArray[Any]]:
        for start in range(0, shape[0], n):
            yield flat[start : start + n]

    return Part(path, shape, values.dtype, blocks)


def _two_axes(path: Path, shape: Sequence[int]) -> tuple[int, int]:
    """Return (rows, columns); axes of length 1 (pooled maps, a batch of tokens) are dropped."""
    wide = [size for size in shape[1:] if size != 1]
    if len(shape) < 2 or len(wide) > 1:
        raise DataError(
            f"{path} has the shape {tuple(shape)}; one vector for each image is needed, (N, D). "
            "Pool the map or the tokens first."
        )
    return shape[0], wide[0] if wide else 1


def _require_numbers(path: Path, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "fiu":
        raise DataError(f"{path} holds {dtype}, and features are numbers.")


def _choose(path: Path, shapes: dict[str, tuple[int, ...]], array: str) -> str:
    """Return the array that is meant: the named one, or the only one with two axes."""
    if array:
        if array not in shapes:
            raise SettingsError(
                f"{path} has no array {array!r}; it has {', '.join(shapes)}. Say which: --array."
            )
        return array
    named = [name for name in ("features", "embeddings") if len(shapes.get(name, ())) > 1]
    wide = named or [name for name, shape in shapes.items() if len(shape) > 1]
    if len(wide) == 1:
        return wide[0]
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
    if not wide:
        raise DataError(f"{path} has no array with rows and columns; it has {listed}.")
    raise SettingsError(f"{path} has several arrays: {listed}. Say which: --array NAME.")


def read_tensor(path: Path, array: str) -> NDArray[Any]:
    """Return a tensor of a ``.pt`` file, mapped where the file allows it; no code of it is run.

    Parameters
    ----------
    path : Path
    array : str
        Key of the tensor, where the file holds several.

    Returns
    -------
    ndarray

    Raises
    ------
    DataError
        If the file holds anything but tensors.
    """
    import pickle

    import torch

    try:
        try:
            value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (RuntimeError, ValueError):  # a file of before torch 1.6 cannot be mapped
            value = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise DataError(
            f"{path} is no file of plain tensors: {str(error).splitlines()[0]} Only tensors are"
            " read (weights_only=True). Save the features with torch.save(features, FILE)."
        ) from error
    if isinstance(value, dict):
        tensors = {str(k): v for k, v in value.items() if isinstance(v, torch.Tensor)}
        value = tensors[_choose(path, {k: tuple(v.shape) for k, v in tensors.items()}, array)]
    if not isinstance(value, torch.Tensor):
        raise DataError(f"{path} holds a {type(value).__name__}; one tensor (N, D) is needed.")
    value = value.detach()
    if value.dtype == torch.bfloat16:  # numpy has none; float32 holds every value of it
        value = value.float()
    return np.asarray(value.numpy())


def _open_safetensors(path: Path, array: str) -> Part:
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(path, "numpy")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        name = _choose(path, shapes, array)
        kind = str(file.get_slice(name).get_dtype())
        kinds = {"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16"}
        if kind not in kinds or kind == "BF16":
            raise DataError(f"{path} holds {kinds.get(kind, kind)}; save float16 or float32.")
    except SafetensorError as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}.") from error
    shape = _two_axes(path, shapes[name])

    def blocks(n: int) -> Iterator[NDArray[Any]]:
        for start in range(0, shape[0], n):
            rows = file.get_slice(name)[start : min(start + n, shape[0])]
            yield np.asarray(rows).reshape(-1, shape[1])

    return Part(path, shape, np.dtype(kinds[kind]), blocks)


def _open_npz(path: Path, array: str) -> Part:
    """Return an array of an ``.npz`` file, read as a stream; its texts of equal length are rows."""
    with zipfile.ZipFile(path) as archive:
        headers = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    headers[member.removesuffix(".npy")] = _npy_header(file)
        name = _choose(path, {key: head[0] for key, head in headers.items()}, array)
        shape, fortran, dtype = headers[name]
        full = _two_axes(path, shape)
        _require_numbers(path, dtype)
        columns = {}
        for key, (own, _, kind) in headers.items():
            if own == (full[0],) and kind.kind in "Uiufb":
                with archive.open(f"{key}.npy") as file:
                    columns[key] = np.lib.format.read_array(file, allow_pickle=False).tolist()
    rows = [
        (f"{path}, row {i}", dict(zip(columns, values, strict=True)))
        for i, values in enumerate(zip(*columns.values(), strict=True))
    ]

    def blocks(n: int) -> Iterator[NDArray[Any]]:
        if fortran:
            with np.load(path, allow_pickle=False) as arrays:
                yield from _in_memory(path, arrays[name]).blocks(n)
            return
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            _npy_header(file)
            for start in range(0, full[0], n):
                m = min(n, full[0] - start)
                data = file.read(m * full[1] * dtype.itemsize)
                yield np.frombuffer(data, dtype).reshape(m, full[1])

    return Part(path, full, dtype, blocks, rows if columns else None)


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"an array of version {version}")
    shape, fortran, dtype = read[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    return shape, fortran, dtype


def open_table(path: Path) -> Any:
    """Return an object with ``schema_arrow`` and ``iter_batches`` for a Parquet or Arrow file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    pyarrow.parquet.ParquetFile or an object like it
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".parquet":
        return pq.ParquetFile(path)

    class Arrow:
        def __init__(self) -> None:
            self.schema_arrow = self._open().schema

        def _open(self) -> Any:
            source = pa.memory_map(str(path))
            try:
                return pa.ipc.open_file(source)
            except pa.ArrowInvalid:  # the form that the Hugging Face library writes
                return pa.ipc.open_stream(source)

        def iter_batches(self, batch_size: int, columns: list[str]) -> Iterator[Any]:
            reader = self._open()
            n = getattr(reader, "num_record_batches", None)
            batches = reader if n is None else (reader.get_batch(i) for i in range(n))
            for batch in batches:
                for start in range(0, batch.num_rows, batch_size):
                    yield batch.select(columns).slice(start, batch_size)

    return Arrow()


def _open_columns(path: Path, array: str) -> Part:
    """Return the features in a column of lists of a table; its other columns are the rows."""
    import pyarrow as pa

    try:
        table = open_table(path)
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read as a table: {error}.") from error
    lists = {
        column.name: column.type.value_type
        for column in table.schema_arrow
        if pa.types.is_list(column.type)
        or pa.types.is_large_list(column.type)
        or pa.types.is_fixed_size_list(column.type)
    }
    name = _choose(path, dict.fromkeys(lists, (0, 0)), array)
    rows = table_rows(path, table, set(lists))
    dtype = np.dtype(lists[name].to_pandas_dtype())
    _require_numbers(path, dtype)
    width = -1

    def blocks(n: int) -> Iterator[NDArray[Any]]:
        start = 0
        for batch in table.iter_batches(batch_size=n, columns=[name]):
            column = batch.column(0)
            sizes = set(pa.compute.list_value_length(column).to_pylist())
            if batch.num_rows and (len(sizes) > 1 or sizes == {None} or width not in (-1, *sizes)):
                raise DataError(
                    f"{path}: the lists in column {name!r} are not of one length (rows {start:,} "
                    f"to {start + batch.num_rows - 1:,})."
                )
            values = column.flatten()
            if values.null_count:
                raise DataError(f"{path}: column {name!r} has empty values after row {start:,}.")
            start += batch.num_rows
            yield values.to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)

    first = next(blocks(1), np.empty((0, 0), dtype))
    width = first.shape[1]
    return Part(path, (len(rows), width), dtype, blocks, rows)


def table_rows(path: Path, table: Any, without: set[str]) -> list[Row]:
    """Return the rows of a table.

    Parameters
    ----------
    path : Path
        For messages.
    table : object
        Of :func:`open_table`.
    without : set of str
        Columns that are left out.

    Returns
    -------
    list of (str, dict)
        Place and values of each row.
    """
    names = [column.name for column in table.schema_arrow if column.name not in without]
    if not names:
        n = sum(batch.num_rows for batch in table.iter_batches(
            batch_size=65_536, columns=[table.schema_arrow.names[0]]))  # fmt: skip
        return [(f"{path}, row {i}", {}) for i in range(n)]
    batches = table.iter_batches(batch_size=65_536, columns=names)
    values = (row for batch in batches for row in batch.to_pylist())
    return [(f"{path}, row {i}", row) for i, row in enumerate(values)]
