"""Bad input: each file gives a right feature or a reason, each run one clear message and exit
code.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcache.testing import make_images, make_tree

NAME = "efficientnet-lite0"
Call = Callable[..., Any]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes whose header claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    )


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A tree with one file of each odd kind among the fakes."""
    root = make_tree(tmp_path / "odd", n=2, generators=["progan"])
    folder = root / "test" / "progan" / "1_fake"
    one, two, three, four, five, six = make_images(6, seed=7)
    deep = Image.fromarray(np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16))
    palette = two.convert("P")
    jpeg = encoded(one, "JPEG")
    files: dict[str, bytes] = {
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "empty.png": b"",
        "text.png": b"this is no picture",
        "deep.png": encoded(deep, "PNG"),
        "cmyk.jpg": encoded(one.convert("CMYK"), "JPEG"),
        "palette.png": encoded(palette, "PNG", transparency=bytes(range(256))),
        "grey.png": encoded(three.convert("L"), "PNG"),
        "animated.gif": encoded(four, "GIF", save_all=True, append_images=[five]),
        "a.b.png": encoded(five, "PNG"),
        "UPPER.PNG": encoded(six, "PNG"),
        "none": encoded(six.rotate(90), "PNG"),
        "dot.xyz": encoded(six.rotate(180), "PNG"),
        "one.png": encoded(Image.new("RGB", (1, 1), (9, 99, 199)), "PNG"),
        "bomb.png": bomb(),
        "notes.txt": b"not an image, and not called one",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with open(os.fsencode(folder) + b"/caf\xe9.png", "wb") as file:
        file.write(encoded(six.rotate(270), "PNG"))
    (folder / "x.png").mkdir()
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    return root


REJECTED = {
    "truncated.jpg": "the JPEG data are damaged",
    "empty.png": "the file is empty",
    "text.png": "not an image in a format that Pillow knows",
    "bomb.png": "too many pixels",
    "x.png": "is a folder, not an image file",
    "dangling.png": "cannot be read: No such file or directory",
}


def test_odd_files_give_a_feature_or_a_reason(featcache: Call, odd: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    ran = featcache("extract", "--backbone", NAME, "--data", odd, "--cache", store, "--json")
    assert ran.code == 6
    rejects = {Path(row["path"]).name: row["reason"] for row in ran.json["rejects"]}
    assert rejects.keys() == REJECTED.keys()
    for name, reason in REJECTED.items():
        assert rejects[name].startswith(reason), rejects[name]
    (summary,) = ran.json["backbones"]
    assert summary["n_forwarded"] == 8 + 11
    assert summary["n_padded"] == summary["n_forwarded"]  # all smaller than 224: said, not silent
    rows = (store / "rejects.csv").read_bytes()
    assert all(os.fsencode(name) in rows for name in REJECTED)
    again = featcache("extract", "--backbone", NAME, "--data", odd, "--cache", store, "--json")
    assert (again.code, again.json["backbones"][0]["n_forwarded"]) == (6, 0)
    assert again.json["rejects"] == ran.json["rejects"]
    probed = featcache("probe", "--features", NAME, "--cache", store, "--json")
    assert probed.code == 0
    assert probed.json["generators"]["progan"]["n_fake"] == 2 + 11
    assert "gave no feature" in probed.json["notes"][0]


def test_strict_stops_at_the_first(featcache: Call, odd: Path, tmp_path: Path) -> None:
    ran = featcache(
        "extract", "--backbone", NAME, "--data", odd, "--cache", tmp_path / "s", "--strict"
    )
    assert ran.code == 3
    assert "without --strict" in ran.err
    assert not list((tmp_path / "s").rglob("*.h5"))


def test_what_is_passed_over_is_said(featcache: Call, odd: Path, tmp_path: Path) -> None:
    ran = featcache("datasets", "scan", odd, "--cache", tmp_path / "s", "--json")
    assert ran.json["skipped"] == {"no image (.txt)": 1}


@pytest.mark.parametrize(
    ("prepare", "code", "message"),
    [
        (lambda root: root.mkdir(), 3, "holds no folders named 0_real and 1_fake"),
        (lambda root: None, 3, "is no folder"),
        (lambda root: (root / "g" / "1_fake").mkdir(parents=True), 3, "holds no images"),
    ],
    ids=["empty", "missing", "no-images"],
)
def test_no_data(
    featcache: Call, tmp_path: Path, prepare: Callable[[Path], object], code: int, message: str
) -> None:
    prepare(tmp_path / "data-root")
    ran = featcache("extract", "--backbone", NAME, "--data", tmp_path / "data-root", "--cache",
                    tmp_path / "s")  # fmt: skip
    assert ran.code == code
    assert message in ran.err
    assert ran.err.count("Error:") == 1
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(("missing", "word"), [("1_fake", "fakes"), ("0_real", "reals")])
def test_one_class_only(
    featcache: Call, tree: Path, tmp_path: Path, missing: str, word: str
) -> None:

    for folder in list(tree.rglob(missing)):
        shutil.rmtree(folder)
    store = tmp_path / "s"
    assert (
        featcache("extract", "--backbone", NAME, "--data", tree, "--cache", store, "-q").code == 0
    )
    ran = featcache("probe", "--features", NAME, "--cache", store)
    assert ran.code == 3
    assert f"The training set has no {word}" in ran.err


def test_unknown_names_list_the_near_ones(featcache: Call, tree: Path, extracted: Any) -> None:
    ran = featcache("extract", "--backbone", "efficientnet-lite", "--data", tree)
    assert (ran.code, "Did you mean 'efficientnet-lite" in ran.err) == (2, True)
    ran = featcache("probe", "--features", "efficientnet", "--cache", extracted[1])
    assert (ran.code, "Did you mean 'efficientnet-lite0'?" in ran.err) == (4, True)
    ran = featcache("probe", "--features", NAME, "--train", "progam", "--cache", extracted[1])
    assert (ran.code, "Did you mean 'progan'?" in ran.err) == (2, True)


def test_a_tree_that_was_moved_is_told_how_to_be_known_again(
    featcache: Call, extracted: tuple[Path, Path], tmp_path: Path
) -> None:
    store = shutil.copytree(extracted[1], tmp_path / "store")
    moved = shutil.copytree(extracted[0], tmp_path / "elsewhere" / "moved")
    probe = ("probe", "--features", NAME, "--data", moved, "--cache", store)
    ran = featcache(*probe)
    command_text = f"featcache datasets scan {moved} --cache {store}"
    assert (ran.code, command_text in ran.err.replace("\n", " ")) == (2, True)
    assert featcache(*command_text.split()[1:]).code == 0
    assert featcache(*probe).code == 0


def test_an_error_is_json_too(featcache: Call, tmp_path: Path) -> None:
    ran = featcache("probe", "--features", NAME, "--cache", tmp_path / "none", "--json")
    assert ran.code == ran.json["error"]["exit_code"] == 3
    assert "featcache extract" in ran.json["error"]["message"]


def test_usage_errors(featcache: Call) -> None:
    assert featcache("extract", "--no-such-flag").code == 2
    assert featcache("extract").code == 2
    assert featcache("probe", "--C", "-1", "--features", NAME).code == 2


def test_missing_samples_are_named_with_the_command(
    featcache: Call, extracted: tuple[Path, Path], tmp_path: Path
) -> None:

    store = shutil.copytree(extracted[1], tmp_path / "store")
    make_tree(tmp_path / "more", generators=["stargan"], n=3, size=80)
    assert featcache("datasets", "scan", tmp_path / "more", "--cache", store).code == 0
    ran = featcache("probe", "--features", NAME, "--cache", store)
    assert ran.code == 4
    assert "12 of 76 samples have no feature" in ran.err
    assert f"featcache extract --backbone {NAME}" in ran.err
    ran = featcache("probe", "--features", NAME, "--cache", store, "--intersection", "--json")
    assert ran.code == 0
    assert "12 samples without" in " ".join(ran.json["notes"])


def test_a_store_that_cannot_be_written(featcache: Call, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ran = featcache("extract", "--backbone", NAME, "--data", tree, "--cache", tmp_path / "file")
    assert (ran.code, ran.err.count("Error:")) == (4, 1)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "The disk is full"), (errno.EROFS, "cannot be written: Read-only file system")],
)
def test_a_disk_that_says_no(
    featcache: Call,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    message: str,
) -> None:
    def fsync(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    ran = featcache("extract", "--backbone", NAME, "--data", tree, "--cache", tmp_path / "s")
    assert (ran.code, ran.err.count("Error:")) == (4, 1)
    assert message in ran.err
    assert not [path for path in (tmp_path / "s").rglob("*") if path.is_file()]


def test_a_disk_that_is_really_full(featcache: Call, tree: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(small)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        ran = featcache("extract", "--backbone", NAME, "--data", tree, "--cache", small / "store")
        assert ran.code == 4
        assert "The disk is full" in ran.err
        assert not list(small.rglob("*.h5")) + list(small.rglob(".tmp-*"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def without_root_powers() -> list[str]:
    """Return the command prefix under which file permissions hold for root too; skip where there
    is none.
    """
    powers = "-dac_override,-dac_read_search"
    prefix = (
        ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}"] if os.geteuid() == 0 else []
    )
    if prefix and (
        not shutil.which("setpriv") or subprocess.run([*prefix, "true"], check=False).returncode
    ):
        pytest.skip("root cannot give up its powers here (no setpriv)")
    return prefix


def test_files_and_stores_without_permission(tree: Path, tmp_path: Path) -> None:
    locked = tree / "test" / "progan" / "1_fake" / "000.png"
    locked.chmod(0)
    read_only = tmp_path / "read-only"
    read_only.mkdir(mode=0o555)
    command = [*without_root_powers(), sys.executable, "-P", "-m", "featcache.cli", "extract", "-q"]
    command += ["--backbone", NAME, "--data", str(tree), "--json", "--cache"]
    ran = subprocess.run(
        [*command, str(tmp_path / "s")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 6, ran.stderr
    (reject,) = json.loads(ran.stdout)["rejects"]
    assert (reject["path"], reject["reason"]) == (str(locked), "cannot be read: Permission denied")
    ran = subprocess.run(
        [*command, str(read_only / "s")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 4
    assert "Make the folder writable" in ran.stderr
    assert not list(read_only.iterdir())
