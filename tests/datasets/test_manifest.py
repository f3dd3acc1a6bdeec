"""The table of samples: columns, files, and what a damaged file does."""

from __future__ import annotations

import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.datasets import Manifest, Sample, ScanOptions, load_manifests, merge, scan_into
from featcache.datasets.columns import Texts, concatenate, unique_ids
from featcache.datasets.library import manifest_path
from featcache.datasets.manifest import stack
from featcache.errors import DataError

FEW_EXAMPLES = settings(deadline=None, max_examples=60)
TEXT = st.text(st.characters(codec="utf-8"), max_size=5) | st.just('caf\udce9\r,\n"')
IDS = st.text(string.hexdigits.lower()[:16], min_size=32, max_size=32) | st.sampled_from(("", "f0"))
SAMPLES = st.builds(
    Sample, TEXT, TEXT, TEXT, st.sampled_from((0, 1)), *[TEXT] * 5, TEXT, IDS, TEXT, TEXT,
    *[st.integers(-(2**63), 2**63 - 1)] * 5, TEXT, st.sampled_from((0, 1)), TEXT, TEXT,
)  # fmt: skip
TABLES = st.lists(SAMPLES, max_size=6).map(
    lambda rows: [*rows, *(replace(row, source=row.sample_id) for row in rows[:2])]
)


@FEW_EXAMPLES
@given(samples=TABLES, more=TABLES, suffix=st.sampled_from(("csv", "parquet")))
def test_columns_and_files_keep_every_sample(
    samples: list[Sample], more: list[Sample], suffix: str, tmp_path_factory: Any
) -> None:
    table, path = Manifest(samples), tmp_path_factory.mktemp("m") / f"m.{suffix}"
    assert list(table) == samples
    table.write(path)
    read = Manifest.read(path)
    assert list(read) == samples
    assert read == table
    assert list(stack([read, Manifest(more)])) == [*samples, *more]
    assert (read == Manifest(more)) == (samples == more)
    mask = np.array([s.label == 1 for s in samples], bool)
    assert list(read.where(mask)) == [s for s in samples if s.label == 1]
    assert read.where(lambda s: s.label == 1) == read.where(mask)
    assert len(set(read.source_names())) == len(set(read.source_codes().tolist()))
    ids = [s.sample_id for s in samples]
    for name in {*ids[:2], "", "0" * 32, "AB" * 16}:
        assert read.is_text("sample_id", name, "x").tolist() == [text == name for text in ids]
    codes = read.codes("sample_id").tolist()
    assert sorted(range(len(ids)), key=codes.__getitem__) == sorted(
        range(len(ids)), key=ids.__getitem__
    )


@FEW_EXAMPLES
@given(ids=st.lists(IDS, max_size=5), stored=st.lists(IDS, max_size=5))
def test_samples_are_found_by_the_ids_of_a_store(ids: list[str], stored: list[str]) -> None:
    table = Manifest(sample(sample_id=name) for name in ids)
    present = table.has_id(np.unique(np.array(stored, "S32")))
    assert present.tolist() == [name in stored for name in ids]


@FEW_EXAMPLES
@given(raw=st.lists(st.binary(min_size=16, max_size=16), max_size=8))
def test_ids_are_ordered_by_all_their_bytes(raw: list[bytes]) -> None:
    raw = [*raw, *(data[:8] + bytes(8) for data in raw), *raw[:1]]
    ids, codes = unique_ids(np.frombuffer(b"".join(raw), np.uint8).reshape(-1, 16))
    assert [row.tobytes() for row in ids] == sorted(set(raw))
    assert [ids[code].tobytes() for code in codes] == raw


@FEW_EXAMPLES
@given(parts=st.lists(st.lists(TEXT, max_size=4), min_size=1, max_size=3))
def test_joined_texts_have_equal_codes_where_they_are_equal(parts: list[list[str]]) -> None:
    joined = concatenate([Texts.of(part) for part in parts])
    texts = [text for part in parts for text in part]
    assert joined.decode() == texts
    assert len(set(joined.codes.tolist())) == len(set(texts))


def sample(**fields: Any) -> Sample:
    return replace(Sample("s", "/r", "/r/a.png", 1, "g", "g", "GAN", "test"), **fields)


def test_conflicts_and_usable_samples() -> None:
    both = [sample(sample_id="b" * 32, label=label, path=f"/r/{label}") for label in (1, 0)]
    table = Manifest([*both, sample(), sample(label=0), sample(problem="gone", sample_id="c" * 32)])
    assert table.conflicts() == both[::-1]
    assert list(table.usable()) == [sample(), sample(label=0)]


def test_tables_for_others() -> None:
    table = Manifest(
        [sample(sample_id="ab" * 16, source="ab" * 16, path="/\udce9"), sample(source="photo")]
    )
    arrow = table.table
    assert arrow["sample_id"].to_pylist() == [b"\xab" * 16, bytes(16)]
    assert arrow["source"].to_pylist() == [None, "photo"]
    assert arrow["path"].to_pylist() == [b"/\xe9", b"/r/a.png"]
    frame = table.to_pandas()
    assert frame["sample_id"].tolist() == ["ab" * 16, ""]
    assert frame["split"].tolist() == ["test", "test"]


def spoil(path: Path, kind: str) -> str:
    """Damage a Parquet manifest; return what the message must say."""
    data, table = path.read_bytes(), pq.read_table(path)
    if kind == "byte":
        chunk = pq.read_metadata(path).row_group(0).column(2)
        last = chunk.data_page_offset + chunk.total_compressed_size - 1
        path.write_bytes(data[:last] + bytes([data[last] ^ 1]) + data[last + 1 :])
    elif kind == "half":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "column":
        pq.write_table(table.drop_columns(["split"]), path)
        return "lacks the columns split"
    elif kind == "label":
        wrong = pa.array([2] * len(table), pa.int8())
        pq.write_table(table.set_column(3, "label", wrong), path)
        return "neither 0 nor 1"
    elif kind == "type":
        wrong = pa.array([1.5] * len(table))
        pq.write_table(table.set_column(7, "split", wrong), path)
        return "the column split holds double"
    else:
        none = pa.nulls(len(table), pa.string())
        pq.write_table(table.set_column(7, "split", none), path)
        return "rows without a value"
    return "is no table"


@pytest.mark.parametrize("kind", ["byte", "half", "empty", "column", "label", "type", "null"])
def test_a_damaged_file_is_one_message_and_disables_no_other(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("bad", "good"):
        Manifest([sample(dataset=name)]).write(manifest_path(tmp_path, name))
    path = manifest_path(tmp_path, "bad")
    expected = spoil(path, kind)
    with pytest.raises(DataError, match=expected) as error:
        Manifest.read(path)
    assert "\n" not in str(error.value)
    caplog.set_level("WARNING", "featcache")
    assert len(load_manifests(tmp_path)) == 1
    assert "bad.parquet" in caplog.text


def test_the_csv_of_before_is_read_and_replaced_by_the_next_scan(
    tree: Path, tmp_path: Path
) -> None:
    root, store = tree, tmp_path / "store"
    table = scan_into(store, root, ScanOptions()).manifest
    path = manifest_path(store, "toy")
    old = path.with_suffix(".csv")
    assert path.suffix == ".parquet"
    Manifest.read(path).write(old)
    path.unlink()
    assert list(load_manifests(store, ["toy"])) == list(table)
    inode = old.stat().st_ino
    scan_into(store, root, ScanOptions(), keep=False)
    assert old.stat().st_ino == inode  # looking changes nothing
    assert scan_into(store, root, ScanOptions()).manifest == table
    assert not old.exists()
    assert Manifest.read(path) == table
    assert len(merge([table, Manifest.read(path)])) == len(table)
