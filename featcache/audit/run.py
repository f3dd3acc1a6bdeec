"""The audit: facts of the files, duplicates, balance, damage, and what to do about it."""

from __future__ import annotations

import os
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
from featcache.datasets import Manifest, Sample, read_bytes, resolve_pairs
from featcache.datasets.families import CONTROL
from featcache.datasets.filters import limit
from featcache.datasets.layouts import PAIRED_SEPARATOR
from featcache.datasets.pairings import (
    GeneratorRows,
    families_of,
    generator_names,
    has_shared_reals,
    members,
)
from featcache.errors import DataError, ImageError, SettingsError
from featcache.images import decode
from featcache.progress import progress
from featcache.views import CLEAN, View, parse_views

SKEWED = 1.5
"""Ratio of the classes from which on a set counts as unbalanced."""

CHUNK = 32

MANY_GENERATORS = 100
"""With more generators than this the families are audited, each as one set."""


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
        All samples.
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
    if has_shared_reals(manifest):
        manifest = resolve_pairs(manifest)
    views = parse_views(options.view)
    if len(views) != 1:
        raise SettingsError(
            f"--view {options.view!r} stands for several views; the audit takes one."
        )
    if views[0] != CLEAN and not options.decode:
        raise SettingsError("A view needs the pictures: leave --files-only out.")
    view = views[0]
    usable = manifest.usable()
    n_generators = len(generator_names(usable))
    by_family = n_generators > MANY_GENERATORS
    chosen = limit(_families_as_sets(usable) if by_family else usable, options.max_per_class)
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
    sentences = _sentences(generators, duplicates, balance, corrupt)
    if by_family:
        sentences.append(
            f"{n_generators:,} generators are looked at by family; name some to see each of them: "
            "--generators A,B."
        )
    return AuditResult(
        view=view.name,
        generators=generators,
        duplicates=duplicates,
        balance=balance,
        corrupt=corrupt,
        remedy=remedy if flagged else "",
        sentences=sentences,
        n_images=len(np.unique(chosen.codes("sample_id"))),
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
    qualities = manifest.numbers("jpeg_quality")
    qualities = qualities[qualities > 0]
    quality = int(np.percentile(qualities, 2)) if len(qualities) else 90
    width, height = manifest.numbers("width"), manifest.numbers("height")
    sides = np.minimum(width, height)[(width > 0) & (height > 0)]
    side = int(np.percentile(sides, 2)) if len(sides) else 224
    return f"match:{min(max(quality, 50), 95)}-{min(max(side // 8 * 8, 32), 224)}"


def _decode_all(manifest: Manifest, view: View, options: AuditOptions) -> dict[str, _Looked]:
    """Decode every content once, in chunks over threads."""
    ids, first = np.unique(manifest.codes("sample_id")[::-1], return_index=True)
    last = manifest.subset(np.sort(len(manifest) - 1 - first)) if len(ids) else manifest
    paths = list(zip(last.strings("sample_id"), last.strings("path"), strict=True))
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
    good = manifest.texts("format").where(bool)
    if damaged := [name for name, image in looked.items() if image.problem]:
        good &= ~manifest.is_text("sample_id", *damaged)
    part = manifest.subset(good)
    rows_of, families = GeneratorRows(part), families_of(part)
    sources = part.source_codes()
    audits = {}
    with progress("audit of file facts", len(rows_of), "sets") as advance:
        for name in rows_of:
            if families[name] != CONTROL:
                rows = rows_of[name]
                facts = [_facts(sample, looked, view) for sample in part.subset(rows)]
                _, numbers = np.unique(sources[rows], return_inverse=True)
                audits[name] = measure_shortcut(facts, part.labels[rows], numbers, remedy)
            advance(1)
    return audits


def _families_as_sets(manifest: Manifest) -> Manifest:
    """Return the manifest with families in the place of generators."""
    families = families_of(manifest)

    def family(text: str) -> str:
        return PAIRED_SEPARATOR.join(dict.fromkeys(families[name] for name in members(text)))

    paired = manifest.texts("paired_with").map(family)
    changed = manifest.replace(paired_with=paired, family=paired)
    changed.families = {name: name for name in families.values()}
    return changed


def _facts(sample: Sample, looked: dict[str, _Looked], view: View) -> AuditedMetadata:
    if view == CLEAN:
        return metadata_of(sample)
    return metadata_under_view(view, sample, looked[sample.sample_id].size)


def _balance(manifest: Manifest) -> list[Balance]:
    usable = manifest.usable()
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for split in usable.texts("split").values().values():
        part = usable.subset(usable.is_text("split", split))
        rows_of, fake = GeneratorRows(part), part.numbers("label") == 1
        sizes = {code: (int((~fake[rows]).sum()), int(fake[rows].sum()))
                 for code, rows in rows_of.groups.items()}  # fmt: skip
        for name in rows_of:
            groups = [sizes[code] for code in rows_of.groups_of(name)]
            counts[name, split] = sum(n for n, _ in groups), sum(n for _, n in groups)
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
    damaged = {name: image.problem for name, image in looked.items() if image.problem}
    bad = manifest.texts("problem").where(bool)
    if damaged:
        bad |= manifest.is_text("sample_id", *damaged)
    reasons = {s.path: s.problem or damaged[s.sample_id] for s in manifest.subset(bad)}
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
