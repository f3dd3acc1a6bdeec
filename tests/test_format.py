"""Golden files of format 1, which every later version has to read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from featcache.cache import FeatureStore, Rows, care
from featcache.cache.testing import make_key, make_rows
from featcache.cache.unpack import import_pack

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_golden_store_is_read(tmp_path: Path, dtype: str) -> None:
    shutil.copytree(GOLDEN / "store-1", tmp_path / "s")
    store, key = FeatureStore(tmp_path / "s"), make_key(dtype=dtype)
    values = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
    np.testing.assert_array_equal(store.read(key, make_rows(4).ids), values)
    assert store.rejects(key) == {"f" * 32: "the file is empty"}
    assert care.verify(store).faults == []


def test_the_same_rows_still_give_the_golden_bytes(tmp_path: Path) -> None:
    key = make_key(dtype="float32")
    values = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
    rows = Rows(make_rows(4).ids, values, {"f" * 32: "the file is empty"})
    path = FeatureStore(tmp_path).write(key, "golden", rows, {"torch": "2.0"})
    golden = GOLDEN / "store-1" / path.relative_to(tmp_path)
    assert path.read_bytes() == golden.read_bytes()


def test_the_golden_pack_is_read(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    found = import_pack(store, GOLDEN / "pack-1.tar", lambda name, file: file.read_bytes())
    assert (found.n_shards, found.licence, list(found.manifests)) == (1, "CC0-1.0", ["toy"])
    assert len(store.read(make_key(dtype="float32"), make_rows(4).ids)) == 4
