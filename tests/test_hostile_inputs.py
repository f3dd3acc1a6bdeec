"""Names, pipes, links and patterns that are not to be trusted."""

from __future__ import annotations

import os
import socket
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcache.cache import FeatureStore, maintenance
from featcache.cache.testing import make_key, make_rows
from featcache.datasets import Manifest, Sample, load_manifests
from featcache.datasets.containers import read_bytes
from featcache.datasets.library import manifest_path
from featcache.datasets.scan import compile_source_pattern
from featcache.errors import DataError, SettingsError, StoreError
from featcache.evaluate.export import export_features, import_features
from featcache.files import open_file, read_file, terminal_text

FEW_EXAMPLES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = st.text(st.characters(exclude_characters="/\\\0"), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..") and not name.endswith(".conflicts")
)
KEY = make_key()


def sample(**fields: Any) -> Sample:
    row = Sample("set", "/r", "/r/a.png", 1, "g", "g", "GAN", "test", sample_id=make_rows(6).ids[0])
    return replace(row, **fields)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(tmp_path / "store")
    store.write(KEY, "one", make_rows(6), {})
    return store


@FEW_EXAMPLES
@given(name=st.text())
def test_manifests_keep_any_name(name: str, tmp_path: Path) -> None:
    table = Manifest((sample(path=f"/r/{name}"), sample(path="/r/Icon\r", category=name)))
    table.write(tmp_path / "m.csv")
    assert Manifest.read(tmp_path / "m.csv") == table


def test_an_unreadable_manifest_disables_no_other(
    store: FeatureStore, caplog: pytest.LogCaptureFixture
) -> None:
    Manifest((sample(),)).write(manifest_path(store.root, "good"))
    manifest_path(store.root, "bad").write_bytes(b"a\rb,c\n")
    os.mkfifo(manifest_path(store.root, "pipe"))
    caplog.set_level("WARNING", "featcache")
    assert len(load_manifests(store.root)) == 1
    assert "bad.parquet" in caplog.text
    assert "pipe.parquet" in caplog.text
    with pytest.raises(DataError):
        load_manifests(store.root, ["bad"])


@FEW_EXAMPLES
@given(name=NAMES)
def test_packs_keep_any_name_of_a_data_set(name: str, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("pack")
    store = FeatureStore(folder / "from")
    store.write(KEY, "one", make_rows(6), {})
    table = Manifest((sample(dataset=name, root=name, path="a.png", family="other"),))
    export_features(store, [KEY], table, folder / "pack")
    imported = import_features(FeatureStore(folder / "to"), folder / "pack")
    assert list(imported.manifests) == [name]
    assert load_manifests(folder / "to", [name]).samples == table.samples


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
def test_only_regular_files_are_opened(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.chdir(tmp_path)  # the name of a socket is short
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("x")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    for read in (open_file, read_file, read_bytes):
        with pytest.raises(OSError):  # noqa: PT011
            read(str(path))


def test_reading_is_bounded(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="has more than"):
        read_file(tmp_path / "x")


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", bytes(1 << 27))
    with pytest.raises(OSError, match="times its size"):
        read_bytes(f"{path}::a.png")


@pytest.mark.parametrize(
    "name", ["a.zip", "a.tar", "a.parquet", "1_fake/a.png", "list.csv", "list.json"]
)
def test_a_scan_waits_for_no_pipe(
    name: str, featcache: Callable[..., Any], tree: Path, tmp_path: Path
) -> None:
    path = tree / name
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    ran = featcache("datasets", "scan", tree, "--cache", tmp_path / "s", "--dry-run")
    assert ran.code in (0, 3)
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("what", ["key", "keys", "lock"])
def test_nothing_is_written_through_a_link(what: str, store: FeatureStore, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").write_text("mine")
    folder = store.folder(KEY)
    if what == "lock":
        (folder / "two.claim").symlink_to(target / "mine")
    else:
        place = folder if what == "key" else folder.parent
        place.rename(tmp_path / "away")
        place.symlink_to(target)
    fresh = FeatureStore(store.root)
    with pytest.raises(StoreError, match="link"), fresh.lock(KEY, "two"):
        pass
    if what != "keys":
        maintenance.remove(maintenance.find_unused(fresh))
    assert [path.name for path in target.iterdir()] == ["mine"]
    assert (target / "mine").read_text() == "mine"


def test_files_of_the_user_are_not_waste(store: FeatureStore) -> None:
    path = store.root / ".tmp-notes"
    path.write_text("mine")
    os.utime(path, (0, 0))
    assert maintenance.find_unused(store) == []


def test_a_pattern_that_backtracks_is_bounded() -> None:
    with pytest.raises(SettingsError, match="backtracks"):
        compile_source_pattern(r"(a|a)+$")("a" * 60 + "b")


@pytest.mark.parametrize("text", ["\x1b[31m", "\u202egnp", "a\rb", "\x9b0m", "\udcff"])
def test_terminals_get_no_controls(
    text: str, featcache: Callable[..., Any], tree: Path, tmp_path: Path
) -> None:
    assert terminal_text(text).isprintable()
    for folder in tree.glob("*/*/"):
        if folder.is_dir() and folder.name not in ("0_real", "1_fake"):
            folder.rename(folder.with_name(f"x[red]{text}"))
            break
    ran = featcache("datasets", "scan", tree, "--cache", tmp_path / "s")
    assert ran.code == 0
    assert text not in ran.out + ran.err
    assert "x[red]" in ran.out
