"""Hostile and damaged files are refused with a message; nothing else is read, written or run."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from featcache.cache import FeatureStore
from featcache.cache.keys import parse_key
from featcache.cache.shard import read_shard
from featcache.cache.testing import make_key, make_rows
from featcache.datasets import Manifest
from featcache.errors import DataError, ImageError, ShardError, StoreError
from featcache.images import decode
from featcache.parsing import parse_json
from featcache.probes.saved_head import load_head

MANY = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HUGE = 1 << 40


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return FeatureStore(tmp_path / "s").write(make_key(), "s", make_rows(6), {"torch": "2"})


def replace_features(make: Callable[[h5py.File], object]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["features"]
        make(file)

    return change


def external(file: h5py.File) -> None:
    file["features"] = h5py.ExternalLink("/etc/passwd", "/features")


def soft(file: h5py.File) -> None:
    file["features"] = h5py.SoftLink("/sample_id")


def external_storage(file: h5py.File) -> None:
    secret = Path(file.filename).with_name("secret")
    secret.write_bytes(b"s" * 72)
    file.create_dataset("features", (6, 3), "<f4", external=[(str(secret), 0, 72)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((6, 3), "<f4")
    layout[:] = h5py.VirtualSource(file.filename, "sample_id", (6, 3))
    file.create_virtual_dataset("features", layout)


def objects(file: h5py.File) -> None:
    file.create_dataset("features", (6, 3), h5py.special_dtype(vlen=np.float32))


def references(file: h5py.File) -> None:
    file.create_dataset("features", (6, 3), h5py.ref_dtype)


def huge(file: h5py.File) -> None:
    file.create_dataset("features", (HUGE, 3), "<f4")


def chunked_bomb(file: h5py.File) -> None:
    file.create_dataset("features", (4096, 4096), "<f4", chunks=(1024, 1024), compression="gzip")


def many(file: h5py.File) -> None:
    file.create_dataset("features", (6, 1 << 20), "<f4")


def wrong_type(file: h5py.File) -> None:
    file.create_dataset("features", data=np.zeros((6, 3), "<i8"))


def big_endian(file: h5py.File) -> None:
    file.create_dataset("features", data=np.zeros((6, 3), ">f4"))


def fewer(file: h5py.File) -> None:
    file.create_dataset("features", data=np.zeros((5, 3), "<f4"))


def group(file: h5py.File) -> None:
    file.create_group("features")


def scalar(file: h5py.File) -> None:
    file.create_dataset("features", data=np.float32(1))


@pytest.mark.parametrize(
    "make",
    [
        *(external, soft, external_storage, virtual, objects, references, huge, chunked_bomb, many),
        *(wrong_type, big_endian, fewer, group, scalar),
    ],
    ids=lambda make: make.__name__,
)
def test_features_that_are_no_plain_rows(shard: Path, make: Callable[[h5py.File], object]) -> None:
    with h5py.File(shard, "a") as file:
        replace_features(make)(file)
    with pytest.raises(ShardError):
        read_shard(shard, make_key())


@pytest.mark.parametrize("name", ["format", "key", "writer", "payload_xxh3_128"])
@pytest.mark.parametrize(
    "value", [None, np.zeros(1 << 14, "u1"), b"\xff", 7.5, "x" * 40_000, np.array(["a", "b"], "S1")]
)
def test_attributes_that_are_not_what_they_should_be(shard: Path, name: str, value: Any) -> None:
    with h5py.File(shard, "a") as file:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value
    with pytest.raises(StoreError):
        read_shard(shard, make_key())


def test_a_link_out_of_the_store_is_no_shard(shard: Path) -> None:
    shard.unlink()
    shard.symlink_to("/etc/passwd")
    with pytest.raises(ShardError):
        read_shard(shard, make_key())


@MANY
@given(data=st.data())
def test_any_bytes_as_a_shard(data: st.DataObject, shard: Path) -> None:
    good = FeatureStore(shard.parents[2])
    path = good.shard(make_key(), "fuzzed")
    raw = bytearray(shard.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        rows = data.draw(st.integers(0, len(raw) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=16))
        raw[rows : rows + len(piece)] = piece
    path.write_bytes(
        raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    )
    try:
        result = read_shard(path, make_key())
    except StoreError:
        return
    assert result.ids == make_rows(6).ids
    np.testing.assert_array_equal(result.features, make_rows(6).features)


json_text = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(json.dumps)


@MANY
@given(text=json_text | st.text() | st.binary())
def test_any_text_as_a_key(text: str | bytes) -> None:
    try:
        parse_key(text)
    except (ValueError, TypeError, StoreError):
        return
    pytest.fail("it was taken for a key")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "[NaN]", "9" * 5000, " " * (1 << 25)]
)
def test_json_bombs(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested|holds NaN|digits|limit"):
        parse_json(text)


def test_a_store_marker_from_anybody(tmp_path: Path) -> None:
    for text in ("[" * 100_000, "[]", "{}", "\0", "9" * 5000, '{"format": "x"}'):
        (tmp_path / "featcache-store.json").write_text(text)
        with pytest.raises(StoreError):
            FeatureStore(tmp_path)


@MANY
@given(data=st.binary(max_size=400), header=st.booleans())
def test_any_bytes_as_a_manifest(data: bytes, header: bool, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    Manifest(()).write(path)
    path.write_bytes((path.read_bytes() if header else b"") + data)
    with suppress(DataError):
        assert all(s.label in (0, 1) for s in Manifest.read(path))


@MANY
@given(data=st.binary(max_size=300), deep=st.booleans())
def test_any_bytes_as_a_head(data: bytes, deep: bool, tmp_path: Path) -> None:
    text = b"[" * 5000 if deep else data
    path = tmp_path / "h.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    with pytest.raises(DataError):
        load_head(path)


def test_a_decoder_that_runs_programs_is_not_asked(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    eps += f"({trap}) (w) file closefile showpage\n".encode()
    with pytest.raises(DataError):
        decode(eps)
    assert not trap.exists()


def test_a_reader_opened_before_a_fork_reads_after_it(shard: Path) -> None:
    code = f"""
import os, sys
from featcache.cache import FeatureStore
from featcache.cache.testing import make_key, make_rows
store = FeatureStore({str(shard.parents[2])!r})
ids = make_rows(6).ids
store.read(make_key(), ids)
opened = [os.path.realpath("/proc/self/fd/" + name) for name in os.listdir("/proc/self/fd")]
assert not [name for name in opened if name.endswith(".h5")]
pid = os.fork()
assert (store.read(make_key(), ids) == make_rows(6).features).all()
if pid == 0:
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_a_jpeg_of_endless_passes_is_not_decoded() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    start = data.index(b"\xff\xda")
    scan = data[start : data.index(b"\xff", start + 2)]
    decode(data)
    with pytest.raises(ImageError, match="passes to decode"):
        decode(data[:-2] + scan * 300 + data[-2:])
