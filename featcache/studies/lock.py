"""The lock file of a study: what exactly it ran on, so that a later run can say what has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featcache.datasets import Manifest
from featcache.errors import DataError
from featcache.files import write_atomic
from featcache.hashing import digest_json

FILE_NAME = "study.lock.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Lock:
    """What determines the numbers of a study.

    Parameters
    ----------
    study : str
        Digest of the study's file.
    samples : str
        Digest of ids, labels, generators, splits and sources of all samples.
    n_samples : int
    keys : dict of str to dict
        The complete feature key of each feature and view.
    results : dict of str to str
        Digest of the result of each run.
    versions : dict of str to str
        Recorded, not compared.
    """

    study: str
    samples: str
    n_samples: int
    keys: Mapping[str, Mapping[str, Any]]
    results: Mapping[str, str]
    versions: Mapping[str, str]


def digest_samples(manifest: Manifest) -> str:
    """Return the digest of all that a manifest says about what is compared, whatever its order."""
    names = ("sample_id", "label", "generator", "serves", "split", "category", "source")
    return digest_json(sorted([getattr(sample, name) for name in names] for sample in manifest))


def changes(old: Lock, new: Lock) -> list[str]:
    """Return in words what differs between two runs of a study; versions are not compared."""
    found = []
    if old.study != new.study:
        found.append("the study's file has changed")
    if old.samples != new.samples:
        found.append(f"the samples have changed ({old.n_samples:,} then, {new.n_samples:,} now)")
    changed = [name for name in new.keys if name in old.keys and old.keys[name] != new.keys[name]]
    if changed:
        found.append(f"other features under the same name: {', '.join(sorted(changed))}")
    return found


def read_lock(path: Path) -> Lock | None:
    """Return the lock of an earlier run, None where there was none.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text("utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError("it is of another version")
        return Lock(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is no lock of a study: {error}. Delete it to run anew.") from error


def write_lock(path: Path, lock: Lock) -> None:
    """Write the lock, whole or not at all."""
    text = json.dumps({"format": FORMAT, **asdict(lock)}, indent=1, sort_keys=True)
    write_atomic(path, text.encode("ascii"))
