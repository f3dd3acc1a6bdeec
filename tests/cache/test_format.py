"""Golden files of format 1, which every later version has to read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from featcache.cache import FeatureStore, Rows, maintenance
from featcache.cache.pack import import_pack
from featcache.cache.testing import make_key, make_rows
from featcache.datasets import Manifest
from featcache.datasets.library import manifest_path
from featcache.errors import DataError
from featcache.evaluate.export import import_features

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_golden_store_is_read(tmp_path: Path, dtype: str) -> None:
    shutil.copytree(GOLDEN / "store-1", tmp_path / "s")
    store, key = FeatureStore(tmp_path / "s"), make_key(dtype=dtype)
    values = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
    np.testing.assert_array_equal(store.read(key, make_rows(4).ids), values)
    assert store.rejects(key) == {"f" * 32: "the file is empty"}
    assert maintenance.verify(store).damaged == []


def test_the_same_rows_still_give_the_golden_bytes(tmp_path: Path) -> None:
    key = make_key(dtype="float32")
    values = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
    rows = Rows(make_rows(4).ids, values, {"f" * 32: "the file is empty"})
    path = FeatureStore(tmp_path).write(key, "golden", rows, {"torch": "2.0"})
    golden = GOLDEN / "store-1" / path.relative_to(tmp_path)
    assert path.read_bytes() == golden.read_bytes()


def test_the_golden_pack_is_read(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    result = import_pack(store, GOLDEN / "pack-1.tar", lambda name, file: file.read_bytes())
    assert (result.n_shards, result.licence, list(result.manifests)) == (1, "CC0-1.0", ["toy"])
    assert len(store.read(make_key(dtype="float32"), make_rows(4).ids)) == 4


def test_the_golden_manifest_is_read(tmp_path: Path) -> None:
    """It is older than three columns, which have their defaults then; a scan makes it anew."""
    manifest = Manifest.read(GOLDEN / "manifest-1.csv")
    assert [sample.sample_id for sample in manifest] == make_rows(4).ids
    assert [(sample.split, sample.label, sample.generator) for sample in manifest] == [
        ("test", 0, "real"), ("test", 1, "progan"), ("train", 0, "real"), ("train", 1, "progan")
    ]  # fmt: skip
    for number, sample in enumerate(manifest):
        assert sample.path.endswith(f"caf\udce9 {number}.png")
        assert (sample.width, sample.height, sample.n_bytes) == (64, 48, 1234 + number)
        assert (sample.tables, sample.has_exif, sample.layout, sample.problem) == ("", 0, "", "")
    with pytest.raises(DataError, match="lacks the columns tables, has_exif, layout"):
        Manifest.read(GOLDEN / "manifest-1.csv", all_columns=True)
    table = (GOLDEN / "manifest-1.csv").read_bytes()
    (tmp_path / "m.csv").write_bytes(table.replace(b"label,", b"lable,", 1))
    with pytest.raises(DataError, match="lacks the columns label"):
        Manifest.read(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes(table[: table.rindex(b",PNG")])
    with pytest.raises(DataError, match="line 5"):
        Manifest.read(tmp_path / "m.csv")


def test_the_golden_pack_comes_in_with_its_manifest(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    assert list(import_features(store, GOLDEN / "pack-1.tar").manifests) == ["toy"]
    assert len(Manifest.read(manifest_path(tmp_path, "toy"))) == 0
