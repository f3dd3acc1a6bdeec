"""Forms in which public data sets really come: each is read right, or refused with a way out."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featcache.datasets import ScanOptions, expand, scan
from featcache.datasets.evidence import LabelMap
from featcache.datasets.scan import Scan
from featcache.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

RNG = np.random.default_rng(3)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 255, (24, 24, 3)).astype("u1")).save(buffer, "PNG")
    return buffer.getvalue()


def fill(folder: Path, n: int = 3, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        (folder / f"{i:03d}{suffix}").write_bytes(png())
    return folder


def parquet(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None) -> Path:
    """Write images as Hugging Face does; ``features`` is the schema's own metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        metadata = json.dumps({"info": {"features": features}}).encode()
        table = table.replace_schema_metadata({b"huggingface": metadata})
    pq.write_table(table, path)
    return path


def images(n: int) -> Any:
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": png(), "path": None} for _ in range(n)], struct)


def read(root: Path, **options: Any) -> Scan:
    return scan(root, ScanOptions(**options))


def labels(result: Scan) -> list[int]:
    return [sample.label for sample in result.manifest]


def counts(result: Scan) -> dict[str, dict[str, list[int]]]:
    """Count reals and fakes by generator and split; splits that the tree does not name are '?'."""
    unnamed = any("split by source" in note for note in result.notes)
    table: dict[str, dict[str, list[int]]] = {}
    for sample in expand(result.manifest):
        split = "?" if unnamed else sample.split
        table.setdefault(sample.paired_with, {}).setdefault(split, [0, 0])[sample.label] += 1
    return table


# -- labels of rows ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "values", "expected"),
    [
        (["FAKE", "REAL"], [0, 0, 1], [1, 1, 0]),
        (["real", "full_synthetic", "tampered"], [0, 1, 2], [0, 1, 1]),
        (["Human", "AI"], [1, 0, 1], [1, 0, 1]),
        (["0_fake", "1_real"], [0, 1, 1], [1, 0, 0]),
    ],
)
def test_class_names_of_the_schema_beat_numbers(
    names: list[str], values: list[int], expected: list[int], tmp_path: Path
) -> None:
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    columns = {"image": images(3), "label": values}
    root = parquet(tmp_path / "set" / "test-00000-of-00001.parquet", columns, features).parent
    assert labels(read(root)) == expected


def test_masks_and_digests_are_no_samples_and_a_kind_of_fake_is_its_category(
    tmp_path: Path,
) -> None:
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    mask = pa.array([None, None, {"bytes": png(), "path": None}], struct)
    columns = {
        "image": images(3),
        "mask": mask,
        "md5": pa.array([b"a" * 16] * 3, pa.binary()),
        "label": [0, 1, 2],
    }
    features = {"label": {"names": ["real", "full_synthetic", "tampered"], "_type": "ClassLabel"}}
    result = read(parquet(tmp_path / "s" / "train.parquet", columns, features).parent)
    assert labels(result) == [0, 1, 1]
    assert [sample.category for sample in result.manifest] == ["", "", "tampered"]


def test_class_names_that_say_nothing_are_refused_with_the_flag(tmp_path: Path) -> None:
    features = {"label": {"names": ["A", "B"], "_type": "ClassLabel"}}
    columns = {"image": images(2), "label": [0, 1]}
    root = parquet(tmp_path / "s" / "train.parquet", columns, features).parent
    with pytest.raises(DataError, match="--label A=real"):
        read(root)
    assert labels(read(root, mapping=LabelMap(labels={"a": "fake", "b": "real"}))) == [1, 0]


@pytest.mark.parametrize("twin", ["label_str", "class_name", "Ground Truth"])
def test_words_beside_a_number_beat_it_and_the_scan_says_so(twin: str, tmp_path: Path) -> None:
    fill(tmp_path / "faces", 4)
    lines = [f"faces/{i:03d}.png,{int(i < 2)},{'real' if i < 2 else 'fake'}" for i in range(4)]
    (tmp_path / "list.csv").write_text("\n".join([f"path,label,{twin}", *lines]))
    result = read(tmp_path / "list.csv")
    assert labels(result) == [0, 0, 1, 1]
    assert any("0 is fake, 1 is real" in note and twin in note for note in result.notes)


def test_folders_in_the_paths_are_words_too(tmp_path: Path) -> None:
    fill(tmp_path / "real", 2)
    fill(tmp_path / "fake", 2)
    lines = [f"{w}/{i:03d}.png,{int(w == 'real')}" for w in ("real", "fake") for i in range(2)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *lines]))
    result = read(tmp_path / "list.csv")
    assert labels(result) == [0, 0, 1, 1]
    assert any("1 is real" in note for note in result.notes)


def test_two_words_that_contradict_each_other_stop_the_scan(tmp_path: Path) -> None:
    fill(tmp_path / "real", 1)
    (tmp_path / "list.csv").write_text("path,label\nreal/000.png,fake\n")
    with pytest.raises(DataError, match=r"contradicts itself: .*'fake'.*'real'.*--label"):
        read(tmp_path / "list.csv")


def test_a_bare_number_is_read_as_one_is_fake_and_that_is_said(tmp_path: Path) -> None:
    fill(tmp_path / "x", 2)
    (tmp_path / "list.csv").write_text("path,label\nx/000.png,0\nx/001.png,1\n")
    result = read(tmp_path / "list.csv")
    assert labels(result) == [0, 1]
    assert any("0 = real, 1 = fake" in note for note in result.notes)


@pytest.mark.parametrize(("column", "expected"), [("is_real", [1, 0]), ("is_fake", [0, 1])])
def test_a_column_called_by_a_class_needs_no_guess(
    column: str, expected: list[int], tmp_path: Path
) -> None:
    fill(tmp_path / "x", 2)
    (tmp_path / "list.csv").write_text(f"path,{column}\nx/000.png,0\nx/001.png,1\n")
    result = read(tmp_path / "list.csv")
    assert labels(result) == expected
    assert not any("0 = real" in note for note in result.notes)


def test_other_columns_are_refused_with_the_flag_and_read_with_it(tmp_path: Path) -> None:
    columns = {
        "Image": images(4), "Caption": [""] * 4, "Label_A": [0, 0, 1, 1], "Label_B": [0, 0, 3, 5]
    }  # fmt: skip
    root = parquet(tmp_path / "s" / "train-00000-of-00001.parquet", columns).parent
    with pytest.raises(DataError, match="--column label=NAME"):
        read(root)
    mapping = LabelMap(columns={"label": "Label_A", "generator": "Label_B"})
    result = read(root, mapping=mapping)
    assert labels(result) == [0, 0, 1, 1]
    assert [s.paired_with for s in result.manifest if s.label] == ["3", "5"]


def test_values_can_be_left_out(tmp_path: Path) -> None:
    fill(tmp_path / "x", 3)
    (tmp_path / "l.csv").write_text("path,label\nx/000.png,real\nx/001.png,ai\nx/002.png,art\n")
    with pytest.raises(DataError, match="the label 'art' is no known word"):
        read(tmp_path / "l.csv")
    result = read(tmp_path / "l.csv", mapping=LabelMap(labels={"art": "skip"}))
    assert labels(result) == [0, 1]
    assert result.skipped == {"left out by --label": 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "path;label\nx/000.png;real\nx/001.png;fake\n"),
        ("l.tsv", "path\tlabel\nx/000.png\treal\nx/001.png\tfake\n"),
        ("l.json", '[{"path": "x/000.png", "label": "real"}, {"path": "x/001.png", "label": 1}]'),
        ("m.json", '{"x/000.png": "real", "x/001.png": "fake"}'),
        (
            "l.jsonl",
            '{"file": "x/000.png", "label": "real"}\n{"file": "x/001.png", "label": "ai"}\n',
        ),
        ("l.txt", "x/000.png real\nx/001.png fake\n"),
        ("w.csv", "path,label\nx\\000.png,real\nx\\001.png,fake\n"),
    ],
)
def test_lists_of_every_form(name: str, text: str, tmp_path: Path) -> None:
    fill(tmp_path / "x", 2)
    (tmp_path / name).write_text(text)
    result = read(tmp_path / name)
    assert labels(result) == [0, 1]
    assert not any(sample.problem for sample in result.manifest)


# -- trees ------------------------------------------------------------------------------------


def test_generators_below_the_label(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for channel in ("PreSocial", "Telegram"):
        for generator in ("StyleGAN3", "FLUX.1"):
            fill(root / channel / "Fake" / generator / "animals")
        for pool in ("FFHQ", "FORLAB"):
            fill(root / channel / "Real" / pool)
    result = read(root)
    assert counts(result).keys() == {"StyleGAN3", "FLUX.1"}
    assert Counter(labels(result)) == {0: 12, 1: 12}
    assert any("folders below the fakes: FLUX.1, StyleGAN3" in note for note in result.notes)


def test_categories_below_the_label_stay_categories(tmp_path: Path) -> None:
    for word in ("0_real", "1_fake"):
        for category in ("cat", "dog"):
            fill(tmp_path / "set" / "test" / "progan" / word / category)
    assert counts(read(tmp_path / "set")) == {"progan": {"test": [6, 6]}}


def test_parts_below_the_fakes_of_a_known_generator_are_no_generators(tmp_path: Path) -> None:
    fill(tmp_path / "set" / "test" / "progan" / "0_real")
    fill(tmp_path / "set" / "test" / "progan" / "1_fake" / "part1")
    fill(tmp_path / "set" / "test" / "progan" / "1_fake" / "part2")
    assert counts(read(tmp_path / "set")) == {"progan": {"test": [3, 6]}}


@pytest.mark.parametrize(
    "class_words", [("real", "ai"), ("human", "ai"), ("authentic", "synthetic")]
)
def test_train_and_val_of_one_set_are_read_alike(
    class_words: tuple[str, str], tmp_path: Path
) -> None:
    for split in ("train", "val"):
        for word in class_words:
            fill(tmp_path / "set" / split / word)
    assert counts(read(tmp_path / "set")) == {"set": {"train": [3, 3], "val": [3, 3]}}


def test_genimages_val_is_a_test_set_only_without_a_test_folder(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for word in ("ai", "nature"):
            fill(tmp_path / "a" / "BigGAN" / split / word)
            fill(tmp_path / "b" / split / "BigGAN" / word)
    for split in ("test_seen", "test_unseen"):
        for word in ("ai", "nature"):
            fill(tmp_path / "b" / split / "BigGAN" / word)
    assert counts(read(tmp_path / "a")) == {"BigGAN": {"train": [3, 3], "test": [3, 3]}}
    result = read(tmp_path / "b")
    expected = {"train": [3, 3], "val": [3, 3], "test": [6, 6]}
    assert counts(result) == {"BigGAN": expected}
    assert {s.category for s in result.manifest if s.split == "test"} == {"seen", "unseen"}


def test_genimage_without_its_outer_folders(tmp_path: Path) -> None:
    names = ("imagenet_ai_0419_biggan", "imagenet_ai_0424_sdv5", "imagenet_midjourney")
    for name in names:
        for split in ("train", "val"):
            for word in ("ai", "nature"):
                fill(tmp_path / "set" / name / split / word)
    expected = {"train": [3, 3], "test": [3, 3]}
    assert counts(read(tmp_path / "set")) == {
        "biggan": expected, "stable_diffusion_v_1_5": expected, "midjourney": expected
    }  # fmt: skip


def test_reals_linked_into_each_generator(tmp_path: Path) -> None:
    pool = fill(tmp_path / "set" / "pool" / "coco")
    for generator in ("flux", "sdxl", "sd3"):
        fill(tmp_path / "set" / "test" / generator / "1_fake")
        (tmp_path / "set" / "test" / generator / "0_real").symlink_to(pool)
    expected = {name: {"test": [3, 3]} for name in ("flux", "sdxl", "sd3")}
    table: dict[str, dict[str, list[int]]] = {}
    for sample in expand(read(tmp_path / "set").manifest):
        table.setdefault(sample.paired_with, {}).setdefault(sample.split, [0, 0])[sample.label] += 1
    assert table == expected


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    fill(tmp_path / "set" / "test" / "g" / "0_real")
    fill(tmp_path / "set" / "test" / "g" / "1_fake")
    (tmp_path / "set" / "test" / "g" / "1_fake" / "loop").symlink_to(tmp_path / "set")
    assert counts(read(tmp_path / "set")) == {"g": {"test": [3, 3]}}


def test_an_archive_beside_its_folder_is_a_copy(tmp_path: Path) -> None:
    for word in ("0_real", "1_fake"):
        fill(tmp_path / "set" / "test" / "progan" / word)
    with zipfile.ZipFile(tmp_path / "set" / "test" / "progan.zip", "w") as archive:
        for path in sorted((tmp_path / "set" / "test" / "progan").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path / "set" / "test"))
    result = read(tmp_path / "set")
    assert counts(result) == {"progan": {"test": [3, 3]}}
    assert result.skipped == {"archive beside the unpacked folder of its name": 1}


def test_copies_within_a_class_count_once(tmp_path: Path) -> None:
    fill(tmp_path / "set" / "test" / "g" / "0_real")
    folder = fill(tmp_path / "set" / "test" / "g" / "1_fake")
    shutil.copy(folder / "000.png", folder / "copy.png")
    result = read(tmp_path / "set")
    assert counts(result) == {"g": {"test": [3, 3]}}
    assert any("1 files are copies" in note for note in result.notes)


def test_photographs_of_a_known_set_are_reals(tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        fill(tmp_path / "set" / "coco-2017" / split)
    fill(tmp_path / "set" / "fake" / "sdxl", 12)
    result = read(tmp_path / "set")
    assert Counter(labels(result)) == {0: 6, 1: 12}
    assert {s.paired_with for s in expand(result.manifest)} == {"sdxl"}


def test_noise_of_systems_is_passed_over(tmp_path: Path) -> None:
    for word in ("0_real", "1_fake"):
        fill(tmp_path / "set" / "test" / "g" / word)
        fill(tmp_path / "set" / "test" / "g" / word / "@eaDir")
        fill(tmp_path / "set" / "__MACOSX" / "test" / "g" / word)
        (tmp_path / "set" / "test" / "g" / word / "._000.png").write_bytes(png())
        (tmp_path / "set" / "test" / "g" / word / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "set" / "test.tar.gz").write_bytes(b"x")
    result = read(tmp_path / "set")
    assert counts(result) == {"g": {"test": [3, 3]}}
    assert result.skipped == {
        "hidden file": 4,
        "archive beside the unpacked folder of its name": 1,
    }


def test_a_folder_that_cannot_be_listed_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    for word in ("0_real", "1_fake"):
        fill(tmp_path / "set" / "test" / "g" / word)
    (tmp_path / "set" / "lost+found").mkdir()
    listed: Callable[..., Any] = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr("os.scandir", scandir)
    result = read(tmp_path / "set")
    assert counts(result) == {"g": {"test": [3, 3]}}
    assert result.skipped == {"folder that cannot be listed: Permission denied": 1}


def test_own_class_folders_and_own_layouts(tmp_path: Path) -> None:
    for word in ("Au", "Tp"):
        fill(tmp_path / "CASIA" / word)
    with pytest.raises(DataError, match="--label NAME=real"):
        read(tmp_path / "CASIA")
    own_words = LabelMap(labels={"au": "real", "tp": "fake"})
    assert Counter(labels(read(tmp_path / "CASIA", mapping=own_words))) == {0: 3, 1: 3}
    own = {
        "name": "casia",
        "rules": [
            {"template": "CASIA/Au", "label": 0, "split": "test", "generator": "splice"},
            {"template": "CASIA/Tp", "label": 1, "split": "test", "generator": "splice"},
        ],
    }
    assert counts(read(tmp_path / "CASIA", own_layouts=[own])) == {"splice": {"test": [3, 3]}}


# -- properties -------------------------------------------------------------------------------

CLASS_WORDS = st.sampled_from(
    [("real", "fake"), ("0_real", "1_fake"), ("nature", "ai"), ("human", "generated")]
)


@settings(max_examples=40, deadline=None)
@given(
    class_words=CLASS_WORDS,
    above=st.booleans(),
    splits=st.sampled_from([(), ("train", "test"), ("train", "val", "test_unseen")]),
    generators=st.lists(
        st.sampled_from(["sdxl", "progan", "my-model", "gen.7"]),
        min_size=1,
        max_size=3,
        unique=True,
    ),
)
def test_no_tree_is_read_inverted_merged_or_leaked(
    class_words: tuple[str, str], above: bool, splits: tuple[str, ...], generators: list[str]
) -> None:
    """Whatever the class_words, the order of the levels and the splits: truth, or an error."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "toy"
        truth: dict[str, tuple[int, str, str]] = {}
        for split in splits or ("",):
            for generator in generators:
                for label, word in enumerate(class_words):
                    parts = (word, generator) if above else (generator, word)
                    for path in fill(root.joinpath(*filter(None, (split, *parts))), 1).iterdir():
                        truth[str(path.resolve())] = (label, generator, split.split("_")[0])
        try:
            result = read(root)
        except DataError:
            return
        for sample in result.manifest:
            label, generator, split = truth[sample.path]
            assert sample.label == label
            assert split in ("", sample.split)
            if sample.label and len(generators) > 1:
                said = any("folders below the fakes" in note for note in result.notes)
                assert sample.paired_with == generator or (above and not said)


@settings(max_examples=30, deadline=None)
@given(
    ones=st.sampled_from(["real", "fake"]),
    class_words=st.lists(st.booleans(), min_size=2, max_size=6),
    named=st.booleans(),
)
def test_no_list_is_read_inverted(ones: str, class_words: list[bool], named: bool) -> None:
    """A number means what words beside it say in any row; without words the scan says how."""
    fakes = [True, False, *class_words]
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "x", len(fakes))
        lines = []
        for i, fake in enumerate(fakes):
            number = int(fake == (ones == "fake"))
            word = ("fake" if fake else "real") if named and i < 2 else ""
            lines.append(f"x/{i:03d}.png,{number},{word}")
        path = Path(folder) / "l.csv"
        path.write_text("\n".join(["path,label,label_name", *lines]))
        result = read(path)
        if named:
            assert labels(result) == [int(fake) for fake in fakes]
        else:
            assert any("0 = real, 1 = fake" in note for note in result.notes)
