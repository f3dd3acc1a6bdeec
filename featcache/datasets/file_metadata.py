"""What the files are: identity by content, and the facts in their headers. Read in parallel,
once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple

from joblib import Parallel, delayed

from featcache.datasets.containers import SEPARATOR, read_bytes
from featcache.datasets.manifest import Manifest
from featcache.datasets.sample import Sample
from featcache.datasets.walk import File
from featcache.files import digest_bytes
from featcache.images import read_metadata
from featcache.progress import progress

CHUNK = 256
"""Files per task: a task for each would cost more than the reading."""

MANY_FILES = 10_000
"""From here on processes pay for their start; below, threads do."""


class FileMetadata(NamedTuple):
    """What a file's bytes say; all empty but ``problem`` where they could not be read."""

    sample_id: str = ""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    jpeg_quality: int = 0
    tables: str = ""
    has_exif: int = 0
    n_bytes: int = 0
    mtime_ns: int = 0
    problem: str = ""


def metadata_of(
    files: list[File], known: Manifest | None, workers: int
) -> list[FileMetadata | Sample]:
    """Return the facts of each file; one of unchanged size and time is not read again.

    Parameters
    ----------
    files : list of File
    known : Manifest, optional
        An earlier table of the same files.
    workers : int
        0 means one per core.

    Returns
    -------
    list of FileMetadata or Sample
        The earlier sample itself where the file is unchanged: a copy of 200,000 would cost seconds.
    """
    old = {s.path: s for s in known or () if not s.problem and s.sample_id}
    facts: list[FileMetadata | Sample | None] = [None] * len(files)
    to_read = []
    for i, file in enumerate(files):
        sample = old.get(file.path)
        if file.problem:
            facts[i] = FileMetadata(
                n_bytes=file.n_bytes, mtime_ns=file.mtime_ns, problem=file.problem
            )
        elif sample and sample.mtime_ns == file.mtime_ns and file.n_bytes in (0, sample.n_bytes):
            facts[i] = sample
        else:
            to_read.append(i)
    for i, fact in zip(to_read, _read_all([files[i] for i in to_read], workers), strict=True):
        facts[i] = fact
    return [fact for fact in facts if fact is not None]


def _read_all(files: list[File], workers: int) -> Iterator[FileMetadata]:
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    # Threads share what containers keep open; plain files by the thousand are worth processes.
    plain = not any(SEPARATOR in file.path for file in files)
    prefer = "processes" if plain and len(files) >= MANY_FILES else "threads"
    parallel = Parallel(n_jobs=workers or os.cpu_count() or 1, prefer=prefer, return_as="generator")
    with progress("scan", len(files), "files") as advance:
        for facts in parallel(delayed(_read_chunk)(chunk) for chunk in chunks):
            yield from facts
            advance(len(facts))


def _read_chunk(files: list[File]) -> list[FileMetadata]:
    return [read_one(file) for file in files]


def read_one(file: File) -> FileMetadata:
    """Read a file and return its facts.

    Parameters
    ----------
    file : File
        Opened file.

    Returns
    -------
    FileMetadata
    """
    try:
        data = read_bytes(file.path)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        return FileMetadata(n_bytes=file.n_bytes, mtime_ns=file.mtime_ns, problem=reason)
    if not data:
        return FileMetadata(mtime_ns=file.mtime_ns, problem="the file is empty")
    header = asdict(read_metadata(data))
    return FileMetadata(digest_bytes(data), **header, n_bytes=len(data), mtime_ns=file.mtime_ns)
