"""A probe that sees file facts only: how far does it come, and by which fact?

What is known of a file without looking at the picture, as the backbone's input would still carry
it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from featcache.audit.result import GeneratorAudit
from featcache.datasets import Sample
from featcache.views import View

MAX_VALUES = 20
"""Values of a kind (formats, tables) that are told apart; the others count as one."""

COLUMN_NAMES = {
    "format": "file format",
    "tables": "JPEG quantisation table",
    "mode": "colour mode",
    "has_exif": "EXIF data",
    "size": "image size",
    "aspect": "aspect ratio",
    "bytes_per_pixel": "bytes per pixel",
}
"""The facts in words, the plainest first: of equally telling facts the first is named."""


@dataclass(frozen=True)
class AuditedMetadata:
    """Facts of one file, as stored or as a view leaves it."""

    format: str
    tables: str
    mode: str
    has_exif: int
    width: int
    height: int
    bytes_per_pixel: float


def metadata_of(sample: Sample) -> AuditedMetadata:
    """Return the facts of a file as it is stored.

    Parameters
    ----------
    sample : Sample
        Sample.

    Returns
    -------
    AuditedMetadata
        The facts of a file as it is stored.
    """
    pixels = max(sample.width * sample.height, 1)
    return AuditedMetadata(
        sample.format,
        sample.tables,
        sample.mode,
        sample.has_exif,
        sample.width,
        sample.height,
        sample.n_bytes / pixels,
    )


def metadata_under_view(view: View, sample: Sample, size: tuple[int, int]) -> AuditedMetadata:
    """Return the facts of a file as a view leaves them.

    A view that encodes gives every image one format and table; its bytes per pixel then measure the
    picture's detail and not the file any more, and are left out. A view that does not encode leaves
    the traces of the stored file in the pixels, so the stored facts stand, but for the size.

    Parameters
    ----------
    view : View
    sample : Sample
    size : (int, int), pixels
        Width and height after the view.

    Returns
    -------
    AuditedMetadata
        The facts of a file as a view leaves them.
    """
    stored = metadata_of(sample)
    if view.codec is None:
        return AuditedMetadata(
            stored.format,
            stored.tables,
            stored.mode,
            stored.has_exif,
            *size,
            stored.bytes_per_pixel,
        )
    file_format, quality = view.codec
    return AuditedMetadata(file_format, f"{file_format}-{quality}", "RGB", 0, *size, 0.0)


def table(facts: list[AuditedMetadata]) -> dict[str, NDArray[np.float64]]:
    """Return for each fact its columns, shape (n, k): numbers as they are, kinds as indicators.

    Parameters
    ----------
    facts : list[AuditedMetadata]
        Metadata of the files.

    Returns
    -------
    dict[str, ndarray of float64]
        For each fact its columns, shape (n, k).
    """
    ratio = [fact.width / max(fact.height, 1) for fact in facts]
    return {
        "format": _kinds([fact.format for fact in facts]),
        "tables": _kinds([fact.tables for fact in facts]),
        "mode": _kinds([fact.mode for fact in facts]),
        "has_exif": _numbers([[fact.has_exif] for fact in facts]),
        "size": _numbers([[f.width, f.height, f.width * f.height] for f in facts]),
        "aspect": _numbers([[value] for value in ratio]),
        "bytes_per_pixel": _numbers([[fact.bytes_per_pixel] for fact in facts]),
    }


def most_common(name: str, facts: list[AuditedMetadata]) -> str:
    """Return the most common value of a fact with its share, or the median of a number.

    Parameters
    ----------
    name : str
        Name to look up or to show.
    facts : list[AuditedMetadata]
        Metadata of the files.

    Returns
    -------
    str
        The most common value of a fact with its share, or the median of a number.
    """
    if name == "bytes_per_pixel":
        return f"median {np.median([fact.bytes_per_pixel for fact in facts]):.2f}"
    if name == "aspect":
        return f"median {np.median([f.width / max(f.height, 1) for f in facts]):.2f}"
    if name == "size":
        values = [f"{fact.width}x{fact.height}" for fact in facts]
    elif name == "has_exif":
        values = ["with EXIF" if fact.has_exif else "without" for fact in facts]
    else:
        values = [str(getattr(fact, name)) or "none" for fact in facts]
    value, count = Counter(values).most_common(1)[0]
    return f"{value} {100 * count / len(values):.0f} %"


def _numbers(rows: list[list[float]]) -> NDArray[np.float64]:
    return np.asarray(rows, dtype=np.float64)


def _kinds(values: list[str]) -> NDArray[np.float64]:
    common = [value for value, _ in Counter(values).most_common(MAX_VALUES)]
    return np.array([[value == name for name in common] for value in values], dtype=np.float64)


SOLVABLE, SUSPICIOUS = 0.95, 0.75
"""AUROC from which on a set counts as solvable without looking, and as suspicious."""

SURE = 0.6
"""The lower end of the interval must be above this: a few images are no evidence."""

MAX_DEPTH, FOLDS = 6, 5
NEARLY = 0.02
"""A single fact explains the whole where it comes so near."""


def measure_shortcut(
    facts: list[AuditedMetadata], labels: NDArray[np.int64], sources: NDArray[np.int64], remedy: str
) -> GeneratorAudit:
    """Return what the facts of one generator's files give away.

    Parameters
    ----------
    facts : list of FileFacts
    labels : ndarray of shape (n,), int64 in {0, 1}
    sources : ndarray of shape (n,), int64
        Photograph of each file; folds never cut through one.
    remedy : str
        View that removes what is found, for the sentence.

    Returns
    -------
    GeneratorAudit
        What the facts of one generator's files give away.
    """
    n_real, n_fake = int((labels == 0).sum()), int((labels == 1).sum())
    columns = table(facts)
    auroc_all = _auroc(np.concatenate(list(columns.values()), axis=1), labels, sources)
    if auroc_all is None:
        sentence = f"Too few images for a statement ({n_real} real, {n_fake} fake)."
        return GeneratorAudit(n_real=n_real, n_fake=n_fake, sentence=sentence)
    alone = {name: _auroc(values, labels, sources) or 0.5 for name, values in columns.items()}
    best = max(alone.values())
    feature = next(name for name in COLUMN_NAMES if alone[name] >= best - NEARLY)
    auroc = max(auroc_all, best)
    # The 95 % interval of Hanley and McNeil (1982).
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (n_fake - 1) * (q1 - auroc**2) + (n_real - 1) * (q2 - auroc**2)
    half = 1.96 * math.sqrt(max(variance, 0.0) / (n_real * n_fake))
    interval = max(auroc - half, 0.0), min(auroc + half, 1.0)
    conclusion = _conclusion(auroc, interval)
    real_facts = [fact for fact, label in zip(facts, labels, strict=True) if not label]
    fakes = [fact for fact, label in zip(facts, labels, strict=True) if label]
    real, fake = most_common(feature, real_facts), most_common(feature, fakes)
    return GeneratorAudit(
        n_real=n_real,
        n_fake=n_fake,
        auroc=auroc,
        auroc_ci=interval,
        feature="" if conclusion == "clean" else COLUMN_NAMES[feature],
        feature_auroc=alone[feature],
        features={COLUMN_NAMES[name]: value for name, value in alone.items()},
        real=real,
        fake=fake,
        verdict=conclusion,
        sentence=_sentence(conclusion, feature, auroc, alone[feature], (real, fake), remedy),
    )


def _auroc(
    values: NDArray[np.float64], labels: NDArray[np.int64], sources: NDArray[np.int64]
) -> float | None:
    """Return the mean AUROC over folds, None where a class has too few photographs for two
    folds.
    """
    folds = min(FOLDS, *(len(np.unique(sources[labels == label])) for label in (0, 1)))
    if folds < 2:
        return None
    if (values == values[0]).all():
        return 0.5
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    scores = []
    for train, test in splitter.split(values, labels, sources):
        if len(np.unique(labels[test])) == 2 and len(np.unique(labels[train])) == 2:
            leaf = min(5, 1 + len(train) // 50)
            tree = DecisionTreeClassifier(
                max_depth=MAX_DEPTH, min_samples_leaf=leaf, random_state=0
            )
            tree.fit(values[train], labels[train])
            scores.append(roc_auc_score(labels[test], tree.predict_proba(values[test])[:, 1]))
    return float(np.mean(scores)) if scores else None


def _conclusion(auroc: float, interval: tuple[float, float]) -> str:
    if auroc >= SOLVABLE and interval[0] > SURE:
        return "solvable"
    return "suspicious" if auroc >= SUSPICIOUS and interval[0] > SURE else "clean"


def _sentence(
    conclusion: str, feature: str, auroc: float, alone: float, values: tuple[str, str], remedy: str
) -> str:
    if conclusion == "clean":
        return f"Not to be told from its files: AUROC {auroc:.2f}."
    by_one = alone >= auroc - NEARLY
    what = f"{COLUMN_NAMES[feature]} alone" if by_one else "the facts of its files together"
    how = "Solvable from" if conclusion == "solvable" else "Helped by"
    detail = f"most by the {COLUMN_NAMES[feature]}: " if not by_one else ""
    doubt = ""
    if feature == "bytes_per_pixel":
        doubt = (
            " This may be the pictures' own detail rather than their files; the view decides it."
        )
    return (
        f"{how} {what}: AUROC {auroc:.2f} ({detail}real {values[0]}, fake {values[1]})."
        f"{doubt} Removed by --view {remedy}."
    )
