"""Features of other programs: every form, the rows, what is refused, and the same AP as
scikit-learn.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featcache.cache import FeatureStore
from featcache.datasets import load_manifests
from featcache.errors import DataError, MissingFeaturesError, SettingsError
from featcache.extract import ForeignOptions, import_foreign

N, D = 240, 6


def make_rows(n: int = N) -> list[dict[str, Any]]:
    return [
        {
            "id": f"img{i:04d}",
            "label": ("real", "fake")[i % 2],
            "generator": "progan" if i % 2 else "",
            "split": "train" if i < n // 2 else "test",
            "source": f"photo{i}",
        }
        for i in range(n)
    ]


def make_features(n: int = N, dtype: str = "float32") -> NDArray[Any]:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, D)) + 0.8 * (np.arange(n) % 2)[:, None]).astype(dtype)


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", make_features())
    write_csv(tmp_path / "rows.csv", make_rows())
    return tmp_path


def read_back(store: FeatureStore, name: str) -> dict[str, NDArray[Any]]:
    key = store.find(name)
    ids = sorted(store.samples(key))
    by_id = dict(zip(ids, store.read(key, ids), strict=True))
    return {s.path: by_id[s.sample_id] for s in load_manifests(store.root)}


def test_same_ap_as_scikit_learn(folder: Path, featcache: Callable[..., Any]) -> None:
    store = folder / "store"
    done = featcache("cache", "import-features", folder / "x.npy", "--rows", folder / "rows.csv",
                     "--name", "theirs", "--cache", store, "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["feature"] == "theirs#foreign"
    assert done.json["n_written"] == N
    ran = featcache("probe", "--features", "theirs", "--cache", store, "--json")
    assert ran.code == 0, ran.err
    X, y = make_features().astype(np.float64), np.arange(N) % 2
    train = np.arange(N) < N // 2
    # our penalty counts the mean loss, scikit-learn's the sum: C = 1 is the same C
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000))
    score = model.fit(X[train], y[train]).decision_function(X[~train])
    expected = average_precision_score(y[~train], score)
    assert ran.json["generators"]["progan"]["ap"] == pytest.approx(expected, abs=1e-9)
    assert ran.json["features"] == ["theirs#foreign"]
    assert any("another program" in note for note in ran.json["notes"])
    shown = featcache("cache", "ls", "--cache", store)
    assert "theirs#foreign" in shown.out
    table = featcache("probe", "--features", "theirs", "--cache", store)
    assert "theirs#foreign" in table.out


@pytest.mark.parametrize(
    "form",
    ["npy", "npz", "pt", "pt-dict", "pt-bf16", "safetensors", "parquet", "arrow", "stream", "f64"],
)
def test_forms_give_the_same_rows(folder: Path, form: str) -> None:
    X = make_features()
    path = folder / f"y.{form.split('-')[0]}"
    if form == "npz":
        np.savez(path, feats=X, ids=np.array([row["id"] for row in make_rows()]))
    elif form == "pt":
        torch.save(torch.from_numpy(X), path)
    elif form == "pt-dict":
        torch.save({"feats": torch.from_numpy(X), "n": torch.tensor([1])}, path)
    elif form == "pt-bf16":
        torch.save(torch.from_numpy(X).to(torch.bfloat16), path)
        X = torch.from_numpy(X).to(torch.bfloat16).float().numpy()
    elif form == "safetensors":
        save_file({"feats": X}, path)
    elif form in ("parquet", "arrow", "stream"):
        table = pa.table({"emb": list(X), "id": [row["id"] for row in make_rows()]})
        if form == "parquet":
            pq.write_table(table, path, row_group_size=50)
        else:
            path = folder / "y.arrow"
            new = pa.ipc.new_file if form == "arrow" else pa.ipc.new_stream
            with pa.OSFile(str(path), "wb") as sink, new(sink, table.schema) as writer:
                writer.write_table(table)
    else:
        path = folder / "y.npy"
        np.save(path, np.asfortranarray(X.astype("float64")) if form == "f64" else X)
    store = FeatureStore(folder / "store")
    done = import_foreign(store, path, ForeignOptions(name="x", rows=folder / "rows.csv"))
    assert (done.n_rows, done.n_features, done.n_written) == (N, D, N)
    values = read_back(store, "x")
    for row, expected in zip(make_rows(), X, strict=True):
        np.testing.assert_array_equal(values[row["id"]], expected)


def test_float16_stays_and_is_half_the_bytes(folder: Path) -> None:
    np.save(folder / "h.npy", make_features(dtype="float16"))
    store = FeatureStore(folder / "store")
    done = import_foreign(
        store, folder / "h.npy", ForeignOptions(name="h", rows=folder / "rows.csv")
    )
    assert done.key.fields["dtype"] == "float16"
    assert store.index(done.key).entries[0].header.features.dtype == "<f2"


def test_delimiters_and_columns(folder: Path, featcache: Callable[..., Any]) -> None:
    rows = [{"Bild": r["id"], "Klasse": "echt" if r["label"] == "real" else "KI",
             "Teil": r["split"]} for r in make_rows()]  # fmt: skip
    table = write_csv(folder / "t.csv", rows, ";")
    done = featcache(
        *("cache", "import-features", folder / "x.npy", "--rows", table, "--name", "x"),
        *("--column", "path=Bild", "--column", "label=Klasse", "--column", "split=Teil"),
        *("--label", "echt=real", "--label", "KI=fake", "--cache", folder / "store", "--json"),
    )
    assert done.code == 0, done.err
    manifest = load_manifests(folder / "store")
    assert {(s.label, s.generator) for s in manifest} == {(0, "real"), (1, "t")}
    assert {s.split for s in manifest} == {"train", "test"}


def test_thingsvision_joins_by_path_with_own_features(
    extracted: tuple[Path, Path], tmp_path: Path, featcache: Callable[..., Any]
) -> None:
    tree, own = extracted
    images = sorted(p for p in tree.rglob("*") if p.suffix in (".png", ".jpg"))
    X = make_features(len(images))
    made = tmp_path / "tv"
    made.mkdir()
    np.save(made / "features.npy", X.reshape(len(X), D, 1, 1))
    (made / "file_names.txt").write_text("".join(f"{path}\n" for path in images))
    store = tmp_path / "store"
    assert featcache("datasets", "scan", tree, "--cache", store).code == 0
    done = featcache("cache", "import-features", made, "--name", "tv", "--cache", store, "--json")
    assert done.code == 0, done.err
    assert done.json["form"] == "thingsvision"
    assert done.json["dataset"] == ""  # the scan knows every label
    assert done.json["n_from_files"] == done.json["n_samples"]
    key = FeatureStore(own).find("efficientnet-lite0")
    ids = {s.sample_id for s in load_manifests(store)}
    assert FeatureStore(store).samples(FeatureStore(store).find("tv")) == ids
    assert ids <= FeatureStore(own).samples(key)  # they join with features of featcache's own


def test_table_beside_thingsvision_is_joined_by_name(folder: Path) -> None:
    made = folder / "tv"
    made.mkdir()
    X = make_features()
    torch.save(torch.from_numpy(X), made / "features.pt")
    names = [row["id"] for row in make_rows()]
    (made / "file_names.txt").write_text("\n".join(names) + "\n")
    write_csv(folder / "shuffled.csv", make_rows()[::-1])
    store = FeatureStore(folder / "store")
    import_foreign(store, made, ForeignOptions(name="x", rows=folder / "shuffled.csv"))
    values = read_back(store, "x")
    for name, expected in zip(names, X, strict=True):
        np.testing.assert_array_equal(values[name], expected)
    write_csv(folder / "short.csv", make_rows()[:-1])
    with pytest.raises(DataError, match=r"no row for 1 of 240 vectors .first: 'img0239'"):
        import_foreign(store, made, ForeignOptions(name="x", rows=folder / "short.csv"))


def test_clip_retrieval(folder: Path) -> None:
    made, X, rows = folder / "cr", make_features(), make_rows()
    (made / "img_emb").mkdir(parents=True)
    (made / "metadata").mkdir()
    for number, part in enumerate(np.split(np.arange(N), 12)):  # 10 and 11 stand behind 2
        np.save(made / "img_emb" / f"img_emb_{number}.npy", X[part])
        table = [{"image_path": rows[i]["id"], "caption": "a cat", **rows[i]} for i in part]
        pq.write_table(
            pa.Table.from_pylist(table), made / "metadata" / f"metadata_{number}.parquet"
        )
    store = FeatureStore(folder / "store")
    done = import_foreign(store, made, ForeignOptions(name="x"))
    assert done.form == "clip-retrieval"
    values = read_back(store, "x")
    for row, expected in zip(rows, X, strict=True):
        np.testing.assert_array_equal(values[row["id"]], expected)


def test_clip_benchmark(folder: Path) -> None:
    made, X, y = folder / "cb", make_features(), torch.arange(N) % 2
    made.mkdir()
    for split, part in (("train", slice(0, 120)), ("val", slice(120, N))):
        torch.save(torch.from_numpy(X[part]), made / f"features_{split}.pt")
        torch.save(y[part], made / f"targets_{split}.pt")
    store = FeatureStore(folder / "store")
    done = import_foreign(store, made, ForeignOptions(name="x"))
    assert any("0 = real, 1 = fake" in note for note in done.notes)
    values = read_back(store, "x")
    np.testing.assert_array_equal(values["val/7"], X[127])
    manifest = list(load_manifests(store.root))
    assert {(s.path.split("/")[0], s.split) for s in manifest} == {("train", "train"),
                                                                  ("val", "test")}  # fmt: skip


def test_refusals_leave_the_store_as_it_was(folder: Path) -> None:
    store = FeatureStore(folder / "store")
    rows = make_rows()

    def refuses(error: type[Exception], match: str, X: NDArray[Any], table: list[Any]) -> None:
        np.save(folder / "bad.npy", X)
        options = ForeignOptions(name="x", rows=write_csv(folder / "bad.csv", table))
        with pytest.raises(error, match=match):
            import_foreign(store, folder / "bad.npy", options)
        assert not store.root.exists()

    X = make_features()
    bad = X.copy()
    bad[7, 2] = np.nan
    bad[9, 1] = np.inf
    refuses(DataError, "2 of 240 rows hold NaN or infinite.*row 7, 'img0007'", bad, rows)
    refuses(DataError, "beyond float32", X.astype("float64") * 1e300, rows)
    refuses(DataError, "239 rows and .* 240 feature vectors", X, rows[:-1])
    both = [dict(row) for row in rows]
    both[5]["id"] = both[4]["id"]
    refuses(DataError, "'img0004' is fake here and real in .*line 6", X, both)
    same = [dict(row) for row in rows]
    same[6]["id"] = same[4]["id"]
    refuses(DataError, "the same image .* different features", X, same)
    refuses(DataError, "several|one vector for each image", X.reshape(N, 2, 3), rows)
    refuses(DataError, "no label", X, [{"id": row["id"]} for row in rows])
    refuses(DataError, "numbers", X.astype("U8"), rows)


def test_repeated_rows_of_one_image_count_once(folder: Path) -> None:
    X, rows = make_features(), make_rows()
    X[6], rows[6]["id"] = X[4] * 1.001, rows[4]["id"]
    np.save(folder / "r.npy", X)
    table = write_csv(folder / "r.csv", rows)
    store = FeatureStore(folder / "store")
    done = import_foreign(store, folder / "r.npy", ForeignOptions(name="x", rows=table))
    assert (done.n_rows, done.n_samples) == (N, N - 1)
    np.testing.assert_array_equal(read_back(store, "x")["img0004"], X[4])


def test_import_again_adds_nothing_and_other_values_are_refused(folder: Path) -> None:
    store = FeatureStore(folder / "store")
    options = ForeignOptions(name="x", rows=folder / "rows.csv")
    import_foreign(store, folder / "x.npy", options)
    before = sorted(path.name for path in store.root.rglob("*.h5"))
    again = import_foreign(FeatureStore(store.root), folder / "x.npy", options)
    assert (again.n_written, again.n_known) == (0, N)
    assert sorted(path.name for path in store.root.rglob("*.h5")) == before
    np.save(folder / "other.npy", make_features() + 1)
    with pytest.raises(DataError, match="other values of 'x#foreign'"):
        import_foreign(FeatureStore(store.root), folder / "other.npy", options)
    np.save(folder / "wide.npy", np.ones((N, D + 1), np.float32))
    with pytest.raises(DataError, match="6 columns of float32"):
        import_foreign(FeatureStore(store.root), folder / "wide.npy", options)


def test_train_and_test_in_two_imports(folder: Path) -> None:
    X, rows = make_features(), make_rows()
    store = FeatureStore(folder / "store")
    for name, part in (("a", slice(0, 120)), ("b", slice(120, N))):
        np.save(folder / f"{name}.npy", X[part])
        table = write_csv(folder / f"{name}.csv", rows[part])
        import_foreign(store, folder / f"{name}.npy",
                       ForeignOptions(name="x", rows=table, dataset="mine"))  # fmt: skip
    assert len(load_manifests(store.root, ["mine"])) == N
    assert len(store.samples(store.find("x"))) == N


def test_names_of_own_backbones_are_refused(folder: Path) -> None:
    for name in ("clip", "efficientnet-lite0", "a/b", "x@layer3"):
        with pytest.raises(SettingsError, match="--name"):
            import_foreign(FeatureStore(folder / "store"), folder / "x.npy",
                           ForeignOptions(name=name, rows=folder / "rows.csv"))  # fmt: skip


def test_pickles_are_not_run(folder: Path, tmp_path: Path) -> None:
    torch.save({"x": object()}, folder / "evil.pt")
    np.save(folder / "evil.npy", np.array([object()]), allow_pickle=True)
    for name in ("evil.pt", "evil.npy"):
        with pytest.raises(DataError, match=r"cannot be read|no file of plain tensors"):
            import_foreign(FeatureStore(folder / "store"), folder / name,
                           ForeignOptions(name="x", rows=folder / "rows.csv"))  # fmt: skip


def test_other_commands_say_that_they_cannot_compute_them(
    folder: Path, featcache: Callable[..., Any]
) -> None:
    store = folder / "store"
    import_foreign(FeatureStore(store), folder / "x.npy",
                   ForeignOptions(name="x", rows=folder / "rows.csv"))  # fmt: skip
    head = folder / "head.safetensors"
    ran = featcache("probe", "--features", "x", "--cache", store, "--save", head)
    assert ran.code == 0, ran.err
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    scored = featcache("score", folder / "a.png", "--head", head)
    assert scored.code == 2
    assert "made by another program" in scored.err
    extract = featcache("extract", "--backbone", "x#foreign", "--data", folder)
    assert "made by another program" in extract.err
    with pytest.raises(MissingFeaturesError):
        FeatureStore(store).find("y")


def test_progress_and_json_are_apart(folder: Path, featcache: Callable[..., Any]) -> None:
    done = featcache("cache", "import-features", folder / "x.npy", "--rows", folder / "rows.csv",
                     "--name", "x", "--cache", folder / "store", "--json")  # fmt: skip
    document = json.loads(done.out)
    assert {"feature", "key", "dataset", "n_rows", "notes"} <= document.keys()
    assert any("derived from the data set's name 'rows'" in note for note in document["notes"])
