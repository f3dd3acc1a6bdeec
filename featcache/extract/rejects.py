"""The list of rejects: every file that gives no feature, with its reason."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.files import write_atomic

if TYPE_CHECKING:
    from featcache.extract.summary import ExtractSummary

FILE_NAME = "rejects.csv"


@dataclass(frozen=True)
class Reject:
    """An image that gives no feature, and why."""

    path: str
    sample_id: str
    reason: str


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
