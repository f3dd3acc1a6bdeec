"""Looking after a store: what is bad is found and dropped, what is not needed is listed and
removed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from featcache.cache import FeatureStore, Rows, maintenance, shard
from featcache.cache.lookup import explain, explain_missing, pick_key
from featcache.cache.testing import make_key, make_rows
from featcache.errors import MissingFeaturesError, SettingsError
from featcache.files import write_atomic

Call = Callable[..., Any]
NAME = "efficientnet-lite0"


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(tmp_path / "store")
    for i in range(4):
        store.write(make_key(), f"s{i}", make_rows(5, start=5 * i), {})
    return store


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        data[file["features"].id.get_offset() + 3] ^= 4
    path.write_bytes(data)


def test_verify_finds_and_repair_drops_exactly_the_bad(store: FeatureStore) -> None:
    key = make_key()
    assert maintenance.verify(store) == maintenance.VerifyReport(4, store.summary(key).n_bytes)
    spoil(store.shard(key, "s1"))
    store.shard(key, "s2").write_bytes(b"")
    report = maintenance.verify(store)
    assert [damage.path.name for damage in report.damaged] == ["s1.h5", "s2.h5"]
    assert (report.n_shards, report.dropped) == (2, [])
    report = maintenance.verify(store, repair=True)
    assert [path.name for path in report.dropped] == ["s1.h5", "s2.h5"]
    assert maintenance.verify(store).damaged == []
    assert len(FeatureStore(store.root).samples(key)) == 10


def test_a_sample_of_the_shards_is_checked(store: FeatureStore) -> None:
    assert maintenance.verify(store, fraction=0.5).n_shards == 2
    assert maintenance.verify(store, fraction=0.01).n_shards == 1


def test_features_that_are_not_finite_or_ids_out_of_order_are_faults(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "_check_rows", lambda rows: None)
    rows = make_rows(3)
    bad = np.full((3, 3), np.nan, np.float32)
    store.write(make_key(), "nan", Rows(rows.ids, bad), {})
    store.write(make_key(), "order", Rows(rows.ids[::-1], rows.features), {})
    whys = " ".join(damage.why for damage in maintenance.verify(store).damaged)
    assert "NaN or Inf" in whys
    assert "not sorted" in whys


def test_a_shard_of_a_newer_format_is_no_damage(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featcache.cache.layout.FORMAT_VERSION", 2)
    store.write(make_key(), "newer", make_rows(2, start=90), {})
    monkeypatch.undo()
    report = maintenance.verify(store, repair=True)
    assert [damage.repairable for damage in report.damaged] == [False]
    assert store.shard(make_key(), "newer").exists()


def test_waste_is_listed_and_removed_only_when_asked(store: FeatureStore) -> None:
    key = make_key()
    writing = store.folder(key) / ".tmp-00000000-1-live"
    writing.write_bytes(b"x")
    command = "import os, sys; from featcache import files; print(files.temporary_prefix())"
    prefix = subprocess.run(
        [sys.executable, "-P", "-c", command], capture_output=True, text=True, check=True
    ).stdout.strip()
    dead = [store.folder(key) / f"{prefix}abc", store.folder(key) / "s9.claim"]
    for path in dead:
        path.write_bytes(b"half")
    with store.lock(key, "s8"):
        unused = maintenance.find_unused(store)
    assert sorted(item.path for item in unused) == sorted(dead)
    assert all(path.exists() for path in dead)
    assert maintenance.remove(unused) == 8
    assert not any(path.exists() for path in dead)
    assert writing.exists()
    os.utime(writing, (0, 0))  # a day later
    assert [item.path for item in maintenance.find_unused(store)] == [writing]


def test_unreferenced_shards_and_dropped_keys(store: FeatureStore) -> None:
    key, second = make_key(), make_key(precision="bf16")
    store.write(second, "o", make_rows(2), {})
    expected = [*make_rows(5).ids, *make_rows(5, start=5).ids[:1]]
    unused = maintenance.find_unused(store, referenced=expected)
    assert [item.path.name for item in unused] == ["s2.h5", "s3.h5"]
    unused = maintenance.find_unused(store, drop=[second])
    assert maintenance.remove(unused) == unused[0].n_bytes > 0
    assert store.list_keys() == [key]


def test_explain_names_the_field(store: FeatureStore) -> None:
    key = make_key()
    for name in key.fields:
        second = make_key(
            **{name: {**key.fields[name], "x": 1} if isinstance(key.fields[name], dict) else "new"}
        )
        assert f"differ in {name}" in explain(key, second)
        text = explain_missing(second, [key])
        assert text.startswith("Miss: ")
        assert f"which differs: {name}" in text
    assert explain_missing(key, [key]).startswith("Hit: ")
    assert "no features" in explain_missing(key, [])
    assert pick_key(store, key.fingerprint[:6]) == pick_key(store, "toy") == key
    with pytest.raises(MissingFeaturesError):
        pick_key(store, "0000")


def test_the_commands(featcache: Call, extracted: tuple[Path, Path], tmp_path: Path) -> None:
    tree, cache = extracted[0], shutil.copytree(extracted[1], tmp_path / "store")
    assert featcache("cache", "verify", "--cache", cache, "--json").json["n_shards"] > 0
    assert featcache("cache", "explain", "--backbone", NAME, "--cache", cache).out.startswith("Hit")
    ran = featcache(
        "cache", "explain", "--backbone", NAME, "--preset", "native", "--cache", cache, "--json"
    )
    assert "preprocessing.interpolation" in ran.json["explanations"][0]["text"]
    assert featcache("cache", "explain", "--cache", cache).code == 2
    usage = featcache("cache", "du", "--cache", cache, "--json").json
    assert usage["n_bytes"] == sum(row["n_bytes"] for row in usage["usage"])
    assert "total" in featcache("cache", "du", "--cache", cache).out
    assert (
        featcache("cache", "gc", "--unreferenced", "--cache", cache, "--json").json["waste"] == []
    )
    bad = next(cache.rglob("*.h5"))
    good = bad.read_bytes()
    spoil(bad)
    ran = featcache("cache", "verify", "--cache", cache)
    assert (ran.code, "does not match its digest" in " ".join(ran.out.split())) == (4, True)
    assert featcache("cache", "verify", "--repair", "--cache", cache).code == 0
    command = ("extract", "--backbone", NAME, "--data", tree, "--cache", cache, "--json")
    (summary,) = featcache(*command).json["backbones"]
    assert summary["n_shards"] == 1
    assert bad.read_bytes() == good


def test_an_ambiguous_prefix_is_refused(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(make_key(precision="bf16"), "o", make_rows(2), {})
    keys = store.list_keys()
    monkeypatch.setattr(
        "featcache.cache.FeatureKey.fingerprint",
        property(lambda key: "abcd" + key.fields["precision"]),
    )
    monkeypatch.setattr(store, "list_keys", lambda: keys)
    with pytest.raises(SettingsError, match="2 keys begin with 'abcd'"):
        pick_key(store, "abcd")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with pytest.raises(OSError, match="The disk or its network share has failed"):
        write_atomic(tmp_path / "f", b"x")
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_sample_reads_no_other_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, key = FeatureStore(tmp_path), make_key()
    for i in range(20):
        store.write(key, f"shard{i:02d}", make_rows(3, start=3 * i), {})
    store.samples(key)  # writes the index
    opened: list[Path] = []
    read = maintenance.read_payload

    def counted(path: Path, *arguments: Any) -> Any:
        opened.append(path)
        return read(path, *arguments)

    monkeypatch.setattr(maintenance, "read_payload", counted)
    report = maintenance.verify(store, fraction=0.1)
    assert (report.n_shards, len(opened), report.damaged) == (2, 2, [])
    opened.clear()
    assert maintenance.verify(store).n_shards == len(opened) == 20  # each once
