"""Choose samples, make the maps, measure the separation."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featcache.cache import FeatureStore
from featcache.datasets import Manifest, Sample, expand
from featcache.datasets.families import CONTROL
from featcache.embed import separation
from featcache.embed.projection import make_map
from featcache.errors import DataError
from featcache.evaluate import ProbeOptions, data
from featcache.progress import progress
from featcache.results.analysis import EmbeddingResult, Separation

REAL = "real"


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """What to draw.

    Parameters
    ----------
    features : list of str
        Joined side by side.
    methods : sequence of str
    split : str
        Whose samples: ``"test"``, ``"train"``, ``"val"`` or ``"all"``.
    most : int
        At most so many per class and generator, as in the paper.
    wanted : dict
        Further leaves of the feature keys, where the store has several kinds.
    seed : int
    """

    features: list[str]
    methods: Sequence[str] = ("umap", "pca", "probe")
    split: str = "test"
    most: int = 1000
    wanted: dict[str, str | None] = field(default_factory=dict)
    seed: int = 0


def embed(manifest: Manifest, store: FeatureStore, options: EmbedOptions) -> EmbeddingResult:
    """Return maps of the samples' features and how far reals and fakes lie apart.

    Parameters
    ----------
    manifest : Manifest
    store : FeatureStore
    options : EmbedOptions

    Returns
    -------
    EmbeddingResult
        Maps of the samples' features and how far reals and fakes lie apart.

    Raises
    ------
    MissingFeaturesError
        If a feature is not in the store.
    DataError
        If there is no sample of the split, or one class only.
    """
    probe_options = ProbeOptions(
        features=options.features, wanted=options.wanted, intersection=True
    )
    keys = data.find_keys(store, probe_options)
    samples, _ = data.select_samples(manifest, store, keys, probe_options)
    chosen = choose(expand(samples).samples, options.split, options.most)
    features = data.load_features(store, keys, chosen)
    labels, sources = data.labels(chosen), _texts([data.source_of(sample) for sample in chosen])
    maps, settings = {}, {}
    with progress("maps", len(options.methods) + 1, "steps") as advance:
        for method in options.methods:
            maps[method], settings[method] = make_map(
                method, features, labels, sources, options.seed
            )
            advance(1)
        separations = _separations(features, chosen, labels, sources)
        advance(1)
    return EmbeddingResult(
        features=data.mark_foreign(options.features, keys),
        n_features=features.shape[1],
        maps=maps,
        sample_id=_texts([sample.sample_id for sample in chosen]),
        path=_texts([sample.path for sample in chosen]),
        generator=_texts([sample.generator if sample.label else REAL for sample in chosen]),
        group=_texts([sample.family if sample.label else REAL for sample in chosen]),
        label=labels,
        separations=separations,
        settings=settings,
    )


def choose(samples: Sequence[Sample], split: str, most: int) -> list[Sample]:
    """Return at most ``most`` samples per class and generator, each content once, repeatably.

    Parameters
    ----------
    samples : Sequence[Sample]
        Samples, in the order of the rows.
    split : str
        Name of the split.
    most : int
        Largest number of samples.

    Returns
    -------
    list[Sample]
        At most ``most`` samples per class and generator, each content once, repeatably.

    Raises
    ------
    DataError
        If none are left, or one class only.
    """
    sets: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        if split in ("all", sample.split):
            sets[sample.paired_with, sample.label].append(sample)
    kept: dict[str, Sample] = {}
    for members in sets.values():
        for sample in sorted(members, key=_shuffled)[:most]:
            kept.setdefault(sample.sample_id, sample)
    if len({sample.label for sample in kept.values()}) < 2:
        raise DataError(
            f"The split {split!r} lacks reals or fakes to draw. Choose another: --split all"
        )
    return list(kept.values())


def _shuffled(sample: Sample) -> bytes:
    """Return a key that puts samples into an order that has nothing to do with names or bytes."""
    return hashlib.blake2b(sample.sample_id.encode(), digest_size=8).digest()


def _separations(
    features: NDArray[np.float32],
    samples: list[Sample],
    labels: NDArray[np.int64],
    sources: NDArray[np.object_],
) -> list[Separation]:
    groups = np.array([sample.family for sample in samples])
    names = np.array([sample.generator for sample in samples])
    fake = labels == 1
    targets = [("all", "all", fake & (groups != CONTROL))]
    targets += [(str(g), "group", fake & (groups == g)) for g in np.unique(groups[fake])]
    targets += [(str(g), "generator", fake & (names == g)) for g in np.unique(names[fake])]
    separations = []
    for name, kind, members in targets:
        rows = np.flatnonzero(members | ~fake)
        if not members.any():
            continue
        x, y, u = features[rows], labels[rows], sources[rows]
        separations.append(
            Separation(
                name=name,
                kind=kind,
                n_real=int((y == 0).sum()),
                n_fake=int((y == 1).sum()),
                auroc=separation.linear_auroc(x, y, u),
                purity=separation.knn_purity(x, y, u),
                silhouette=separation.silhouette(x, y),
            )
        )
    return separations


def _texts(values: list[str]) -> NDArray[np.object_]:
    return np.array(values, dtype=object)
