"""The file of scores: one row per test sample and generator, from which every metric can be redone."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from featcache.files import write_atomic
from featcache.results import Scores

COLUMNS = ("generator", "split", "path", "sample_id", "label", "score", "logit", "source")


def write_scores(scores: Scores, path: Path) -> Path:
    """Write scores as CSV, with every digit of the numbers.

    Parameters
    ----------
    scores : Scores
    path : Path
        File names that are not UTF-8 keep their bytes.

    Returns
    -------
    Path
        The file, absolute.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    # tolist() gives Python numbers, whose text reads back as the same number.
    writer.writerows(zip(*(getattr(scores, name).tolist() for name in COLUMNS), strict=True))
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return path.resolve()
