"""From a root to a manifest: which samples there are, by content, and what was passed over."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from featcache.datasets.discovery import NOT_NAMED, find
from featcache.datasets.evidence import LabelMap
from featcache.datasets.families import group_of
from featcache.datasets.file_metadata import FileMetadata, metadata_of
from featcache.datasets.layouts import EVERY, Place, is_shared
from featcache.datasets.manifest import Manifest
from featcache.datasets.sample import REAL, Sample
from featcache.datasets.template import SPLITS
from featcache.datasets.walk import name_of_root
from featcache.errors import DataError
from featcache.parsing import BoundedPattern


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """How a tree is read.

    Parameters
    ----------
    layout : str
        Name of the layout; empty means by the tree's structure.
    source_pattern : str
        Regular expression searched in the path below the root; its first group (or whole match)
        names the photograph that the file comes from. Empty: what the layout says, else every file
        is a source of its own.
    test_fraction : float in (0, 1)
        Share of the sources held out where neither folders nor list name a split.
    groups : mapping of str to collection of str
        The user's own families of generators.
    workers : int
        Readers; 0 means one per core.
    mapping : LabelMap
        The user's own columns, and values of labels and class folders.
    own_layouts : sequence of mapping
        ``[[layout]]`` tables of the settings file.
    strict : bool
        Whether images that are real in one place and fake in another are an error.
    """

    layout: str = ""
    source_pattern: str = ""
    test_fraction: float = 0.3
    groups: Mapping[str, list[str]] = field(default_factory=dict)
    workers: int = 0
    mapping: LabelMap = field(default_factory=LabelMap)
    own_layouts: Sequence[Mapping[str, Any]] = ()
    strict: bool = False


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
    layouts : dict of str to int
        How many samples were read by which layout.
    evidence : dict of str to int
        Evidence of the labels to number of samples.
    """

    manifest: Manifest
    skipped: dict[str, int]
    notes: list[str]
    layouts: dict[str, int] = field(default_factory=dict)
    evidence: dict[str, int] = field(default_factory=dict)


def scan(root: Path, options: ScanOptions, known: Manifest | None = None) -> Scan:
    """Find the samples of a root.

    Parameters
    ----------
    root : Path
        A tree, a container or a list; see :func:`~featcache.datasets.discovery.find`.
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
    with paused_gc():
        # A file in a snapshot of the Hub is a link to one whose name is a digest.
        place = root.parent.resolve() / root.name if root.is_file() else root.resolve()
        return _scan(place, options, known)


@contextmanager
def paused_gc() -> Iterator[None]:
    """Keep the garbage collector from running while many lasting objects are made.

    Yields
    ------
    None
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _scan(root: Path, options: ScanOptions, known: Manifest | None) -> Scan:
    source_of = compile_source_pattern(options.source_pattern)
    discovered = find(root, options.layout, options.mapping, options.own_layouts)
    if not discovered.samples:
        raise DataError(
            f"{root} holds no images. Passed over: {dict(discovered.skipped) or 'nothing'}."
        )
    facts = metadata_of([file for file, _ in discovered.samples], known, options.workers)
    name = dataset_name(root)
    samples = [
        _sample(file.path, place, fact, (name, str(root)), source_of, options)
        for (file, place), fact in zip(discovered.samples, facts, strict=True)
    ]
    manifest, n_copies = _without_copies(samples)
    notes = list(discovered.notes)
    if n_copies:
        notes.append(
            f"{n_copies:,} files are copies of others of their generator, split and label; each "
            "image counts once."
        )
    conflicts = manifest.conflicts()
    if n_both := len({sample.sample_id for sample in conflicts}):
        message = (
            f"{n_both:,} images are real in one place and fake in another, such as "
            f"{conflicts[0].path!r} and {conflicts[1].path!r}"
        )
        if options.strict:
            raise DataError(f"{message}. Remove one of each (--strict is set).")
        notes.append(f"{message}; they are left out of training and testing.")
    if set(discovered.layouts) - {"tree"}:
        read = ", ".join(f"{name} ({n:,} files)" for name, n in discovered.layouts.most_common())
        notes.append(f"Read as {read}; force another with --layout.")
    if unsplit := sum(not place.split for _, place in discovered.samples):
        notes.append(
            f"{unsplit:,} files lie under no train or test folder: they were split by source, "
            f"{options.test_fraction:.0%} for testing."
        )
    if n_shared := sum(not sample.family for sample in samples):
        notes.append(f"{n_shared:,} reals are shared by several generators; each is stored once.")
    if discovered.skipped[NOT_NAMED]:
        where = ", ".join(discovered.strays[:3]) + (", ..." if len(discovered.strays) > 3 else "")
        notes.append(
            f"{discovered.skipped[NOT_NAMED]:,} images lie in folders of no layout: {where}."
        )
        classes = {place.label for _, place in discovered.samples}
        if len(classes) == 1:
            notes.append(
                f"Only {('reals', 'fakes')[classes.pop()]} were read. Name the folders of the other"
                " class with --label NAME=real|fake, or describe the layout ([[layout]] in "
                "featcache.toml)."
            )
    if bad := sum(bool(sample.problem) for sample in samples):
        notes.append(
            f"{bad:,} files cannot be used; 'featcache extract' lists them with the reason."
        )
    return Scan(
        manifest,
        dict(discovered.skipped),
        notes,
        dict(discovered.layouts),
        dict(discovered.evidence),
    )


def _without_copies(samples: list[Sample]) -> tuple[Manifest, int]:
    """Return the samples, each content once in a generator, split and label; and how many fell."""
    seen: set[tuple[str, str, str, int, str]] = set()
    # A pool of photographs beside sets that link or copy them adds nothing.
    paired = {s.sample_id for s in samples if not s.label and s.paired_with != EVERY}
    kept = []
    for sample in samples:
        if sample.paired_with == EVERY and sample.sample_id and sample.sample_id in paired:
            continue
        role = (
            *(sample.sample_id, sample.paired_with, sample.split),
            *(sample.label, sample.category),
        )
        if not sample.sample_id or role not in seen:
            seen.add(role)
            kept.append(sample)
    return Manifest(tuple(kept)), len(samples) - len(kept)


def dataset_name(root: Path) -> str:
    """Return the name of the dataset in ``root``: its folder's, with the parent's if that says too
    little.

    Parameters
    ----------
    root : Path
        Root folder.

    Returns
    -------
    str
        The name of the dataset in ``root``.

    Examples
    --------
    >>> dataset_name(Path("/x/forensynths")), dataset_name(Path("/x/univfd/train"))
    ('forensynths', 'univfd-train')
    """
    own = name_of_root(root)
    vague = own.lower() in (*SPLITS, "data", "images", "dataset", "datasets")
    return f"{name_of_root(root.parent)}-{own}".strip("-") if vague else own or "root"


def compile_source_pattern(pattern: str) -> Callable[[str], str]:
    """Return the function from a path below the root to the name of its source, empty for none.

    Parameters
    ----------
    pattern : str
        Regular expression.

    Returns
    -------
    Callable[[str], str]
        The function from a path below the root to the name of its source, empty for none.

    Raises
    ------
    SettingsError
        If a setting or a flag is not valid.
    """
    if not pattern:
        return lambda path: ""
    return BoundedPattern(pattern, "--source-pattern").first_group


def split_of(source: str, test_fraction: float) -> str:
    """Return ``"train"`` or ``"test"`` for a source, the same on every machine and in every order.

    Parameters
    ----------
    source : str
        Where the data come from.
    test_fraction : float
        Share of the sources that are test data.

    Returns
    -------
    str
        ``"train"`` or ``"test"`` for a source, the same on every machine and in every order.
    """
    digest = hashlib.blake2b(source.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return "test" if int.from_bytes(digest, "big") < test_fraction * 2**64 else "train"


def _sample(
    path: str,
    place: Place,
    facts: FileMetadata | Sample,
    dataset: tuple[str, str],
    source_of: Callable[[str], str],
    options: ScanOptions,
) -> Sample:
    """Join what the place, the bytes and the options say about one file."""
    name, root = dataset
    relative = path[len(root) + 1 :] if path.startswith(root) else path
    source = source_of(relative) or place.source or facts.sample_id or relative
    paired_with = place.paired_with or place.generator
    said = (
        name,
        root,
        path,
        place.label,
        place.generator if place.label else REAL,
        paired_with,
        "" if is_shared(paired_with) else group_of(paired_with, options.groups),
        place.split or split_of(source, options.test_fraction),
        place.category,
        source,
        place.layout,
    )
    if isinstance(facts, FileMetadata):
        return Sample(**dict(zip(_SAID, said, strict=True)), **facts._asdict())  # type: ignore[arg-type]
    same = _said(facts) == said
    return facts if same else replace(facts, **dict(zip(_SAID, said, strict=True)))  # type: ignore[arg-type]


_SAID = (
    *(
        "dataset",
        "root",
        "path",
        "label",
        "generator",
        "paired_with",
        "family",
        "split",
        "category",
    ),
    *("source", "layout"),
)
"""What place and options say about a sample; the rest are facts of the file."""

_said = attrgetter(*_SAID)
