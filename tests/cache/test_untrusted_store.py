"""Stores, indexes, disks and exhibits that are not to be trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from featcache.cache import FeatureStore, index, layout, maintenance
from featcache.cache.testing import make_key, make_rows
from featcache.errors import ShardError, StoreError
from featcache.reports.exhibits import FILE, load_exhibit
from featcache.reports.export import write_tables
from featcache.reports.report import Report


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(tmp_path / "store")
    store.write(make_key(), "one", make_rows(6), {})
    store.read(make_key(), make_rows(6).ids)
    return store


def test_an_index_that_names_other_samples_is_noticed(store: FeatureStore) -> None:
    """Crafted as a store from elsewhere may bring it: its own digest fits."""
    key = make_key()
    path = store.folder(key) / layout.INDEX_FILE
    with safe_open(path, "numpy") as file:
        about = json.loads(file.metadata()["index"])
    ids = np.roll(load_file(path)["ids"], 1, axis=0)
    about.pop("digest")
    about["digest"] = index._digest(about, ids)
    save_file({"ids": ids}, path, {"index": json.dumps(about)})
    fresh = FeatureStore(store.root)
    with pytest.raises(StoreError, match="names other samples than the shard holds"):
        fresh.read(key, make_rows(6).ids)
    report = maintenance.verify(fresh)
    assert [item.path.name for item in report.damaged] == [layout.INDEX_FILE]
    maintenance.verify(fresh, repair=True)
    features = FeatureStore(store.root).read(key, make_rows(6).ids)
    assert (features == make_rows(6).features).all()


def test_repair_keeps_shards_of_a_disk_in_trouble(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.shard(make_key(), "one")
    check: Any = maintenance.check_shard
    calls = []

    def trouble(shard: Path, key: Any) -> Any:
        calls.append(shard)
        if len(calls) == 1:
            raise ShardError("an input/output error looks like damage")
        return check(shard, key)

    monkeypatch.setattr(maintenance, "check_shard", trouble)
    report = maintenance.verify(store, repair=True)
    assert path.exists()
    assert "good when read again" in report.damaged[0].why
    assert report.dropped == []


def test_repair_keeps_shards_that_cannot_be_read(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.shard(make_key(), "one")

    def fails(shard: Path, key: Any) -> Any:
        path.rename(path.with_suffix(".away"))
        path.mkdir()
        raise ShardError("damaged")

    monkeypatch.setattr(maintenance, "check_shard", fails)
    report = maintenance.verify(store, repair=True)
    assert path.exists()
    assert "cannot be read" in report.damaged[0].why


def test_repair_moves_damaged_shards_to_quarantine(store: FeatureStore) -> None:
    path = store.shard(make_key(), "one")
    path.write_bytes(b"spoilt")
    report = maintenance.verify(store, repair=True)
    assert report.dropped[0] == path
    moved = store.root / maintenance.QUARANTINE / path.parent.name / path.name
    assert moved.read_bytes() == b"spoilt"


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "..", "a/b", "x[/red]"])
def test_names_in_an_exhibit_never_become_paths(name: str, tmp_path: Path) -> None:
    table = {
        "name": name, "caption": "c", "note": "", "rows": [],
        "columns": [{"key": "k", "label": "l", "kind": "text", "help": ""}],
    }  # fmt: skip
    document = {"title": "t", "text": "", "pictures": [], "tables": [table]}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / FILE).write_text(json.dumps(document))
    exhibit = load_exhibit(tmp_path / "in")
    out = tmp_path / "a" / "b" / "report"
    report = Report(title="t", command="", parts=[], exhibits=[exhibit])
    files = write_tables(report, out, ["csv", "latex", "md", "json"])
    assert files
    assert all(out.resolve() in file.resolve().parents for file in files)
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {tmp_path / "in" / FILE, *files}
