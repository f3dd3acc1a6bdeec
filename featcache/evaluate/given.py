"""Judge a head that was fitted elsewhere: its features are read, nothing is fitted."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

from featcache._version import __version__
from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest, Sample
from featcache.evaluate import data
from featcache.evaluate.options import ProbeOptions
from featcache.evaluate.protocol import Probed, describe, score
from featcache.hashing import digest_bytes, digest_json
from featcache.probes import SavedHead


def judge_head(
    manifest: Manifest, store: FeatureStore, head: SavedHead, options: ProbeOptions
) -> Probed:
    """Score every generator's test samples with a head, and report as :func:`run_probe` does.

    Parameters
    ----------
    manifest : Manifest
        Its training samples are what the head was trained on: they are described and compared with the
        test samples, and need no features.
    store : FeatureStore
        Must hold the head's features of all usable test samples.
    head : SavedHead
        Bound to its feature keys.
    options : ProbeOptions
        Which generators it was trained on, threshold and bootstrap; the features are the head's own.

    Returns
    -------
    Probed
        ``C`` is NaN; ``head`` says what the head's own description says.

    Raises
    ------
    MissingFeaturesError
        If a test sample has no feature.
    DataError
        If every test set lacks a class.
    """
    keys = [FeatureKey(fields) for fields in head.feature_keys]
    options = replace(options, features=[key.name for key in keys])
    tested = manifest.where(lambda sample: sample.split == "test")
    samples, notes = data.joinable(tested, store, keys, options)
    train = data.training_set(list(manifest.usable()), options.train)
    tests = data.test_sets(samples, notes)
    scores = score(tests, head, store, keys)
    notes += data.leak_notes(train, [sample for rows in tests.values() for sample in rows])
    result = describe(options, keys, train, tests, scores, notes, head.n_features)
    result = replace(
        result,
        C=math.nan,
        head=str(head.meta.get("head", "given")),
        scaling=str(head.meta.get("scaling", "")),
        digest=_digest(head, options, tests),
    )
    return Probed(result=result, scores=scores, head=head)


def _digest(head: SavedHead, options: ProbeOptions, tests: dict[str, list[Sample]]) -> str:
    """Return the digest of all that determines the result."""
    rows = [(name, s.sample_id, s.label, data.unit(s)) for name, ss in tests.items() for s in ss]
    return digest_json(
        {
            "protocol": __version__,
            "head": digest_bytes(head.weight.tobytes()) + repr(head.bias),
            "keys": head.feature_keys,
            "options": {**asdict(options), "wanted": {}},
            "test": digest_json(sorted(rows)),
        }
    )
