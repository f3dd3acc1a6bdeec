"""The store gives back what was written, or says why not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcache.cache import FeatureKey, FeatureStore, Rows, index, reader
from featcache.cache.index import Entry, Index, _sort_ids
from featcache.cache.shard import read_shard
from featcache.cache.testing import make_key, make_rows
from featcache.errors import MissingFeaturesError, SettingsError, ShardError, StoreError


@given(n=st.integers(0, 30), d=st.integers(1, 9), dtype=st.sampled_from(["float32", "float16"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path: Path, n: int, d: int, dtype: str) -> None:
    key, rows = make_key(weights=f"{n}-{d}-{dtype}"), make_rows(n, d, dtype)
    rows.rejects["f" * 32] = "broken \u00e9 \udcff"
    path = FeatureStore(tmp_path / "s").write(key, "shard", rows, {"torch": "2"})
    result = read_shard(path, key)
    assert result.ids == rows.ids
    assert result.rejects == {"f" * 32: "broken \u00e9 \\udcff"}
    assert result.features.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(result.features, rows.features)


def test_rows_come_in_the_order_asked_for_from_any_shard(tmp_path: Path) -> None:
    key, first, second = make_key(), make_rows(5), make_rows(4, start=5)
    store = FeatureStore(tmp_path)
    store.write(key, "a", first, {})
    store.write(key, "b", second, {})
    requested = [second.ids[2], first.ids[4], second.ids[2]]
    expected = np.stack([second.features[2], first.features[4], second.features[2]])
    np.testing.assert_array_equal(FeatureStore(tmp_path).read(key, requested), expected)
    with pytest.raises(MissingFeaturesError, match="missing for 1 of 2 samples"):
        store.read(key, [first.ids[0], "0" * 32])


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    paths = [FeatureStore(tmp_path / x).write(make_key(), "s", make_rows(7), {}) for x in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_any_flipped_byte_is_found_or_harmless(tmp_path: Path) -> None:
    key, rows = make_key(), make_rows(6)
    path = FeatureStore(tmp_path).write(key, "s", rows, {})
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    n_found = 0
    for position in rng.choice(len(good), 300, replace=False):
        bad = bytearray(good)
        bad[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        try:
            result = read_shard(path, key)
        except StoreError:
            n_found += 1
        else:
            assert (result.ids, result.rejects) == (rows.ids, rows.rejects)
            np.testing.assert_array_equal(result.features, rows.features)
    assert n_found > 20


def test_a_truncated_or_foreign_shard_is_refused(tmp_path: Path) -> None:
    key = make_key()
    path = FeatureStore(tmp_path).write(key, "s", make_rows(6), {})
    with pytest.raises(ShardError, match="another feature key"):
        read_shard(path, make_key(precision="bf16"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ShardError, match=r"is damaged.*only its images are redone"):
        FeatureStore(tmp_path).samples(key)


def test_an_external_link_is_refused(tmp_path: Path) -> None:
    key = make_key()
    path = FeatureStore(tmp_path).write(key, "s", make_rows(6), {})
    secret = tmp_path / "secret.h5"
    secret.write_bytes(path.read_bytes())
    with h5py.File(path, "a") as file:
        del file["features"]
        file["features"] = h5py.ExternalLink(str(secret), "/features")
    with pytest.raises(ShardError, match="no data set of this file"):
        read_shard(path, key)


@pytest.mark.parametrize(
    "rows",
    [
        Rows(["a", "b"], np.zeros((3, 2), np.float32)),
        Rows(["b", "a"], np.zeros((2, 2), np.float32)),
        Rows(["a"], np.full((1, 2), np.nan, np.float32)),
        Rows(["a"], np.zeros((1, 2), np.float64)),
        Rows(["a"], np.zeros((1, 2), np.float32), {"a": "both kept and rejected"}),
    ],
    ids=["count", "order", "nan", "dtype", "reject"],
)
def test_bad_rows_are_never_written(tmp_path: Path, rows: Rows) -> None:
    with pytest.raises(StoreError):
        FeatureStore(tmp_path).write(make_key(), "s", rows, {})
    assert not list(tmp_path.rglob("*.h5"))


def test_a_key_needs_every_field() -> None:
    with pytest.raises(StoreError, match="no 'weights'"):
        make_key(weights=None)
    with pytest.raises(StoreError, match="unknown fields: colour"):
        make_key(colour="red")


def test_every_field_changes_the_fingerprint_and_is_named() -> None:
    key = make_key()
    for name in key.fields:
        another = make_key(**{name: {"changed": 1}})
        assert another.fingerprint != key.fingerprint
        assert all(leaf.startswith(name) for leaf, _, _ in key.differences(another))
    assert FeatureKey(dict(reversed(key.fields.items()))).fingerprint == key.fingerprint


def test_two_kinds_of_one_feature_must_be_told_apart(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    for precision in ("fp32", "bf16"):
        store.write(make_key(precision=precision), "s", make_rows(2), {})
    with pytest.raises(SettingsError, match="differ in precision"):
        store.find("toy")
    assert store.find("toy", precision="bf16").fields["precision"] == "bf16"
    with pytest.raises(MissingFeaturesError, match="not with these settings"):
        store.find("toy", precision="fp16")


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "featcache-store.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="has format 99; this featcache reads 1"):
        FeatureStore(tmp_path)


def test_several_keys_are_joined_by_sample_id(tmp_path: Path) -> None:
    store, first, second = FeatureStore(tmp_path), make_key(), make_key(backbone="other")
    rows, wide = make_rows(9), make_rows(9, d=5, dtype="float16")
    store.write(first, "a", rows, {})
    store.write(second, "x", Rows(wide.ids[:4], wide.features[:4]), {})
    store.write(second, "y", Rows(wide.ids[4:], wide.features[4:]), {})
    ids = rows.ids[::-1] + rows.ids[:2]
    expected = np.concatenate([rows.features, wide.features.astype(np.float32)], axis=1)
    expected = expected[[*range(8, -1, -1), 0, 1]]
    result = FeatureStore(tmp_path).read([first, second], ids)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected)
    as_stored = store.read(second, ids, dtype=np.float16)
    np.testing.assert_array_equal(as_stored, expected[:, 3:].astype(np.float16))


@pytest.mark.parametrize("n_rows", [1, 3, 100])
def test_blocks_give_what_a_read_gives(tmp_path: Path, n_rows: int) -> None:
    store, keys = FeatureStore(tmp_path), [make_key(), make_key(backbone="other")]
    for key in keys:
        for i in range(5):
            store.write(key, f"s{i}", make_rows(7, start=7 * i), {})
    ids = sorted(store.samples(keys[0]))
    np.random.default_rng(0).shuffle(ids)
    blocks = list(store.iter_blocks(keys, ids, rows=n_rows))
    assert [part.start for part, _ in blocks] == list(range(0, 35, n_rows))
    np.testing.assert_array_equal(
        np.concatenate([block for _, block in blocks]), store.read(keys, ids)
    )


def test_each_shard_is_read_once_however_the_rows_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, key = FeatureStore(tmp_path), make_key()
    for i in range(4):
        store.write(key, f"s{i}", make_rows(50, start=50 * i), {})
    ids = sorted(store.samples(key), key=lambda name: name[::-1])
    opened: list[str] = []
    full = reader.read_payload

    def counted(path: Path, *arguments: Any) -> Any:
        opened.append(path.name)
        return full(path, *arguments)

    monkeypatch.setattr(reader, "read_payload", counted)
    store.read(key, ids)
    assert sorted(opened) == ["s0.h5", "s1.h5", "s2.h5", "s3.h5"]


def test_the_index_saves_reading_and_is_never_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key()
    FeatureStore(tmp_path).write(key, "a", make_rows(5), {})
    ids = FeatureStore(tmp_path).samples(key)
    path = FeatureStore(tmp_path).folder(key) / "index.safetensors"
    good = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(index, "read_entry", lambda *_: pytest.fail("the index was not used"))
        assert FeatureStore(tmp_path).samples(key) == ids
    for bad in (b"", b"x" * 100, good[:-1], good[:200] + b"\0" + good[201:]):
        path.write_bytes(bad)
        assert FeatureStore(tmp_path).samples(key) == ids
        assert path.read_bytes() == good
    store = FeatureStore(tmp_path)
    store.write(key, "b", make_rows(3, start=5), {})
    assert len(store.samples(key)) == len(FeatureStore(tmp_path).samples(key)) == 8
    (store.folder(key) / "a.h5").unlink()
    assert len(store.samples(key)) == 3


def test_an_index_of_another_key_is_not_believed(tmp_path: Path) -> None:
    store, one, another = FeatureStore(tmp_path), make_key(), make_key(precision="bf16")
    store.write(one, "a", make_rows(5), {})
    store.write(another, "a", make_rows(4), {})
    store.index(one)
    shutil.copy2(store.folder(one) / "index.safetensors", store.folder(another))
    shutil.copystat(store.folder(one) / "a.h5", store.folder(another) / "a.h5")
    assert len(FeatureStore(tmp_path).samples(another)) == 4


def test_a_shard_changed_behind_the_index_is_found_on_reading(tmp_path: Path) -> None:
    store, key, rows = FeatureStore(tmp_path), make_key(), make_rows(6)
    path = store.write(key, "a", rows, {})
    status = path.stat()
    store.index(key)
    data = bytearray(path.read_bytes())
    data[data.index(rows.features.tobytes())] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ShardError, match="does not match its digest"):
        FeatureStore(tmp_path).read(key, rows.ids)
    with pytest.raises(ShardError, match="does not match its digest"):
        list(store.iter_blocks(key, rows.ids))


def test_ids_that_cannot_be_ids_are_missing(tmp_path: Path) -> None:
    store, key, rows = FeatureStore(tmp_path), make_key(), make_rows(3)
    store.write(key, "a", rows, {})
    for name in ("é" * 32, rows.ids[0] + "0", "", "?"):
        with pytest.raises(MissingFeaturesError, match="missing for 1 of 1"):
            store.read(key, [name])


def test_a_store_that_vanishes_is_not_made_anew(tmp_path: Path) -> None:
    store, key = FeatureStore(tmp_path / "s"), make_key()
    store.write(key, "a", make_rows(3), {})
    shutil.rmtree(tmp_path / "s")
    with pytest.raises(StoreError, match="has vanished"):
        store.write(key, "b", make_rows(3, start=3), {})
    assert not (tmp_path / "s").exists()


def test_ids_are_sorted_as_texts_whatever_they_are() -> None:
    """The fast way through numbers, ties of its first 16 digits, and texts that are no digits."""
    rng = np.random.default_rng(0)
    hexadecimal = [rng.bytes(16).hex() for _ in range(500)]
    tied = [text[:16] + rng.bytes(8).hex() for text in hexadecimal[:20] * 2]
    words = ["".join(rng.choice(list("zZ!~aA09"), 32)) for _ in range(50)]
    for texts in (
        hexadecimal,
        hexadecimal + tied,
        words,
        hexadecimal + hexadecimal[:9],
        [],
        words * 2,
    ):
        ids = np.array(texts, dtype="S32")
        in_order, order = _sort_ids(ids)
        np.testing.assert_array_equal(order, np.argsort(ids, kind="stable"))
        np.testing.assert_array_equal(in_order, np.sort(ids))
        entries = (Entry("a", None, ids, {}), Entry("b", None, ids[:3], {}))  # type: ignore[arg-type]
        assert Index(entries).n_samples == len(set(texts))
