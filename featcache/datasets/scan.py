"""From a tree of images to a manifest: who is there, by content, and what was passed over."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from joblib import Parallel, delayed

from featcache.datasets.groups import group_of
from featcache.datasets.layout import IMAGE_SUFFIXES, SPLIT_FOLDERS, Found, find_files
from featcache.datasets.manifest import REAL, Manifest, Sample
from featcache.errors import DataError, SettingsError
from featcache.hashing import digest_bytes
from featcache.images import is_image, read_facts
from featcache.progress import track

HEAD_BYTES = 4096
"""Enough of a file's beginning to recognise its format."""


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """How a tree is read.

    Parameters
    ----------
    source_pattern : str
        Regular expression searched in the path below the root; its first group (or whole match) names
        the photograph that the file comes from. Empty: every file is a source of its own.
    test_fraction : float in (0, 1)
        Share of the sources held out where the folders name no split.
    workers : int
        Reading threads; 0 means one per core.
    """

    source_pattern: str = ""
    test_fraction: float = 0.3
    workers: int = 0


@dataclass(frozen=True)
class Scan:
    """What a scan found.

    Parameters
    ----------
    manifest : Manifest
    skipped : dict of str to int
        How many entries were passed over, by reason.
    notes : list of str
        What the reader should know about how the tree was read.
    """

    manifest: Manifest
    skipped: dict[str, int]
    notes: list[str]


def scan(root: Path, options: ScanOptions, known: Manifest | None = None) -> Scan:
    """Find the samples of a tree.

    Parameters
    ----------
    root : Path
        Root of the tree.
    options : ScanOptions
    known : Manifest, optional
        An earlier table of the same tree; files of unchanged size and time are not read again.

    Returns
    -------
    Scan
        Samples in sorted order of their paths, whatever the order of the file system.

    Raises
    ------
    DataError
        If the tree is of no known layout or holds no image.
    """
    root = root.resolve()
    source_of = compile_source_pattern(options.source_pattern)
    kept, skipped = _sift(find_files(root))
    if not kept:
        raise DataError(f"{root} holds no images. Passed over: {dict(skipped) or 'nothing'}.")
    remembered = {sample.path: sample for sample in known or ()}
    samples = [
        _assign(sample, found, source_of, options)
        for sample, found in _read_all(kept, root, remembered, options)
    ]
    return Scan(Manifest(tuple(samples)), dict(skipped), _notes(kept, samples, options))


def dataset_name(root: Path) -> str:
    """Return the name of the dataset in ``root``: its folder's, with the parent's if that says too little.

    Examples
    --------
    >>> dataset_name(Path("/x/forensynths")), dataset_name(Path("/x/univfd/train"))
    ('forensynths', 'univfd-train')
    """
    vague = root.name.lower() in (*SPLIT_FOLDERS, "data", "images", "dataset")
    return f"{root.parent.name}-{root.name}".strip("-") if vague else root.name or "root"


def compile_source_pattern(pattern: str) -> Callable[[str], str]:
    """Return the function from a path below the root to the name of its source, empty for none."""
    if not pattern:
        return lambda path: ""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise SettingsError(
            f"--source-pattern {pattern!r} is no regular expression: {error}."
        ) from error

    def source_of(path: str) -> str:
        match = expression.search(path)
        if match is None:
            return ""
        return (match.group(1) if expression.groups else match.group(0)) or ""

    return source_of


def split_of(source: str, test_fraction: float) -> str:
    """Return ``"train"`` or ``"test"`` for a source, the same on every machine and in every order."""
    digest = hashlib.blake2b(source.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return "test" if int.from_bytes(digest, "big") < test_fraction * 2**64 else "train"


def _sift(found: Iterable[Found]) -> tuple[list[Found], Counter[str]]:
    """Split the entries into those to read and a count of the others by reason."""
    kept: list[Found] = []
    skipped: Counter[str] = Counter()
    for entry in found:
        reason = _why_skipped(entry)
        if reason:
            skipped[reason] += 1
        else:
            kept.append(entry)
    return kept, skipped


def _why_skipped(entry: Found) -> str:
    name = entry.path.name
    if name.startswith(".") or name in ("Thumbs.db", "desktop.ini"):
        return "hidden file"
    suffix = entry.path.suffix.lower()
    if suffix in IMAGE_SUFFIXES or entry.is_folder:
        return ""
    if not suffix or _looks_like_image(entry.path):
        return ""
    return f"no image ({suffix})"


def _looks_like_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_image(file.read(HEAD_BYTES))
    except OSError:
        return False


def _read_all(
    kept: list[Found], root: Path, remembered: dict[str, Sample], options: ScanOptions
) -> list[tuple[Sample, Found]]:
    parallel = Parallel(n_jobs=options.workers or -1, prefer="threads", return_as="generator")
    calls = (delayed(_read)(found, root, remembered.get(str(found.path))) for found in kept)
    return list(zip(track(parallel(calls), "scan", len(kept), "files"), kept, strict=True))


def _read(found: Found, root: Path, old: Sample | None) -> Sample:
    """Return the sample of one file; the path is read again only if its size or time changed."""
    place = found.place
    facts: dict[str, object] = {}
    try:
        status = found.path.stat()
        facts = {"n_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        if old and not old.problem and (old.n_bytes, old.mtime_ns) == tuple(facts.values()):
            facts |= {name: getattr(old, name) for name in _CONTENT}
        else:
            facts |= _read_content(found)
    except OSError as error:
        facts["problem"] = f"cannot be read: {error.strerror or error}"
    return Sample(
        dataset=dataset_name(root),
        root=str(root),
        path=str(found.path),
        label=place.label,
        generator=place.generator if place.label else REAL,
        serves=place.generator,
        group=group_of(place.generator),
        split=place.split,
        category=place.category,
        **facts,  # type: ignore[arg-type]
    )


_CONTENT = ("sample_id", "format", "mode", "width", "height", "jpeg_quality")


def _read_content(found: Found) -> dict[str, object]:
    if found.is_folder:
        return {"problem": "is a folder, not an image file", "n_bytes": 0}
    if not found.path.is_file():
        return {"problem": "is no regular file", "n_bytes": 0}
    data = found.path.read_bytes()
    if not data:
        return {"problem": "the file is empty"}
    facts = read_facts(data)
    return {"sample_id": digest_bytes(data)} | {name: getattr(facts, name) for name in _CONTENT[1:]}


def _assign(
    sample: Sample, found: Found, source_of: Callable[[str], str], options: ScanOptions
) -> Sample:
    """Fill in the source and, where the folders name none, the split."""
    relative = os.path.relpath(sample.path, sample.root)
    source = source_of(relative) or sample.sample_id or relative
    split = found.place.split or split_of(source, options.test_fraction)
    return replace(sample, source=source, split=split)


def _notes(kept: list[Found], samples: list[Sample], options: ScanOptions) -> list[str]:
    notes = []
    if unsplit := sum(not found.place.split for found in kept):
        notes.append(
            f"{unsplit:,} files lie under no train or test folder: they were split by source, "
            f"{options.test_fraction:.0%} for testing."
        )
    if bad := sum(bool(sample.problem) for sample in samples):
        notes.append(
            f"{bad:,} files cannot be used; 'featcache extract' lists them with the reason."
        )
    return notes
