"""The list of rejects: every file that gives no feature, with its reason."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from featcache.extract.summary import ExtractSummary
from featcache.files import write_atomic

FILE_NAME = "rejects.csv"


def write_rejects(store: Path, summaries: Iterable[ExtractSummary]) -> Path:
    """Write the rejects of the last extraction beside the shards, and return the file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("backbone", "view", "path", "sample_id", "reason"))
    for summary in summaries:
        for reject in summary.rejects:
            writer.writerow(
                (summary.backbone, summary.view, reject.path, reject.sample_id, reject.reason)
            )
    path = store / FILE_NAME
    data = text.getvalue().encode("utf-8", "surrogateescape")
    if not path.exists() or path.read_bytes() != data:
        write_atomic(path, data)
    return path
