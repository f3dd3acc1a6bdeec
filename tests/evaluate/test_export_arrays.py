"""Features as arrays of other programs: every form, several features, bounded memory, and back."""

from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from featcache.cache import FeatureStore
from featcache.cache.testing import make_key, make_rows
from featcache.datasets import Manifest, Sample, load_manifests
from featcache.errors import MissingFeaturesError, SettingsError
from featcache.evaluate import export_arrays
from featcache.extract import ForeignOptions, import_foreign
from featcache.files import digest_json

FORMS = ["npz", "npy", "parquet"]


def read(path: Path, names: list[str]) -> tuple[dict[str, Any], list[Any]]:
    """Return the arrays of features and the rows (id, label, generator, split, source, serves)."""
    columns = ("sample_id", "label", "generator", "split", "source", "serves")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            rows = list(zip(*(file[name].tolist() for name in columns), strict=True))
            return {name: file[name] for name in names}, rows
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        rows = list(zip(*(table[name].to_pylist() for name in columns), strict=True))
        return {name: np.array(table[name].to_pylist()) for name in names}, rows
    with path.with_suffix(".rows.csv").open(newline="") as file:
        rows = [tuple(int(r[n]) if n == "label" else r[n] for n in columns)
                for r in csv.DictReader(file)]  # fmt: skip
    if names == ["features"]:
        return {"features": np.load(path)}, rows
    return {name: np.load(path.with_suffix(f".{name}.npy")) for name in names}, rows


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("names", [["a"], ["a", "c"]])
def test_every_form_holds_the_features_of_its_rows(
    toy: tuple[Manifest, Path], tmp_path: Path, form: str, names: list[str]
) -> None:
    manifest, folder = toy
    store, path = FeatureStore(folder), tmp_path / f"x.{form}"
    keys = [store.find(name, view="clean") for name in names]
    done = export_arrays(manifest, store, keys, path)
    arrays, rows = read(path, list(done.arrays))
    assert done.n_rows == len(rows) == len(manifest)
    by_id = {s.sample_id: s for s in manifest}
    for name, label, generator, split, source, paired_with in rows:
        sample = by_id[name]
        assert (label, generator, split, source, paired_with) == (
            *(sample.label, sample.generator, sample.split, sample.source),
            sample.paired_with,
        )
    for key, array in zip(keys, arrays.values(), strict=True):
        np.testing.assert_array_equal(array, store.read(key, [row[0] for row in rows]))


@pytest.mark.parametrize("form", FORMS)
def test_the_round_trip_gives_the_same_probe(
    toy: tuple[Manifest, Path], tmp_path: Path, featcache: Callable[..., Any], form: str
) -> None:
    store, path, back = toy[1], tmp_path / f"x.{form}", tmp_path / "back"
    done = featcache(
        "cache", "export", "--features", "a,c", "--cache", store, "--out", path, "--json"
    )
    assert done.code == 0, done.err
    assert done.json["arrays"] == {"a": 12, "c": 8}
    for name in "ac":
        source = path.with_suffix(f".{name}.npy") if form == "npy" else path
        more = ("--rows", path.with_suffix(".rows.csv")) if form == "npy" else ("--array", name)
        done = featcache("cache", "import-features", source, "--name", f"my-{name}",
                         "--cache", back, "--dataset", "toy", *more, "--json")  # fmt: skip
        assert done.code == 0, done.err
    probe = ("--train", "progan", "--json")
    first = featcache("probe", "--features", "a,c", "--cache", store, *probe).json
    second = featcache("probe", "--features", "my-a,my-c", "--cache", back, *probe).json
    assert second["features"] == ["my-a#foreign", "my-c#foreign"]
    for name, row in first["generators"].items():
        assert second["generators"][name]["ap"] == row["ap"]
        assert second["generators"][name]["ap_ci"] == row["ap_ci"]


def test_views_of_one_feature_are_told_apart(toy: tuple[Manifest, Path], tmp_path: Path) -> None:
    store = FeatureStore(toy[1])
    keys = [store.find("a", view=view) for view in ("clean", "jpeg:50")]
    done = export_arrays(toy[0], store, keys, tmp_path / "x.npz")
    assert list(done.arrays) == ["a clean", "a jpeg:50"]


def test_features_of_other_samples_are_refused_or_left_out(tmp_path: Path) -> None:
    store, keys = FeatureStore(tmp_path), [make_key(backbone=name) for name in "ab"]
    rows = make_rows(20)
    samples = [Sample("d", "/d", f"/d/{name}", i % 2, "g", "g", "other", "test", "", name, name)
               for i, name in enumerate(rows.ids)]  # fmt: skip
    store.write(keys[0], "one", rows, {})
    store.write(keys[1], "one", type(rows)(rows.ids[:15], rows.features[:15]), {})
    with pytest.raises(MissingFeaturesError, match=r"5 of 20 samples lack .* has no 'b'"):
        export_arrays(Manifest(tuple(samples)), store, keys, tmp_path / "x.npz")
    done = export_arrays(
        Manifest(tuple(samples)), store, keys, tmp_path / "x.npz", intersection=True
    )
    assert done.n_rows == 15
    with pytest.raises(SettingsError, match=r"\.parquet"):
        export_arrays(Manifest(tuple(samples)), store, keys, tmp_path / "x.csv")


@pytest.mark.parametrize("form", FORMS)
def test_float16_stays(tmp_path: Path, form: str) -> None:
    store, key, rows = FeatureStore(tmp_path), make_key(dtype="float16"), make_rows(9, 4, "float16")
    store.write(key, "one", rows, {})
    samples = [Sample("d", "/d", f"/d/{name}", i % 2, "g", "g", "other", "test", "", name, name)
               for i, name in enumerate(rows.ids)]  # fmt: skip
    path = tmp_path / f"x.{form}"
    export_arrays(Manifest(tuple(samples)), store, [key], path)
    table = path.with_suffix(".rows.csv") if form == "npy" else None
    back = FeatureStore(tmp_path / "back")
    done = import_foreign(back, path, ForeignOptions(name="x", rows=table))
    assert done.key.fields["dtype"] == "float16"
    np.testing.assert_array_equal(back.read(done.key, rows.ids, np.float16), rows.features)
    assert len(load_manifests(back.root)) == 9


def test_memory_does_not_hold_all_features(tmp_path: Path) -> None:
    store, key = FeatureStore(tmp_path), make_key()
    samples, n_shards, rows_of, d = [], 8, 2048, 512
    for i in range(n_shards):
        rows = make_rows(rows_of, d, start=i * rows_of)
        store.write(key, digest_json(rows.ids), rows, {})
        samples += [Sample("d", "/d", name, j % 2, "g", "g", "other", "test", "", name, name)
                    for j, name in enumerate(rows.ids)]  # fmt: skip
    manifest = Manifest(tuple(samples))
    store.samples(key)
    for form in FORMS:
        export_arrays(manifest, store, [key], tmp_path / f"warm.{form}")
        tracemalloc.start()
        export_arrays(manifest, store, [key], tmp_path / f"x.{form}")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.75 * n_shards * rows_of * d * 4, form  # blocks, buffers, ids and texts
