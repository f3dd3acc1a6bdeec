"""No generated tree or list is read inverted, merged or leaked without a note that says so."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.datasets import ScanOptions, scan
from featcache.datasets.evidence import FAKE_WORDS, FOLDER_WORDS, REAL_WORDS
from featcache.datasets.scan import Scan
from featcache.datasets.template import split_of_folder
from featcache.errors import DataError
from featcache.files import digest_bytes

_numbers = itertools.count()


def image() -> bytes:
    """Return a tiny PPM file that is like no other."""
    digest = hashlib.sha256(str(next(_numbers)).encode()).digest()
    return b"P6 3 3 255\n" + digest[:27]


REALS = [word for word, label in FOLDER_WORDS.items() if not label]
FAKES = [word for word, label in FOLDER_WORDS.items() if label]
GENERATORS = st.one_of(
    st.sampled_from(["sdxl", "progan", "FLUX.1", "my-model", "gen.7", "StyleGAN3", "dalle-3"]),
    st.from_regex(r"[a-z]{4,8}[-_.]?[0-9]{0,2}", fullmatch=True).filter(
        lambda name: (
            not split_of_folder(name)
            and name not in FOLDER_WORDS | {"images": 0, "files": 0, "image": 0, "data": 0}
        )
    ),
)
SPLITS = st.sampled_from(
    [
        (),
        ("train", "test"),
        ("train", "val", "test_unseen"),
        ("Training", "Testing"),
        ("train", "val-clean", "test"),
        ("train2", "test2"),
    ]
)


class Tree:
    """A tree in the making, with what is true of each image."""

    def __init__(self, folder: str) -> None:
        self.root = Path(folder) / "toy"
        self.truth: dict[str, tuple[int, str, str]] = {}

    def add(self, parts: list[str], label: int, generator: str, split: str) -> Path:
        folder = self.root.joinpath(*filter(None, parts))
        folder.mkdir(parents=True, exist_ok=True)
        data = image()
        (folder / f"{len(self.truth)}.ppm").write_bytes(data)
        named = split_of_folder(split)
        self.truth[digest_bytes(data)] = (label, generator, named[0] if named else "")
        return folder

    def check(self, result: Scan) -> None:
        """Compare a scan with the truth: nothing inverted, merged or leaked without a note."""
        notes = " ".join(result.notes)
        names: dict[str, set[str]] = {}
        for sample in result.manifest:
            label, generator, split = self.truth[sample.sample_id]
            assert sample.label == label, "inverted"
            if split:
                assert sample.split == split, "leaked"
            else:
                assert "split by source" in notes
            if label:
                names.setdefault(sample.generator, set()).add(generator)
        for true_names in names.values():
            is_said = all(name in notes for name in true_names)
            assert len(true_names) == 1 or is_said, f"merged: {true_names}"
        missing = len(self.truth) - len({sample.sample_id for sample in result.manifest})
        assert not missing or sum(result.skipped.values()), "left out without a count"


@settings(max_examples=60, deadline=None)
@given(
    words=st.tuples(st.sampled_from(REALS), st.sampled_from(FAKES)),
    order=st.permutations(["split", "generator", "label"]),
    splits=SPLITS,
    generators=st.lists(GENERATORS, min_size=1, max_size=3, unique=True),
    upper=st.booleans(),
)
def test_trees(
    words: tuple[str, str],
    order: list[str],
    splits: tuple[str, ...],
    generators: list[str],
    upper: bool,
) -> None:
    """Class words, order of the levels, splits and names as they come: truth, note or error."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(folder)
        for split, generator in itertools.product(splits or ("",), generators):
            for label, word in enumerate(words):
                name = word.upper() if upper else word
                level = {"split": split, "generator": generator, "label": name}
                tree.add([level[key] for key in order], label, generator, split)
        try:
            result = scan(tree.root, ScanOptions(workers=1))
        except DataError:
            return
        tree.check(result)


@settings(max_examples=30, deadline=None)
@given(
    splits=SPLITS.filter(bool),
    generators=st.lists(GENERATORS, min_size=1, max_size=2, unique=True),
    packed=st.sampled_from(["", "zip", "tar.gz", "tar"]),
    beside=st.booleans(),
    linked=st.booleans(),
)
def test_archives_and_links(
    splits: tuple[str, ...], generators: list[str], packed: str, beside: bool, linked: bool
) -> None:
    """The first split packed, beside its folder or instead of it; reals linked from one pool."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(folder)
        for split, generator in itertools.product(splits, generators):
            if linked:
                pool = Path(folder) / f"pool-{split}"
                if not pool.exists():
                    made = tree.add([split, generator, "0_real"], 0, generator, split)
                    shutil.move(made, pool)
                link = tree.root / split / generator / "0_real"
                link.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(pool, link)
            else:
                tree.add([split, generator, "0_real"], 0, generator, split)
            tree.add([split, generator, "1_fake"], 1, generator, split)
        if packed:
            _pack(tree.root / splits[0], packed)
            if not beside:
                shutil.rmtree(tree.root / splits[0])
        result = scan(tree.root, ScanOptions(workers=1))
        tree.check(result)
        assert len({sample.sample_id for sample in result.manifest}) == len(tree.truth)
        if packed and beside:
            assert result.skipped == {"archive beside the unpacked folder of its name": 1}


def _pack(folder: Path, suffix: str) -> None:
    paths = sorted(Path(top) / name for top, _, names in os.walk(folder, followlinks=True)
                   for name in names)  # fmt: skip
    target = folder.with_name(f"{folder.name}.{suffix}")
    if suffix == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in paths:
                archive.write(path, path.relative_to(folder))
    else:
        with tarfile.open(target, "w:gz" if suffix == "tar.gz" else "w") as tar:
            for path in paths:
                tar.add(path.resolve(), path.relative_to(folder))


@settings(max_examples=60, deadline=None)
@given(
    fakes=st.lists(st.booleans(), min_size=2, max_size=6),
    one_is_real=st.booleans(),
    words=st.tuples(st.sampled_from(sorted(REAL_WORDS)), st.sampled_from(sorted(FAKE_WORDS))),
    n_named=st.integers(0, 3),
    is_wrong=st.booleans(),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
)
def test_lists(
    fakes: list[bool],
    one_is_real: bool,
    words: tuple[str, str],
    n_named: int,
    is_wrong: bool,
    delimiter: str,
) -> None:
    """Numbers with and without words beside them, also words that contradict the folders."""
    with tempfile.TemporaryDirectory() as folder:
        fakes = [True, False, *fakes]
        lines = [delimiter.join(("path", "label", "label_name"))]
        truth: dict[str, bool] = {}
        for i, fake in enumerate(fakes):
            below = ("real", "fake")[fake] if is_wrong and i < n_named else "x"
            data = image()
            truth[digest_bytes(data)] = fake
            path = Path(folder) / below / f"{i}.ppm"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            word = words[fake != is_wrong] if i < n_named else ""
            lines.append(delimiter.join((f"{below}/{i}.ppm", str(int(fake != one_is_real)), word)))
        (Path(folder) / "l.csv").write_text("\n".join(lines))
        if is_wrong and n_named:
            with pytest.raises(DataError, match="contradicts itself"):
                scan(Path(folder) / "l.csv", ScanOptions(workers=1))
            return
        result = scan(Path(folder) / "l.csv", ScanOptions(workers=1))
        read = {sample.sample_id: bool(sample.label) for sample in result.manifest}
        if n_named >= 1:
            known = {int(fake != one_is_real) for fake in fakes[:n_named]}
            sure = known == {0, 1} or read == truth
            assert sure or any("0 = real, 1 = fake" in note for note in result.notes)
        else:
            assert any("0 = real, 1 = fake" in note for note in result.notes)
