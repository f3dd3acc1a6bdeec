"""Identity: canonical JSON and digests. Nothing else in featcache makes a digest that names something."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

DIGEST_BYTES = 16
"""128 bits: no two of a billion images share an id by accident (odds below 1e-20)."""

BLOCK_BYTES = 1 << 20


def canonical_json(value: Any) -> str:
    """Return the one JSON text of ``value``: sorted keys, no spaces, ASCII, no NaN.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": [0.5, None]})
    '{"a":[0.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_bytes(data: bytes) -> str:
    """Return the digest of ``data``: 32 hexadecimal digits (BLAKE2b, 128 bits).

    Examples
    --------
    >>> digest_bytes(b"")
    'cae66941d9efbd404e4d88758ea67670'
    """
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def digest_json(value: Any) -> str:
    """Return the digest of the canonical JSON of ``value``."""
    return digest_bytes(canonical_json(value).encode("ascii"))


def digest_file(path: Path) -> str:
    """Return the digest of a file's bytes; a file of unchanged size and time is not read again."""
    status = path.stat()
    return _digest_file(path, status.st_size, status.st_mtime_ns)


@lru_cache
def _digest_file(path: Path, size: int, mtime_ns: int) -> str:
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()
