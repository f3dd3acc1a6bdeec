"""Miniature trees of every layout: counts, labels, generators, categories, splits, odd names."""

from __future__ import annotations

import io
import itertools
import json
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcache.datasets import Scan, ScanOptions, count_rows, expand, read_bytes, scan
from featcache.datasets.layouts import load_layouts, named_set
from featcache.datasets.template import compile_template
from featcache.errors import DataError, UnknownNameError
from featcache.files import digest_bytes

Call = Callable[..., Any]
_numbers = itertools.count()


def picture(kind: str = "PNG") -> bytes:
    """Return a small image file that is like no other."""
    rng = np.random.default_rng(next(_numbers))
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def plant(root: Path, paths: Iterable[str]) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(picture())
    return root


def read(root: Path, **options: Any) -> Scan:
    return scan(root, ScanOptions(**options))


def cells(result: Scan) -> dict[tuple[str, str, str, int], int]:
    """Count the samples by generator that they serve, split, category and label."""
    return dict(
        Counter((s.paired_with, s.split, s.category, s.label) for s in expand(result.manifest))
    )


CASES: dict[str, tuple[str, list[str], dict[tuple[str, str, str, int], int]]] = {
    "forensynths-train": (
        "progan_train",
        ["airplane/0_real/1.png", "airplane/1_fake/2.png", "horse/1_fake/3.png"],
        {
            ("progan", "train", "airplane", 0): 1,
            ("progan", "train", "airplane", 1): 1,
            ("progan", "train", "horse", 1): 1,
        },
    ),
    "forensynths-val-below": (
        "x",
        ["progan_val/cat/0_real/1.png", "progan_val/cat/1_fake/2.png"],
        {("progan", "val", "cat", 0): 1, ("progan", "val", "cat", 1): 1},
    ),
    "forensynths-test": (
        "CNN_synth",
        [
            "progan/cat/0_real/1.png",
            "progan/dog/1_fake/2.png",
            "biggan/0_real/3.png",
            "crn/1_fake/4.png",
            "seeingdark/1_fake/5.png",
            "cyclegan/horse/1_fake/6.png",
        ],
        {
            ("progan", "test", "cat", 0): 1,
            ("progan", "test", "dog", 1): 1,
            ("biggan", "test", "", 0): 1,
            ("crn", "test", "", 1): 1,
            ("sitd", "test", "", 1): 1,
            ("cyclegan", "test", "horse", 1): 1,
        },
    ),
    "univfd": (
        "datasets",
        [
            "train/progan/car/0_real/1.png",
            "train/progan/car/1_fake/2.png",
            "test/progan/car/0_real/3.png",
            "test/progan/car/1_fake/4.png",
            "test/seeingdark/0_real/5.png",
            "diffusion_datasets/imagenet/0_real/6.png",
            "diffusion_datasets/guided/1_fake/7.png",
            "diffusion_datasets/laion/0_real/8.png",
            "diffusion_datasets/ldm_200/1_fake/9.png",
            "diffusion_datasets/dalle/1_fake/a.png",
        ],
        {
            ("progan", "train", "car", 0): 1,
            ("progan", "train", "car", 1): 1,
            ("progan", "test", "car", 0): 1,
            ("progan", "test", "car", 1): 1,
            ("sitd", "test", "", 0): 1,
            ("guided", "test", "", 0): 1,
            ("guided", "test", "", 1): 1,
            ("ldm_200", "test", "", 0): 1,
            ("ldm_200", "test", "", 1): 1,
            ("dalle", "test", "", 0): 1,
            ("dalle", "test", "", 1): 1,
        },
    ),
    "rine": (
        "data",
        [
            "train/horse/0_real/1.png",
            "val/horse/1_fake/2.png",
            "test/laion/0_real/3.png",
            "test/glide_50_27/1_fake/4.png",
            "test/stylegan/bedroom/1_fake/5.png",
        ],
        {
            ("progan", "train", "horse", 0): 1,
            ("progan", "val", "horse", 1): 1,
            ("glide_50_27", "test", "", 0): 1,
            ("glide_50_27", "test", "", 1): 1,
            ("stylegan", "test", "bedroom", 1): 1,
        },
    ),
    "aigc": (
        "AIGC",
        [
            "ADM/0_real/1.png",
            "Glide/1_fake/2.png",
            "DALLE2/1_fake/3.png",
            "wukong/0_real/4.png",
            "progan/cat/1_fake/5.png",
        ],
        {
            ("ADM", "test", "", 0): 1,
            ("Glide", "test", "", 1): 1,
            ("DALLE2", "test", "", 1): 1,
            ("wukong", "test", "", 0): 1,
            ("progan", "test", "cat", 1): 1,
        },
    ),
    "genimage-readme": (
        "GenImage",
        [
            "Stable Diffusion V1.4/train/ai/1.png",
            "Stable Diffusion V1.4/train/nature/2.png",
            "ADM/val/ai/3.png",
            "Wukong/val/nature/4.png",
        ],
        {
            ("stable_diffusion_v_1_4", "train", "", 1): 1,
            ("stable_diffusion_v_1_4", "train", "", 0): 1,
            ("ADM", "test", "", 1): 1,
            ("wukong", "test", "", 0): 1,
        },
    ),
    "genimage-unzipped": (
        "GenImage",
        [
            "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4/train/ai/1.png",
            "Midjourney/imagenet_midjourney/val/nature/2.png",
            "BigGAN/imagenet_ai_0419_biggan/val/ai/3.png",
        ],
        {
            ("stable_diffusion_v_1_4", "train", "", 1): 1,
            ("Midjourney", "test", "", 0): 1,
            ("BigGAN", "test", "", 1): 1,
        },
    ),
    "synthbuster": (
        "sets",
        [
            "synthbuster/dalle2/r1d1445b6t.png",
            "synthbuster/firefly/r1d1445b6t.png",
            "synthbuster/dalle2/prompts.txt",
            "synthbuster/real_RAISE_1k/r1d1445b6t.png",
        ],
        {
            ("dalle2", "test", "", 1): 1,
            ("firefly", "test", "", 1): 1,
            ("dalle2", "test", "", 0): 1,
            ("firefly", "test", "", 0): 1,
        },
    ),
    "dire": (
        "DiffusionForensics_raw",
        [
            "images/train/imagenet/real/1.png",
            "images/train/imagenet/adm/2.png",
            "images/test/lsun_bedroom/real/3.png",
            "images/test/lsun_bedroom/pndm/4.png",
            "images/test/lsun_bedroom/ldm/5.png",
            "recons/train/imagenet/real/1.png",
            "dire/train/imagenet/adm/2.png",
        ],
        {
            ("adm", "train", "imagenet", 0): 1,
            ("adm", "train", "imagenet", 1): 1,
            ("pndm", "test", "lsun_bedroom", 0): 1,
            ("ldm", "test", "lsun_bedroom", 0): 1,
            ("pndm", "test", "lsun_bedroom", 1): 1,
            ("ldm", "test", "lsun_bedroom", 1): 1,
        },
    ),
    "diffusion-forensics": (
        "DiffusionForensics",
        ["adm/0_real/1.png", "sdv2/lsun/1_fake/2.png"],
        {("adm", "test", "", 0): 1, ("sdv2", "test", "lsun", 1): 1},
    ),
    "gangen": (
        "sets",
        ["GANGen-Detection/AttGAN/0_real/1.png", "GANGen-Detection/SNGAN/1_fake/2.png"],
        {("AttGAN", "test", "", 0): 1, ("SNGAN", "test", "", 1): 1},
    ),
    "drct": (
        "sets",
        [
            "DRCT-2M/sdxl-turbo/train2017/000000000009.png",
            "DRCT-2M/sd-turbo/val2017/000000000139.png",
            "MSCOCO/train2017/000000000009.jpg",
            "MSCOCO/val2017/000000000139.jpg",
        ],
        {
            ("sdxl-turbo", "train", "", 1): 1,
            ("sdxl-turbo", "train", "", 0): 1,
            ("sd-turbo", "test", "", 1): 1,
            ("sd-turbo", "test", "", 0): 1,
        },
    ),
    "fatformer": (
        "FatFormer",
        [
            "train/car/0_real/1.png",
            "train/car/1_fake/2.png",
            "test/PNDM/1_fake/3.png",
            "test/progan/car/0_real/4.png",
        ],
        {
            ("progan", "train", "car", 0): 1,
            ("progan", "train", "car", 1): 1,
            ("PNDM", "test", "", 1): 1,
            ("progan", "test", "car", 0): 1,
        },
    ),
    "elsa": (
        "extras",
        ["elsa_data/0_real/7-real.png", "elsa_data/1_fake/7-fake.png", "ffhq_test/1_fake/1.png"],
        {("elsa", "test", "", 0): 1, ("elsa", "test", "", 1): 1, ("ffhq", "test", "", 1): 1},
    ),
    "ldm-train": (
        "latent_diffusion_trainingset",
        ["train/ffhq/1.png", "valid/lsun/2.png"],
        {("ldm", "train", "ffhq", 1): 1, ("ldm", "val", "lsun", 1): 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_layout(tmp_path: Path, case: str) -> None:
    name, paths, expected = CASES[case]
    assert cells(read(plant(tmp_path / name, paths))) == expected


def test_plain_folders_and_community_forensics(tmp_path: Path) -> None:
    plant(tmp_path / "mine", ["real/1.png", "fake/2.png"])
    result = {(s.paired_with, s.label) for s in read(tmp_path / "mine").manifest}
    assert result == {("mine", 0), ("mine", 1)}
    plant(tmp_path / "cf", ["PixArt/real/1.png", "PixArt/fake/2.png", "Kandinsky/fake/3.png"])
    result = {(s.paired_with, s.label) for s in read(tmp_path / "cf").manifest}
    assert result == {("PixArt", 0), ("PixArt", 1), ("Kandinsky", 1)}


def test_pairs_of_one_photograph_have_one_source(tmp_path: Path) -> None:
    for case in ("synthbuster", "elsa", "drct"):
        name, paths, _ = CASES[case]
        manifest = read(plant(tmp_path / name, paths)).manifest
        sources: dict[str, set[int]] = {}
        for sample in manifest:
            sources.setdefault(sample.source, set()).add(sample.label)
        assert {0, 1} in sources.values(), case


def test_shared_reals_are_one_row_on_disk_and_one_for_each_generator_in_use(tmp_path: Path) -> None:
    name, paths, _ = CASES["univfd"]
    result = read(plant(tmp_path / name, paths))
    (laion,) = [s for s in result.manifest if "laion" in s.path]
    assert laion.paired_with.count("|") == 6
    assert {s.paired_with for s in expand(result.manifest) if "laion" in s.path} == {
        "ldm_200",
        "dalle",
    }
    assert "shared by several generators" in " ".join(result.notes)
    rows = {row["generator"]: row for row in count_rows(result.manifest)}
    assert (rows["dalle"]["n_real"], rows["dalle"]["group"]) == (1, "autoregressive")
    only = expand(result.manifest, ["dalle"])
    assert {s.paired_with for s in only if "laion" in s.path} == {"dalle"}


def test_laion_scanned_alone_serves_all_seven(tmp_path: Path) -> None:
    plant(tmp_path / "laion", ["0_real/1.png"])
    assert {s.paired_with for s in expand(read(tmp_path / "laion").manifest)} == set(
        named_set("univfd_laion")
    )


def test_odd_names_count_like_others(tmp_path: Path) -> None:
    root = tmp_path / "odd names"
    folder = root / "test" / "sd turbo" / "1_fake"
    plant(folder, ["UP.PNG", "a.b.png", "with space.png", "naïve-画.png", "deep/er.png", "none"])
    (folder / "w.webp").write_bytes(picture("WEBP"))
    (folder / "J.JPEG").write_bytes(picture("JPEG"))
    (folder / "called.data").write_bytes(picture())
    with open(os.fsencode(folder) + b"/caf\xe9.png", "wb") as file:
        file.write(picture())
    (tmp_path / "elsewhere.png").write_bytes(picture())
    (folder / "link.png").symlink_to(tmp_path / "elsewhere.png")
    plant(tmp_path / "far", ["1.png"])
    (folder / "linked-folder").symlink_to(tmp_path / "far")
    (folder / "notes.txt").write_text("no")
    (folder / ".hidden.png").write_bytes(picture())
    result = read(root)
    assert cells(result) == {("sd turbo", "test", "", 1): 12}
    assert {sample.problem for sample in result.manifest} == {""}
    assert result.skipped == {"no image (.txt)": 1, "hidden file": 1}


def test_images_in_folders_of_no_layout_are_said(tmp_path: Path) -> None:
    plant(tmp_path / "t", ["g/0_real/1.png", "g/1_fake/2.png", "g/other/3.png"])
    result = read(tmp_path / "t")
    assert result.skipped == {"image in a folder that the layout does not name": 1}
    assert "t/g/other" in " ".join(result.notes)


def test_an_unknown_tree_is_refused_with_what_was_found(tmp_path: Path) -> None:
    plant(tmp_path / "what", ["holiday/beach/1.png", "holiday/hills/2.png"])
    with pytest.raises(DataError) as caught:
        read(tmp_path / "what")
    for message in ("0_real and 1_fake", "holiday/beach/", "--layout", "genimage"):
        assert message in str(caught.value)
    (tmp_path / "x.txt").write_text("no list")
    with pytest.raises(DataError, match=r"or a list \(\.csv, \.tsv"):
        read(tmp_path / "x.txt")


def test_a_layout_can_be_forced(tmp_path: Path) -> None:
    root = plant(tmp_path / "toy", ["progan/cat/0_real/1.png", "biggan/1_fake/2.png"])
    assert {s.split for s in read(root, layout="forensynths-test").manifest} == {"test"}
    with pytest.raises(DataError, match=r"Expected .*imagenet_\*"):
        read(root, layout="genimage")
    with pytest.raises(UnknownNameError, match="Did you mean 'genimage'"):
        read(root, layout="genimag")


def test_the_first_class_folder_of_a_path_decides() -> None:
    template = compile_template("**/{generator}/{label}", {})
    assert template.match("g/1_fake/real") == {"generator": "g", "label": "1"}
    assert template.match("g/x") is None
    assert all(layout.summary for layout in load_layouts())


def as_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def as_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(("pack", "suffix"), [(as_zip, ".zip"), (as_tar, ".tar")])
@pytest.mark.parametrize("inside", [True, False])
def test_trees_in_archives_are_read_in_place(
    tmp_path: Path, pack: Callable[..., None], suffix: str, inside: bool
) -> None:
    files = {
        "train/progan/cat/0_real/a.png": picture(),
        "test/progan/1_fake/b.PNG": picture(),
        "__MACOSX/test/progan/1_fake/b.PNG": b"no",
    }
    root = tmp_path / "root"
    root.mkdir()
    pack(root / f"set{suffix}", files)
    result = read(root if inside else root / f"set{suffix}")
    assert cells(result) == {("progan", "train", "cat", 0): 1, ("progan", "test", "", 1): 1}
    data = {read_bytes(sample.path) for sample in result.manifest}
    assert data == {files["train/progan/cat/0_real/a.png"], files["test/progan/1_fake/b.PNG"]}
    assert all(digest_bytes(read_bytes(s.path)) == s.sample_id for s in result.manifest)
    again = scan(found_root(root, suffix, inside), ScanOptions(), known=result.manifest)
    assert again.manifest == result.manifest


def found_root(root: Path, suffix: str, inside: bool) -> Path:
    return root if inside else root / f"set{suffix}"


def test_webdataset_shards_are_labelled_by_their_side_files(tmp_path: Path) -> None:
    folder = tmp_path / "shards" / "train"
    folder.mkdir(parents=True)
    side = json.dumps({"label": 1, "generator": "flux", "category": "cat", "source": "p7"})
    as_tar(folder / "sd-000000.tar", {"0.jpg": picture("JPEG"), "0.cls": b"0",
                                      "1.jpg": picture("JPEG"), "1.cls": b"1"})  # fmt: skip
    as_tar(folder / "x-000001.tar", {"2.png": picture(), "2.json": side.encode()})
    result = read(tmp_path / "shards")
    assert cells(result) == {
        ("sd", "train", "", 0): 1,
        ("sd", "train", "", 1): 1,
        ("flux", "train", "cat", 1): 1,
    }
    assert [s.source for s in result.manifest if s.paired_with == "flux"] == ["p7"]


def parquet(path: Path, columns: dict[str, list[Any]], rows_per_group: int = 2) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    return path


def test_community_forensics_parquet(tmp_path: Path) -> None:
    images = [picture("JPEG") for _ in range(5)]
    path = parquet(tmp_path / "cf" / "data" / "train-00000-of-00002.parquet", {
        "image_name": list("abcde"), "image_data": images, "label": [1, 1, 0, 0, 1],
        "model_name": ["sdA", "sdB", "coco", "", "sdA"], "split": ["train"] * 5,
        "architecture": ["LatDiff"] * 5,
    })  # fmt: skip
    manifest = read(tmp_path / "cf").manifest
    result = Counter((s.paired_with, s.label) for s in expand(manifest))
    assert result == {("sdA", 1): 2, ("sdB", 1): 1, ("sdA", 0): 2, ("sdB", 0): 2}
    assert [read_bytes(s.path) for s in manifest] == images
    assert read(path).manifest.samples[0].sample_id == manifest.samples[0].sample_id


def test_hugging_face_images_and_elsa_columns(tmp_path: Path) -> None:
    images = [{"bytes": picture(), "path": f"{i}.png"} for i in range(4)]
    parquet(tmp_path / "hf" / "test.parquet", {"image": images, "label": [0, 1, 0, 1]})
    assert Counter((s.split, s.label) for s in read(tmp_path / "hf").manifest) == {
        ("test", 0): 2,
        ("test", 1): 2,
    }
    parquet(tmp_path / "elsa.parquet", {
        "id": ["a", "b"], "url": ["u", "u"], "image_gen0": images[:2], "image_gen2": images[2:],
        "model_gen0": ["sd14", "sd14"], "model_gen2": ["if", "if"],
    })  # fmt: skip
    manifest = read(tmp_path / "elsa.parquet").manifest
    assert Counter((s.paired_with, s.label) for s in manifest) == {("sd14", 1): 2, ("if", 1): 2}
    assert {s.source for s in manifest} == {"a", "b"}


def test_lists(tmp_path: Path) -> None:
    plant(tmp_path, ["i/1.png", "i/2.png", "i/3.png"])
    rows = [("i/1.png", "real", "", "train"), ("i/2.png", "fake", "flux", "train"),
            (str(tmp_path / "i" / "3.png"), "1", "sd", "test")]  # fmt: skip
    (tmp_path / "l.csv").write_text(
        "path,label,generator,split\n" + "".join(",".join(row) + "\n" for row in rows)
    )
    (tmp_path / "l.jsonl").write_text("".join(
        json.dumps(dict(zip(("image", "class", "model", "split"), row, strict=True))) + "\n"
        for row in rows
    ))  # fmt: skip
    names = ("filename", "label", "generator", "split")
    parquet(
        tmp_path / "l.parquet", dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    )
    for kind in ("csv", "jsonl", "parquet"):
        assert cells(read(tmp_path / f"l.{kind}")) == {
            ("flux", "train", "", 0): 1,
            ("flux", "train", "", 1): 1,
            ("sd", "test", "", 1): 1,
        }, kind


def test_grips_list_names_the_generator_as_its_type(tmp_path: Path) -> None:
    plant(tmp_path, ["a.png", "b.png"])
    (tmp_path / "grip.csv").write_text("filename,typ\na.png,real\nb.png,glide_50\n")
    manifest = read(tmp_path / "grip.csv").manifest
    assert [(s.paired_with, s.label) for s in manifest] == [("*", 0), ("glide_50", 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\nx.png,maybe\n", r"line 2: the label 'maybe'"),
        ("name,label\nx.png,1\n", r"needs a column path"),
        ("path\nx.png\n", r"line 2: no label"),
    ],
)
def test_wrong_lists_say_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "l.csv")


def test_missing_and_damaged_things_are_reasons_not_crashes(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,label\nnowhere.png,1\n")
    (sample,) = read(tmp_path / "l.csv").manifest
    assert sample.problem == "cannot be read: No such file or directory"
    (tmp_path / "bad.zip").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match="no readable zip file"):
        read(tmp_path / "bad.zip")
    as_zip(tmp_path / "ok.zip", {"a": b"b"})
    with pytest.raises(FileNotFoundError):
        read_bytes(f"{tmp_path / 'ok.zip'}::nothing")


def test_dry_run_shows_and_writes_nothing(featcache: Call, tree: Path, tmp_path: Path) -> None:
    (tree / "notes.txt").write_text("x")
    store = tmp_path / "store"
    ran = featcache("datasets", "scan", tree, "--cache", store, "--dry-run", "--json")
    assert ran.code == 0
    assert (ran.json["dry_run"], len(ran.json["rows"])) == (True, 4)
    assert ran.json["skipped"] == {"no image (.txt)": 1}
    assert not store.exists()
    plain = featcache("datasets", "scan", tree, "--cache", store, "--dry-run")
    assert "PNG" in plain.out
    assert "64x64" in plain.out
    assert "Nothing was written" in plain.err
