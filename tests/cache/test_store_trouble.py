"""A disk that fails in the middle of a run: one message, exit code 4, what was finished stays
good.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featcache.cache import FeatureStore, maintenance, store
from featcache.testing import make_tree

NAME = "efficientnet-lite0"
Call = Callable[..., Any]


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EDQUOT, "The disk is full"),
        (errno.EIO, "The disk or its network share has failed"),
        (errno.EROFS, "Make the folder writable"),
        (errno.ESTALE, "The disk or its network share has failed"),
        ("vanished", "has vanished"),
    ],
)
def test_trouble_after_the_first_shard(
    featcache: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: int | str,
    message: str,
) -> None:
    tree, root = make_tree(tmp_path / "toy", n=4), tmp_path / "store"
    monkeypatch.setenv("FEATCACHE_SHARD_ROWS", "8")
    write, replace, written = store.write_shard, os.replace, []

    def write_then_fail(path: Path, *arguments: Any) -> None:
        write(path, *arguments)
        written.append(path.read_bytes())
        if trouble == "vanished":
            shutil.rmtree(root)

    def fail(source: str, target: Path) -> None:
        if written and isinstance(trouble, int) and str(target).endswith(".h5"):
            raise OSError(trouble, os.strerror(trouble))
        replace(source, target)

    monkeypatch.setattr(store, "write_shard", write_then_fail)
    monkeypatch.setattr(os, "replace", fail)
    command = ("extract", "--backbone", NAME, "--data", tree, "--cache", root)
    ran = featcache(*command, "-q")
    assert (ran.code, ran.err.count("Error:")) == (4, 1), ran.err
    assert message in ran.err
    monkeypatch.undo()
    if trouble == "vanished":
        return
    shards = list(root.rglob("*.h5"))
    assert [path.read_bytes() for path in shards] == written
    assert maintenance.verify(FeatureStore(root)).damaged == []
    assert not [path for path in root.rglob("*") if ".tmp-" in path.name or path.suffix == ".claim"]


def test_too_little_room_is_said_before_the_start(
    featcache: Call, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featcache.files._free", lambda path: 1000)
    ran = featcache("extract", "--backbone", NAME, "--data", tree, "--cache", tmp_path / "s")
    assert ran.code == 4
    assert "need 329,728 bytes and 1,000 are free" in ran.err
    assert not list((tmp_path / "s").rglob("keys"))


def test_a_moved_folder_is_a_hit_and_other_settings_are_a_miss(
    featcache: Call, extracted: tuple[Path, Path], tmp_path: Path
) -> None:
    cache = shutil.copytree(extracted[1], tmp_path / "store")
    moved = shutil.copytree(extracted[0], tmp_path / "elsewhere")
    for i, path in enumerate(sorted(moved.rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"renamed{i}.png"))  # other names and another order
    command = ("extract", "--backbone", NAME, "--cache", cache, "--data", moved, "--json")
    (summary,) = featcache(*command).json["backbones"]
    assert summary["n_forwarded"] == 0
    for flags in (("--precision", "bf16"), ("--preset", "resize"), ("--view", "jpeg:75")):
        (plan,) = featcache(*command, *flags, "--dry-run").json["backbones"]
        assert plan["n_missing"] == plan["n_samples"]
        ran = featcache("cache", "explain", "--backbone", NAME, "--cache", cache, *flags)
        assert (ran.code, ran.out.startswith("Miss")) == (0, True)
        assert flags[0][2:].replace("preset", "preprocessing") in ran.out
