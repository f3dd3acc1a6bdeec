"""Names of every file, folder, data set and attribute of a store: the format in one place.

::

    <store>/
      featcache-store.json             {"format": 1}
      keys/<fingerprint>/key.json      the feature key, canonical JSON
      keys/<fingerprint>/<name>.h5     shards; <name> is the digest of the planned sample ids
      manifests/<dataset>.csv          labels (written by featcache.datasets; unknown to this package)
"""

from __future__ import annotations

FORMAT_VERSION = 1
"""Written into the store and every shard; a reader refuses what it does not know."""

STORE_FILE = "featcache-store.json"
KEYS_FOLDER = "keys"
KEY_FILE = "key.json"
SHARD_SUFFIX = ".h5"

MAX_ROWS = 4096
"""Rows of a shard at the most."""

FEATURES = "features"
"""Data set (N, D), contiguous, float32 or float16, raw and un-normalised."""

SAMPLE_ID = "sample_id"
"""Data set (N,) of 32 ASCII bytes each, sorted."""

REJECTED_ID = "rejected_id"
"""Data set (R,) of 32 ASCII bytes each, sorted: planned samples that cannot be decoded."""

REJECTED_REASON = "rejected_reason"
"""Data set (R,) of UTF-8 bytes: why."""

ATTR_FORMAT = "format"
ATTR_KEY = "key"
ATTR_DIGEST = "payload_xxh3_128"
ATTR_WRITER = "writer"

ID_DTYPE = "S32"
FEATURE_DTYPES = ("float32", "float16")
