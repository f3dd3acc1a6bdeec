"""Names and bounds of every file, folder, data set and attribute of a store: the format in one
place.

::

    <store>/
      featcache-store.json                {"format": 1} keys/<fingerprint>/key.json         the
      feature key, canonical JSON keys/<fingerprint>/<name>.h5        shards; <name> is the digest
      of the planned sample ids keys/<fingerprint>/<name>.claim     who is making that shard; gone
      when it is made keys/<fingerprint>/behaviour.json   features of a few built-in images
      keys/<fingerprint>/index.safetensors  what is where; derived from the shards, may be deleted
      manifests/<dataset>.csv             labels (written by featcache.datasets; unknown to this
      package)

The words of it are in ``docs/format.md``.
"""

from __future__ import annotations

FORMAT_VERSION = 1
"""Written into the store and every shard; a reader refuses what it does not know."""

STORE_FILE = "featcache-store.json"
KEYS_FOLDER = "keys"
KEY_FILE = "key.json"
INDEX_FILE = "index.safetensors"
FINGERPRINT_FILE = "behaviour.json"
SHARD_SUFFIX = ".h5"
LOCK_SUFFIX = ".claim"

MAX_ROWS = 4096
"""Rows of a shard at the most, rejects included."""

MAX_FEATURES = 1 << 16
"""Length of a feature vector at the most."""

MAX_REASON_BYTES = 1024
"""Length of a reason for rejection at the most; longer ones are cut."""

MAX_KEY_BYTES = 1 << 16
"""Length of a key's JSON at the most."""

FEATURES = "features"
"""Data set (N, D), contiguous, little-endian float32 or float16, raw and un-normalised."""

SAMPLE_ID = "sample_id"
"""Data set (N,) of 32 ASCII bytes each, sorted."""

REJECTED_ID = "rejected_id"
"""Data set (R,) of 32 ASCII bytes each, sorted: planned samples that cannot be decoded."""

REJECTED_REASON = "rejected_reason"
"""Data set (R,) of UTF-8 bytes: why."""

DATA_SETS = (FEATURES, SAMPLE_ID, REJECTED_ID, REJECTED_REASON)
"""In the order of the digest."""

ATTR_FORMAT = "format"
ATTR_KEY = "key"
ATTR_DIGEST = "payload_xxh3_128"
ATTR_WRITER = "writer"

ID_DTYPE = "S32"
FEATURE_DTYPES = ("<f4", "<f2")
