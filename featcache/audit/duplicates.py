"""What occurs twice: equal bytes by sample id, nearly equal pictures by a perceptual hash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.audit.result import Duplicates, Pair
from featcache.datasets import Manifest, Sample
from featcache.datasets.columns import Texts, group_rows
from featcache.datasets.sample import OWN

MAX_DISTANCE = 4
"""Bits of 64 in which two perceptual hashes may differ; re-encoded copies differ in 0 to 2."""

SHOWN = 20
FLAT = 3.0
"""Grey levels of deviation below which a picture is too plain to be recognised by its hash."""

_BITS = 64


def perceptual_hash(image: Image.Image) -> int | None:
    """Return the 64-bit hash of a picture (imagehash's ``phash``), None where it is too plain.

    Parameters
    ----------
    image : PIL.Image.Image

    Returns
    -------
    int | None
        The 64-bit hash of a picture (imagehash's ``phash``), None where it is too plain.
    """
    import imagehash

    grey = image.convert("L")
    if np.asarray(grey.resize((32, 32))).std() < FLAT:
        return None
    bits = imagehash.phash(grey).hash.ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def find_duplicates(manifest: Manifest, hashes: Mapping[str, int]) -> Duplicates:
    """Return copies and leaks.

    Parameters
    ----------
    manifest : Manifest
    hashes : mapping of str to int
        Perceptual hash by sample id, of those images that were decoded.

    Returns
    -------
    Duplicates
        Copies and leaks.
    """
    good = manifest.subset(manifest.is_text("problem", "") & ~manifest.is_text("sample_id", ""))
    # Rows of one file, as lists may have them, are no copies.
    repeated = good.texts("sample_id").counts()[good.codes("sample_id")] > 1
    repeats = good.subset(repeated)
    paths = Texts.of(repeats.strings("path"))
    first, _ = group_rows(paths.codes, repeats.codes("split"))
    files = good.subset(np.sort([*np.flatnonzero(~repeated), *np.flatnonzero(repeated)[first]]))
    ids, n_ids = files.codes("sample_id"), len(files.texts("sample_id").table)
    is_train, is_test = files.is_text("split", "train"), files.is_text("split", "test")
    leaked = (np.bincount(ids[is_train], minlength=n_ids) > 0) & (
        np.bincount(ids[is_test], minlength=n_ids) > 0
    )
    leaks = _leaks(files.subset(leaked[ids]))
    hashed = files.subset(files.texts("sample_id").isin(hashes))
    n_near, near = _near_leaks(list(hashed), hashes)
    named = files.subset(files.numbers(OWN) == 0)
    sources = named.source_codes()
    in_train, in_test = (sources[named.is_text("split", split)] for split in ("train", "test"))
    shared = np.intersect1d(in_train, in_test)
    return Duplicates(
        n_copies=len(files) - len(np.unique(ids)),
        n_leaks=int(leaked.sum()),
        n_near_leaks=n_near,
        n_shared_sources=len(shared),
        leaks=leaks,
        near_leaks=near,
        n_hashed=len(hashes),
    )


def near_pairs(hashes: NDArray[np.uint64], max_distance: int) -> list[tuple[int, int, int]]:
    """Return the pairs of 64-bit hashes that differ in at most so many bits.

    Two such hashes are equal in at least one of ``max_distance + 1`` bands, so only those that
    share a band are compared.

    Parameters
    ----------
    hashes : ndarray of shape (n,), uint64
        Distinct.
    max_distance : int in [0, 15]

    Returns
    -------
    list of (int, int, int)
        Places of both, the smaller first, and the number of bits; sorted.
    """
    edges = np.linspace(0, _BITS, max_distance + 2).astype(int)
    pairs: set[tuple[int, int, int]] = set()
    for low, high in pairwise(edges):
        mask = np.uint64(((1 << int(high - low)) - 1) << int(low))
        bands = hashes & mask
        order = np.argsort(bands, kind="stable")
        ends = np.flatnonzero(np.diff(bands[order])) + 1
        for bucket in np.split(order, ends):
            if len(bucket) > 1:
                pairs.update(_pairs_in(np.sort(bucket), hashes, max_distance))
    return sorted(pairs)


def _pairs_in(
    bucket: NDArray[np.intp], hashes: NDArray[np.uint64], max_distance: int
) -> list[tuple[int, int, int]]:
    pairs = []
    for k, i in enumerate(bucket[:-1]):
        rest = bucket[k + 1 :]
        bits = np.bitwise_count(hashes[rest] ^ hashes[i])
        pairs += [
            (int(i), int(j), int(n)) for j, n in zip(rest, bits, strict=True) if n <= max_distance
        ]
    return pairs


def _leaks(files: Manifest) -> list[Pair]:
    """Return the first contents that occur in training and test, with the first path of each."""
    _, first = np.unique(files.codes("sample_id"), return_index=True)
    shown = files.codes("sample_id")[np.sort(first)[:SHOWN]]
    paths: dict[int, dict[str, str]] = {int(code): {} for code in shown}
    part = files.subset(np.isin(files.codes("sample_id"), shown))
    for code, sample in zip(part.codes("sample_id").tolist(), part, strict=True):
        paths[code].setdefault(sample.split, sample.path)
    return [Pair(train=pair["train"], test=pair["test"]) for pair in paths.values()]


def _near_leaks(files: list[Sample], hashes: Mapping[str, int]) -> tuple[int, list[Pair]]:
    """Return how many pairs of a training and a test image look alike, and the first of them.

    Equal bytes are not counted again.
    """
    by_hash: dict[int, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in files:
        if sample.sample_id in hashes:
            by_hash[hashes[sample.sample_id]][sample.split].append(sample)
    values = np.array(sorted(by_hash), dtype=np.uint64)
    near = [(i, i, 0) for i in range(len(values))] + near_pairs(values, MAX_DISTANCE)
    n_leaks = 0
    shown: list[Pair] = []
    for i, j, bits in near:
        a, b = by_hash[int(values[i])], by_hash[int(values[j])]
        for first, second in ((a, b),) if i == j else ((a, b), (b, a)):
            for x in first["train"]:
                same = [y for y in second["test"] if y.sample_id != x.sample_id]
                n_leaks += len(same)
                shown += [
                    Pair(train=x.path, test=y.path, distance=bits)
                    for y in same[: SHOWN - len(shown)]
                ]
    return n_leaks, shown
