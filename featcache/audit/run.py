"""The audit: facts of the files, duplicates, balance, damage, and what to do about it."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from featcache.audit.duplicates import find_duplicates, perceptual_hash
from featcache.audit.result import VERDICTS, AuditResult, Balance, Duplicates, GeneratorAudit
from featcache.audit.shortcut import (
    AuditedMetadata,
    measure_shortcut,
    metadata_of,
    metadata_under_view,
)
from featcache.datasets import Manifest, Sample, read_bytes
from featcache.datasets.families import CONTROL
from featcache.datasets.filters import limit
from featcache.errors import DataError, ImageError, SettingsError
from featcache.images import decode
from featcache.progress import progress
from featcache.views import CLEAN, View, parse_views

SKEWED = 1.5
"""Ratio of the classes from which on a set counts as unbalanced."""

CHUNK = 32


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """How a data set is looked at.

    Parameters
    ----------
    view : str
        One view: the files are evaluated as it leaves them.
    max_per_class : int > 0
        Images of each generator, split and label that are looked at, chosen by content. Equal bytes
        are compared over all files all the same.
    decode : bool
        Whether pictures are decoded: needed for near duplicates, damage, and any view but
        ``clean``.
    workers : int
        0 means one per core.
    """

    view: str = "clean"
    max_per_class: int = 2000
    decode: bool = True
    workers: int = 0


@dataclass(frozen=True)
class _Looked:
    """What decoding one image gave."""

    size: tuple[int, int] = (0, 0)
    hash: int | None = None
    problem: str = ""


def audit(manifest: Manifest, options: AuditOptions) -> AuditResult:
    """Say whether a data set can be trusted.

    Parameters
    ----------
    manifest : Manifest
        Expanded: one row for each generator that a real serves.
    options : AuditOptions

    Returns
    -------
    AuditResult

    Raises
    ------
    DataError
        If there are no images.
    SettingsError
        If the view stands for several, or needs decoding and that is switched off.
    """
    views = parse_views(options.view)
    if len(views) != 1:
        raise SettingsError(
            f"--view {options.view!r} stands for several views; the audit takes one."
        )
    if views[0] != CLEAN and not options.decode:
        raise SettingsError("A view needs the pictures: leave --files-only out.")
    view = views[0]
    chosen = limit(manifest.usable(), options.max_per_class)
    if not len(chosen):
        raise DataError("There are no images to audit. Run 'featcache datasets scan' first.")
    looked = _decode_all(chosen, view, options) if options.decode else {}
    remedy = propose_view(chosen)
    generators = _generators(chosen, looked, view, remedy)
    hashes = {name: one.hash for name, one in looked.items() if one.hash is not None}
    duplicates = find_duplicates(manifest, hashes)
    balance = _balance(manifest)
    corrupt = _corrupt(manifest, looked)
    flagged = any(generator.verdict in VERDICTS[:2] for generator in generators.values())
    return AuditResult(
        view=view.name,
        generators=generators,
        duplicates=duplicates,
        balance=balance,
        corrupt=corrupt,
        remedy=remedy if flagged else "",
        sentences=_sentences(generators, duplicates, balance, corrupt),
        n_images=len({sample.sample_id for sample in chosen}),
    )


def propose_view(manifest: Manifest) -> str:
    """Return the ``match`` view whose quality and size no image of the set (but the odd one) lacks.

    The quality is the lowest of the JPEG files, so that their earlier compression does not shine
    through a gentler one; the size the shortest side, so that nothing is scaled up.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.

    Returns
    -------
    str
        The ``match`` view whose quality and size no image of the set (but the odd one) lacks.
    """
    qualities = [sample.jpeg_quality for sample in manifest if sample.jpeg_quality]
    quality = int(np.percentile(qualities, 2)) if qualities else 90
    sides = [min(s.width, s.height) for s in manifest if s.width and s.height]
    side = int(np.percentile(sides, 2)) if sides else 224
    return f"match:{min(max(quality, 50), 95)}-{min(max(side // 8 * 8, 32), 224)}"


def _decode_all(manifest: Manifest, view: View, options: AuditOptions) -> dict[str, _Looked]:
    """Decode every content once, in chunks over threads."""
    paths = list({sample.sample_id: sample.path for sample in manifest}.items())
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    parallel = Parallel(
        n_jobs=options.workers or os.cpu_count() or 1, prefer="threads", return_as="generator"
    )
    looked: dict[str, _Looked] = {}
    with progress("audit", len(paths)) as advance:
        for chunk, results in zip(
            chunks, parallel(delayed(_decode_chunk)(chunk, view) for chunk in chunks), strict=True
        ):
            looked.update(zip((name for name, _ in chunk), results, strict=True))
            advance(len(chunk))
    return looked


def _decode_chunk(chunk: list[tuple[str, str]], view: View) -> list[_Looked]:
    return [_decode_one(path, name, view) for name, path in chunk]


def _decode_one(path: str, sample_id: str, view: View) -> _Looked:
    try:
        image = decode(read_bytes(path))
        return _Looked(view(image, sample_id).size, perceptual_hash(image))
    except (ImageError, OSError) as error:
        return _Looked(problem=str(error))


def _generators(
    manifest: Manifest, looked: dict[str, _Looked], view: View, remedy: str
) -> dict[str, GeneratorAudit]:
    sets: dict[str, list[Sample]] = defaultdict(list)
    for sample in manifest:
        good = sample.format and not (looked and looked[sample.sample_id].problem)
        if good and sample.family != CONTROL:
            sets[sample.paired_with].append(sample)
    audits = {}
    for name, samples in sorted(sets.items()):
        facts = [_facts(sample, looked, view) for sample in samples]
        labels = np.array([sample.label for sample in samples], dtype=np.int64)
        sources = [f"{sample.dataset}/{sample.source}" for sample in samples]
        audits[name] = measure_shortcut(
            facts, labels, np.unique(sources, return_inverse=True)[1], remedy
        )
    return audits


def _facts(sample: Sample, looked: dict[str, _Looked], view: View) -> AuditedMetadata:
    if view == CLEAN:
        return metadata_of(sample)
    return metadata_under_view(view, sample, looked[sample.sample_id].size)


def _balance(manifest: Manifest) -> list[Balance]:
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for sample in manifest.usable():
        counts[sample.paired_with, sample.split][sample.label] += 1
    return [
        Balance(
            generator=name,
            split=split,
            n_real=n_real,
            n_fake=n_fake,
            skewed=max(n_real, n_fake) > SKEWED * min(n_real, n_fake),
        )
        for (name, split), (n_real, n_fake) in sorted(counts.items())
    ]


def _corrupt(manifest: Manifest, looked: dict[str, _Looked]) -> list[dict[str, str]]:
    reasons = {}
    for sample in manifest:
        decoded = looked.get(sample.sample_id)
        if reason := sample.problem or (decoded.problem if decoded else ""):
            reasons[sample.path] = reason
    return [{"path": path, "reason": reason} for path, reason in reasons.items()]


def _sentences(
    generators: dict[str, GeneratorAudit],
    duplicates: Duplicates,
    balance: list[Balance],
    corrupt: list[dict[str, str]],
) -> list[str]:
    """Return the findings in words, the worst first."""
    flagged = sorted(
        (VERDICTS.index(generator.verdict), name)
        for name, generator in generators.items()
        if generator.verdict in VERDICTS[:2]
    )
    said = [f"{name}: {generators[name].sentence}" for _, name in flagged]
    if duplicates.n_leaks:
        said.append(f"{duplicates.n_leaks:,} test images are also training images, byte for byte.")
    if duplicates.n_near_leaks:
        said.append(f"{duplicates.n_near_leaks:,} pairs of training and test images look the same.")
    if duplicates.n_shared_sources:
        said.append(
            f"{duplicates.n_shared_sources:,} photographs have images in training and in the test"
            " set."
        )
    if duplicates.n_copies:
        said.append(f"{duplicates.n_copies:,} files are copies of another file; each counts once.")
    if skewed := [f"{b.generator} ({b.split} {b.n_real}:{b.n_fake})" for b in balance if b.skewed]:
        more = ", ..." if len(skewed) > 4 else ""
        said.append(
            f"Reals and fakes are unbalanced in {', '.join(skewed[:4])}{more}: AP and accuracy"
            " depend on the shares, AUROC and balanced accuracy do not."
        )
    if corrupt:
        said.append(f"{len(corrupt):,} files cannot be used.")
    return said or ["Nothing was found that makes results on these data doubtful."]
