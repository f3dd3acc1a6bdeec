"""Archives, tables and lists in the forms of public data sets: read, or refused in words."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from featcache.datasets import ScanOptions, archives, read_bytes, scan
from featcache.datasets.evidence import LabelMap
from featcache.datasets.scan import Scan
from featcache.errors import DataError

RNG = np.random.default_rng(5)
NAMES = {"label": {"names": ["FAKE", "REAL"], "_type": "ClassLabel"}}


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 255, (16, 16, 3)).astype("u1")).save(buffer, "PNG")
    return buffer.getvalue()


def tree() -> dict[str, bytes]:
    """Return a tree of two generators, two splits and one image of each class."""
    return {
        f"{split}/{generator}/{word}/0.png": png()
        for split in ("train", "test")
        for generator in ("flux", "sdxl")
        for word in ("0_real", "1_fake")
    }


def read(root: Path) -> Scan:
    return scan(root, ScanOptions(workers=1))


def rows(result: Scan) -> Counter[tuple[str, str, int]]:
    """Count samples by generator that they are of, split and label."""
    return Counter((s.paired_with, s.split, s.label) for s in result.manifest)


TREE = Counter({(g, s, y): 1 for g in ("flux", "sdxl") for s in ("train", "test") for y in (0, 1)})


# -- archives ---------------------------------------------------------------------------------


def write_tar(
    path: Path, mode: Literal["w", "w:gz", "w:xz", "w:bz2"], files: dict[str, bytes]
) -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [(".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.xz", "w:xz"), (".tar.bz2", "w:bz2")],
)
@pytest.mark.parametrize("is_root", [True, False])
def test_compressed_tars_are_read_like_plain_ones(
    suffix: str, mode: Literal["w:gz", "w:xz", "w:bz2"], is_root: bool, tmp_path: Path
) -> None:
    files = tree()
    path = write_tar(tmp_path / f"set{suffix}", mode, files)
    result = read(path if is_root else tmp_path)
    assert rows(result) == TREE
    assert {read_bytes(sample.path) for sample in result.manifest} == set(files.values())
    if is_root:
        assert {sample.dataset for sample in result.manifest} == {"set"}


def test_a_compressed_tar_beside_its_folder_is_a_copy(tmp_path: Path) -> None:
    for name, data in tree().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    write_tar(tmp_path / "train.tar.gz", "w:gz", {"flux/0_real/9.png": png()})
    result = read(tmp_path)
    assert rows(result) == TREE
    assert result.skipped == {"archive beside the unpacked folder of its name": 1}


def test_a_tar_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "RATIO_FROM_BYTES", 1000)
    path = write_tar(tmp_path / "bomb.tar.gz", "w:gz", {"a/0_real/0.png": b"\0" * 10_000_000})
    with pytest.raises(DataError, match="unpacks to more than 1,000 times its size"):
        read(path)


def test_a_tar_for_which_there_is_no_room_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 1 << 62)
    with pytest.raises(DataError, match=r"no room .*unpack it yourself.*TMPDIR"):
        read(write_tar(tmp_path / "set.tar.xz", "w:xz", tree()))


@pytest.mark.parametrize("damage", ["cut", "no gzip"])
def test_damaged_compressed_tars_are_named(damage: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set.tar.gz", "w:gz", tree())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"no archive" * 9)
    with pytest.raises(DataError, match=r"is no readable tar\.gz file"):
        read(path)


def test_zip64(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", allowZip64=True) as archive:
        for name, data in tree().items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    assert rows(read(tmp_path / "set.zip")) == TREE


VOLUMES = (
    *(
        "a.zip.001",
        "a.zip.002",
        "b.part1.rar",
        "c.7z",
        "d.rar",
        "d.r00",
        "e.tar.zst",
        "f.tar.gz.01",
    ),
)


@pytest.mark.parametrize("name", VOLUMES)
def test_archives_that_are_not_read_are_counted_with_what_to_do(name: str, tmp_path: Path) -> None:
    for path, data in tree().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / name).write_bytes(b"x")
    result = read(tmp_path)
    assert rows(result) == TREE
    assert result.skipped == {"archive of a kind that is not read in place (unpack it)": 1}
    assert any(name in note and "7z x" in note for note in result.notes)
    with pytest.raises(DataError, match=r"not read in place\. Unpack it"):
        read(tmp_path / name)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / name).write_bytes(b"x")
    with pytest.raises(DataError, match=rf"{name}\. If their images"):
        read(alone)


def test_a_split_zip_is_no_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        [archive.writestr(name, data) for name, data in tree().items()]
    data = (tmp_path / "set.zip").read_bytes()
    (tmp_path / "set.z01").write_bytes(data[:2000])
    (tmp_path / "set.zip").write_bytes(data[2000:])
    with pytest.raises(DataError, match=r"last volume of a split archive\. Join"):
        read(tmp_path / "set.zip")
    (tmp_path / "test/g/0_real").mkdir(parents=True)
    (tmp_path / "test/g/0_real/0.png").write_bytes(png())
    result = read(tmp_path)
    assert rows(result) == Counter({("g", "test", 0): 1})
    assert result.skipped["volume of a split archive (join the volumes and unpack them)"] == 1


# -- tables -----------------------------------------------------------------------------------


def table(labels: list[int], paths: list[str] | None = None) -> pa.Table:
    """Return a table as the library ``datasets`` makes it; class 0 is FAKE."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells: list[dict[str, Any]] = [{"bytes": png(), "path": None} for _ in labels]
    if paths is not None:
        cells = [{"bytes": None, "path": path} for path in paths]
    metadata = json.dumps({"info": {"features": NAMES}}).encode()
    return pa.table({"image": pa.array(cells, kind), "label": labels}).replace_schema_metadata(
        {b"huggingface": metadata}
    )


def write_arrow(path: Path, content: pa.Table, is_stream: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = pa.ipc.new_stream if is_stream else pa.ipc.new_file
    with new(str(path), content.schema) as writer:
        writer.write_table(content, max_chunksize=2)


def save_to_disk(folder: Path, labels: list[int]) -> None:
    """Write what ``Dataset.save_to_disk`` writes (datasets 5.2)."""
    write_arrow(folder / "data-00000-of-00001.arrow", table(labels))
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": NAMES}))


def test_saved_data_sets(tmp_path: Path) -> None:
    root = tmp_path / "cifake"
    save_to_disk(root / "train", [0, 0, 1, 1, 0])
    save_to_disk(root / "test", [0, 1, 1])
    write_arrow(root / "test" / "cache-0123.arrow", table([1, 1]))
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    result = read(root)
    expected = {("cifake", "train", 1): 3, ("*", "train", 0): 2}
    assert rows(result) == Counter(expected | {("cifake", "test", 1): 1, ("*", "test", 0): 2})
    assert result.skipped["Arrow file of the library's own cache, not of the data set"] == 1
    assert all(read_bytes(s.path).startswith(b"\x89PNG") for s in result.manifest)
    assert {s.dataset for s in read(root / "train").manifest} == {"cifake-train"}


@pytest.mark.parametrize("is_stream", [True, False])
def test_arrow_files_of_both_forms(is_stream: bool, tmp_path: Path) -> None:
    write_arrow(tmp_path / "set" / "faces-test.arrow", table([0, 1, 1]), is_stream)
    result = read(tmp_path / "set")
    assert rows(result) == Counter({("faces", "test", 1): 1, ("*", "test", 0): 2})


def test_the_librarys_cache_names_images_by_path(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    [path.write_bytes(png()) for path in paths]
    folder = tmp_path / "me___faces" / "default" / "0.0.0" / ("0a" * 20)
    write_arrow(folder / "faces-train.arrow", table([0, 1], list(map(str, paths))))
    for root in (tmp_path / "me___faces", folder):
        result = read(root)
        assert rows(result) == Counter({("faces", "train", 1): 1, ("*", "train", 0): 1})
        assert {s.dataset for s in result.manifest} == {"faces"}
        assert not any(s.problem for s in result.manifest)


def test_a_damaged_arrow_file_is_named(tmp_path: Path) -> None:
    write_arrow(tmp_path / "set-test.arrow", table([0, 1, 1]))
    data = bytearray((tmp_path / "set-test.arrow").read_bytes())
    for end in (len(data) // 3, len(data) // 2):
        (tmp_path / "set-test.arrow").write_bytes(data[:end])
        with pytest.raises(DataError, match="is no readable arrow file"):
            read(tmp_path / "set-test.arrow")


def test_a_table_without_images_beside_a_tree_is_counted(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    for path, data in tree().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    pq.write_table(pa.table({"prompt": ["a cat"]}), tmp_path / "prompts.parquet")
    result = read(tmp_path)
    assert rows(result) == TREE
    assert result.skipped == {"table without a column of images": 1}


def hub(root: Path, name: str, files: dict[str, bytes], commit: str, is_main: bool = True) -> Path:
    """Add a snapshot to a cache of the Hub: links into blobs that are called by their digests."""
    base = root / f"datasets--me--{name}"
    for part in ("blobs", "refs"):
        (base / part).mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        blob = base / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        link = base / "snapshots" / commit / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if is_main:
        (base / "refs" / "main").write_text(commit)
    return base


def parquet(labels: list[int]) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table(labels), buffer)
    return buffer.getvalue()


def test_snapshots_of_the_hub_are_named_by_the_data_set(tmp_path: Path) -> None:
    files = {"data/train-00000-of-00001.parquet": parquet([0, 0, 1])}
    hub(tmp_path, "faces", files, "ab" * 20)
    files["data/test-00000-of-00001.parquet"] = parquet([0, 1])
    base = hub(tmp_path, "faces", files, "cd" * 20)
    snapshot = base / "snapshots" / ("cd" * 20)
    train = Counter({("faces", "train", 1): 2, ("*", "train", 0): 1})
    both = train + Counter({("faces", "test", 1): 1, ("*", "test", 0): 1})
    for root in (tmp_path, base, snapshot, snapshot / "data"):
        assert rows(read(root)) == both
    shard = snapshot / "data" / "train-00000-of-00001.parquet"
    assert rows(read(shard)) == train
    for root in (base, snapshot, snapshot / "data", shard):
        assert {sample.dataset for sample in read(root).manifest} == {"faces"}
    assert read(base).skipped == {"older snapshot of a data set of the Hub": 1}


def test_a_tree_in_the_hub_and_snapshots_that_nothing_names(tmp_path: Path) -> None:
    base = hub(tmp_path, "set", tree(), "ab" * 20)
    assert rows(read(base)) == TREE
    hub(tmp_path, "set", tree(), "cd" * 20)
    (base / "refs" / "main").unlink()
    with pytest.raises(DataError, match="2 snapshots, and refs/main names none"):
        read(base)


# -- lists ------------------------------------------------------------------------------------


NESTED = json.dumps(
    {
        "train": [{"path": "x/0.png", "label": "real"}],
        "test": [{"path": "x/1.png", "label": "fake"}],
    }
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"real": ["x/0.png"], "fake": ["x/1.png"]}'),
        ("b.json", NESTED),
        ("c.txt", "x/0.png,real\nx/1.png,fake\n"),
        ("d.txt", '"x/0.png" real\n"x/1.png" fake\n'),
        ("e.txt", "x\\0.png;real\r\nx\\1.png;fake\r\n"),
        ("f.csv", "filename|label\nx/0.png|real\nx/1.png|fake\n"),
        ("g.csv", "filename;caption;label\nx/0.png;a, b, c;real\nx/1.png;d, e;fake\n"),
    ],
)  # fmt: skip
def test_lists_of_further_forms(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for i in range(2):
        (tmp_path / "x" / f"{i}.png").write_bytes(png())
    (tmp_path / name).write_text(text)
    result = read(tmp_path / name)
    assert [sample.label for sample in result.manifest] == [0, 1]
    assert not any(sample.problem for sample in result.manifest)
    if name == "b.json":
        assert [sample.split for sample in result.manifest] == ["train", "test"]


def test_splits_that_are_no_splits_are_named(tmp_path: Path) -> None:
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(png())
    (tmp_path / "l.csv").write_text("path,label,split\n0.png,real,holdout\n1.png,fake,eval\n")
    notes = read(tmp_path / "l.csv").notes
    assert any("'holdout', 'eval', which is neither train" in note for note in notes)


@pytest.mark.parametrize("name", ["faces_train.csv", "faces-train.csv", "train.csv"])
def test_the_name_of_a_list_says_its_split(name: str, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png())
    (tmp_path / name).write_text("path,label\n0.png,fake\n")
    assert [sample.split for sample in read(tmp_path / name).manifest] == ["train"]


def test_gzip_of_a_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.csv.gz").write_bytes(gzip.compress(b"path,label\n"))
    with pytest.raises(DataError, match="Unpack it"):
        read(tmp_path / "l.csv.gz")


# -- data sets of the Hub and of Kaggle ---------------------------------------------------------


def hub_table(path: Path, columns: dict[str, Any], names: dict[str, list[str]]) -> Path:
    """Write a Parquet file whose ``ClassLabel`` columns have these names."""
    import pyarrow.parquet as pq

    features = {key: {"names": value, "_type": "ClassLabel"} for key, value in names.items()}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    n = len(next(iter(columns.values())))
    images = pa.array([{"bytes": png(), "path": None} for _ in range(n)], kind)
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, **columns}).replace_schema_metadata(metadata), path)
    return path


def test_class_numbers_of_generators_have_names(tmp_path: Path) -> None:
    """The form of AIGIBench on the Hub: label and generator are both ``ClassLabel``."""
    columns = {"label": [0, 1, 1], "generator": [0, 1, 2]}
    names = {"label": ["real", "fake"], "generator": ["Real", "ProGAN", "SD14"]}
    hub_table(tmp_path / "set" / "train-00000-of-00001.parquet", columns, names)
    expected = {("*", "train", 0): 1, ("ProGAN", "train", 1): 1, ("SD14", "train", 1): 1}
    assert rows(read(tmp_path / "set")) == Counter(expected)


def test_classes_that_are_generators(tmp_path: Path) -> None:
    """The form of SuSy on the Hub: one class for each source of images."""
    path = tmp_path / "susy" / "test-00000-of-00001.parquet"
    hub_table(path, {"label": [0, 1, 2]}, {"label": ["coco", "dalle3", "sdxl"]})
    with pytest.raises(DataError, match=r"'coco'.*--label coco=real"):
        read(path.parent)
    labels = {"coco": "real", "dalle3": "fake", "sdxl": "fake"}
    result = scan(path.parent, ScanOptions(mapping=LabelMap(labels=labels), workers=1))
    expected = {("*", "test", 0): 1, ("dalle3", "test", 1): 1, ("sdxl", "test", 1): 1}
    assert rows(result) == Counter(expected)
    assert any("dalle3, sdxl" in note and "names of generators" in note for note in result.notes)


def test_open_fakes_columns(tmp_path: Path) -> None:
    """The features of OpenFake's card: label and model are text."""
    columns = {
        "prompt": ["a", "b", "c"],
        "label": ["real", "fake", "fake"],
        "model": ["real", "flux.1-dev", "sd-3.5"],
        "type": ["real", "base", "lora"],
    }
    hub_table(tmp_path / "OpenFake" / "core" / "test-00000-of-00009.parquet", columns, {})
    expected = {("*", "test", 0): 1, ("flux.1-dev", "test", 1): 1, ("sd-3.5", "test", 1): 1}
    assert rows(read(tmp_path / "OpenFake")) == Counter(expected)


def plant(root: Path, paths: list[str]) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(png())
    return root


@pytest.mark.parametrize(
    ("name", "paths", "expected"),
    [
        (
            "cifake",
            ["train/REAL/1.jpg", "train/FAKE/1.jpg", "test/REAL/1.jpg", "test/FAKE/1.jpg"],
            {("cifake", split, label): 1 for split in ("train", "test") for label in (0, 1)},
        ),
        (
            "faces140k",
            [
                f"real_vs_fake/real-vs-fake/{split}/{word}/1.jpg"
                for split in ("train", "valid", "test")
                for word in ("real", "fake")
            ],
            {
                ("real_vs_fake", split, label): 1
                for split in ("train", "val", "test")
                for label in (0, 1)
            },
        ),
        (
            "tiny-genimage",
            [
                f"{generator}/{split}/{word}/1.png"
                for generator in ("imagenet_ai_0508_adm", "imagenet_glide")
                for split in ("train", "val")
                for word in ("ai", "nature")
            ],
            {
                (generator, split, label): 1
                for generator in ("adm", "glide")
                for split in ("train", "test")
                for label in (0, 1)
            },
        ),
        (
            "Chameleon",
            ["test/0_real/1.jpg", "test/1_fake/1.jpg"],
            {("Chameleon", "test", 0): 1, ("Chameleon", "test", 1): 1},
        ),
    ],
)
def test_published_trees(
    name: str, paths: list[str], expected: dict[tuple[str, str, int], int], tmp_path: Path
) -> None:
    assert rows(read(plant(tmp_path / name, paths))) == Counter(expected)


def test_artifact(tmp_path: Path) -> None:
    paths = [
        *("big_gan/big/biggan-data/0/1.jpg", "cips/cips-ffhq/1.jpg", "glide/x/text2img/1.jpg"),
        *("coco/coco2017/1.jpg", "afhq/afhq/afhq_v2/1.jpg", "cycle_gan/a/apple2orange/1.jpg"),
    ]
    result = read(plant(tmp_path / "ArtiFact", paths))
    labels = Counter((s.paired_with, s.label) for s in result.manifest)
    assert labels == Counter({("*", 0): 2, ("big_gan", 1): 1, ("cips", 1): 1, ("glide", 1): 1})
    assert any("cycle_gan" in note for note in result.notes)


def test_a_tree_of_which_one_class_is_read_says_so(tmp_path: Path) -> None:
    result = read(plant(tmp_path / "bench", ["coco/1.jpg", "flux-x/1.jpg"]))
    assert any("Only reals were read" in note and "--label" in note for note in result.notes)
