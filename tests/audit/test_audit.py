"""The audit: what can be solved without looking, what leaks, and what the view does about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image

from featcache.audit import AuditOptions, audit, read_audit
from featcache.audit.duplicates import near_pairs, perceptual_hash
from featcache.audit.run import propose_view
from featcache.datasets import Manifest, Sample, ScanOptions, expand, scan
from featcache.errors import DataError, SettingsError
from featcache.testing import make_images

Call = Callable[..., Any]


def save(image: Image.Image, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def build(
    root: Path, real: str, fake: str, *, n: int = 24, sizes: tuple[int, int] = (96, 96)
) -> Path:
    """Write a tree of like pictures whose files alone differ; ``real`` and ``fake`` are
    suffixes.
    """
    for i, split in enumerate(("train", "test")):
        for label, (name, suffix) in enumerate((("0_real", real), ("1_fake", fake))):
            images = make_images(n, seed=10 * i + label, size=sizes[label])
            for k, image in enumerate(images):
                path = root / split / "gen" / name / f"{k}{suffix}"
                save(image, path, **({"quality": 80} if suffix == ".jpg" else {}))
    return root


def run(root: Path, **options: Any) -> Any:
    return audit(expand(scan(root, ScanOptions()).manifest), AuditOptions(**options))


def test_jpeg_reals_and_png_fakes_are_solvable_and_match_removes_it(tmp_path: Path) -> None:
    root = build(tmp_path / "toy", ".jpg", ".png")
    result = run(root)
    outcome = result.generators["gen"]
    assert outcome.auroc >= 0.99
    assert (outcome.verdict, outcome.feature) == ("solvable", "file format")
    assert "Solvable from file format alone: AUROC 1.00" in result.sentences[0]
    assert "JPEG 100 %" in outcome.real
    assert result.remedy == "match:80-96"
    assert not result.trusted
    for view in ("match", result.remedy):
        after = run(root, view=view)
        assert after.generators["gen"].verdict == "clean", view
        assert after.generators["gen"].auroc < 0.6
        assert after.trusted


def test_a_view_that_does_not_encode_leaves_the_shortcut(tmp_path: Path) -> None:
    root = build(tmp_path / "toy", ".jpg", ".png")
    assert run(root, view="blur:1").generators["gen"].verdict == "solvable"


def test_like_files_are_not_flagged(tmp_path: Path) -> None:
    outcome = run(build(tmp_path / "toy", ".png", ".png")).generators["gen"]
    assert outcome.verdict == "clean"
    assert 0.2 < outcome.auroc < 0.75


def test_size_is_told_from_format(tmp_path: Path) -> None:
    root = build(tmp_path / "toy", ".png", ".png", sizes=(96, 104))
    outcome = run(root).generators["gen"]
    assert (outcome.verdict, outcome.feature, outcome.real) == (
        "solvable",
        "image size",
        "96x96 100 %",
    )
    assert run(root, view="match:90-96").generators["gen"].verdict == "clean"


def test_two_images_of_a_class_are_no_evidence(tmp_path: Path) -> None:
    outcome = run(build(tmp_path / "toy", ".jpg", ".png", n=1)).generators["gen"]
    assert outcome.verdict in ("unknown", "clean", "solvable")
    one = run(build(tmp_path / "one", ".jpg", ".png", n=1), max_per_class=1)
    assert one.generators["gen"].n_real == 2


def test_a_planted_duplicate_and_a_reencoded_one_are_found(tmp_path: Path) -> None:
    root = build(tmp_path / "toy", ".png", ".png")
    train, test = (root / split / "gen" / "1_fake" for split in ("train", "test"))
    shutil.copy(train / "3.png", test / "planted.png")
    coarse = np.random.default_rng(8).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((256, 256))
    save(photo, train / "ramp.png")
    save(photo.resize((200, 200)), test / "ramp.jpg", quality=70)
    result = run(root)
    (leak,) = result.duplicates.leaks
    assert (Path(leak.train).name, Path(leak.test).name) == ("3.png", "planted.png")
    (near,) = result.duplicates.near_leaks
    assert (Path(near.train).name, Path(near.test).name) == ("ramp.png", "ramp.jpg")
    assert result.duplicates.n_copies == 1
    assert not result.trusted
    assert any("byte for byte" in sentence for sentence in result.sentences)


def test_corrupt_files_and_balance_are_said(tmp_path: Path) -> None:
    root = build(tmp_path / "toy", ".png", ".png")
    folder = root / "test" / "gen" / "1_fake"
    data = (folder / "0.png").read_bytes()
    (folder / "half.png").write_bytes(data[: len(data) // 2])
    for k in range(15):
        (folder / f"{k}.png").unlink()
    result = run(root)
    (bad,) = result.corrupt
    assert bad["path"].endswith("half.png")
    assert "damaged" in bad["reason"]
    skewed = [(b.split, b.n_real, b.n_fake) for b in result.balance if b.skewed]
    assert skewed == [("test", 24, 10)]


def test_the_hash_is_imagehashs_and_plain_pictures_have_none() -> None:
    (image,) = make_images(1, seed=5, size=120)
    assert f"{perceptual_hash(image):016x}" == str(imagehash.phash(image))
    assert perceptual_hash(Image.new("RGB", (64, 64), (7, 7, 7))) is None


def test_near_pairs_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 300, dtype=np.uint64)
    for i in range(0, 100, 2):  # neighbours at 0 to 6 bits
        flips = rng.choice(64, i % 7, replace=False)
        hashes[i + 1] = (
            hashes[i] ^ np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64))
            if len(flips)
            else hashes[i] ^ np.uint64(1)
        )
    hashes = np.unique(hashes)
    brute = [
        (i, j, int(bits))
        for i in range(len(hashes)) for j in range(i + 1, len(hashes))
        if (bits := np.bitwise_count(hashes[i] ^ hashes[j])) <= 4
    ]  # fmt: skip
    assert near_pairs(hashes, 4) == brute
    assert len(brute) > 20


def test_results_survive_the_disk(tmp_path: Path) -> None:
    result = run(build(tmp_path / "toy", ".jpg", ".png"))
    result.write(tmp_path / "audit.json")
    assert read_audit(tmp_path / "audit.json") == result
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(DataError, match="is no audit"):
        read_audit(tmp_path / "audit.json")


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    root = build(tmp_path / "toy", ".png", ".png", n=2)
    with pytest.raises(SettingsError, match="several views"):
        run(root, view="tencrop")
    with pytest.raises(SettingsError, match="needs the pictures"):
        run(root, view="match", decode=False)


def test_the_view_fits_the_worst_of_the_files(tmp_path: Path) -> None:
    for k, quality in enumerate((60, 95)):
        save(
            make_images(1, seed=k, size=300)[0],
            tmp_path / "g" / "real" / f"{k}.jpg",
            quality=quality,
        )
    assert propose_view(scan(tmp_path / "g", ScanOptions()).manifest) == "match:60-224"


def test_the_command(featcache: Call, tmp_path: Path) -> None:
    root = build(tmp_path / "toy", ".jpg", ".png", n=12)
    store = tmp_path / "store"
    ran = featcache("datasets", "audit", root, "--cache", store, "--json")
    assert ran.code == 0
    assert ran.json["generators"]["gen"]["auroc"] >= 0.99
    assert json.loads((store / "audit.json").read_text()) == ran.json
    plain = featcache("datasets", "audit", "--cache", store)
    assert "Solvable from file format alone" in plain.out
    assert "solvable" in plain.out
    after = featcache("datasets", "audit", "--cache", store, "--view", "match", "--json")
    assert after.json["generators"]["gen"]["verdict"] == "clean"
    quick = featcache("datasets", "audit", "--cache", store, "--files-only", "--json")
    assert quick.json["duplicates"]["n_hashed"] == 0


def test_many_generators_are_audited_by_family() -> None:
    names = [f"{family}{i}" for family in ("gan", "dm") for i in range(60)]
    rows = [
        Sample("x", "/r", f"/r/{name}{i}.png", label, name if label else "real", name,
               name[:-1].rstrip("0123456789"), "test", sample_id=f"{number:031x}{label}",
               source=f"{number:031x}{label}", format="JPEG" if label else "PNG", mode="RGB",
               width=64, height=64)
        for number, (name, i) in enumerate((name, i) for name in names for i in range(2))
        for label in (0, 1)
    ]  # fmt: skip
    result = audit(Manifest(rows), AuditOptions(decode=False))
    assert list(result.generators) == ["dm", "gan"]
    assert result.generators["gan"].n_fake == 120
    assert result.generators["gan"].feature == "file format"
    assert "120 generators are looked at by family" in result.sentences[-1]
    few = audit(Manifest(rows[:400]), AuditOptions(decode=False))
    assert len(few.generators) == 100
    assert not any("by family" in sentence for sentence in few.sentences)
