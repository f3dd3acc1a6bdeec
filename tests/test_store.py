"""The store gives back what was written, or says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcache.cache import FeatureKey, FeatureStore, Rows
from featcache.cache.shard import read_shard
from featcache.errors import MissingFeaturesError, SettingsError, ShardError, StoreError
from featcache.hashing import digest_bytes


def make_key(**changes: Any) -> FeatureKey:
    fields: dict[str, Any] = {
        "backbone": "toy",
        "architecture": "toy:1",
        "weights": "blake2b:00",
        "tap": {"layer": "final"},
        "preprocessing": {"preset": "univfd", "size": 224},
        "precision": "fp32",
        "dtype": "float32",
        "view": {"name": "clean", "steps": []},
    }
    return FeatureKey({**fields, **changes})


def make_rows(n: int, d: int = 3, dtype: str = "float32", start: int = 0) -> Rows:
    ids = sorted(digest_bytes(str(i).encode()) for i in range(start, start + n))
    rng = np.random.default_rng(n + d)
    return Rows(ids, rng.normal(size=(n, d)).astype(dtype), {})


@given(n=st.integers(0, 30), d=st.integers(1, 9), dtype=st.sampled_from(["float32", "float16"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path: Path, n: int, d: int, dtype: str) -> None:
    key, rows = make_key(weights=f"{n}-{d}-{dtype}"), make_rows(n, d, dtype)
    rows.rejects["f" * 32] = "broken \u00e9 \udcff"
    path = FeatureStore(tmp_path / "s").write(key, "shard", rows, {"torch": "2"})
    found = read_shard(path, key)
    assert found.ids == rows.ids
    assert found.rejects == {"f" * 32: "broken \u00e9 \\udcff"}
    assert found.features.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found.features, rows.features)


def test_rows_come_in_the_order_asked_for_from_any_shard(tmp_path: Path) -> None:
    key, first, second = make_key(), make_rows(5), make_rows(4, start=5)
    store = FeatureStore(tmp_path)
    store.write(key, "a", first, {})
    store.write(key, "b", second, {})
    wanted = [second.ids[2], first.ids[4], second.ids[2]]
    expected = np.stack([second.features[2], first.features[4], second.features[2]])
    np.testing.assert_array_equal(FeatureStore(tmp_path).read(key, wanted), expected)
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
            found = read_shard(path, key)
        except StoreError:
            n_found += 1
        else:
            assert (found.ids, found.rejects) == (rows.ids, rows.rejects)
            np.testing.assert_array_equal(found.features, rows.features)
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
        other = make_key(**{name: {"changed": 1}})
        assert other.fingerprint != key.fingerprint
        assert all(leaf.startswith(name) for leaf, _, _ in key.differences(other))
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
