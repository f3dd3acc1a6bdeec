"""What is to be done, as plain data: which samples lack which features, in which shards they will
lie.

Each key is planned alone, so that its shards do not depend on what runs beside it; then jobs of
several keys that are about the same samples become one work item, in which each file is read and
decoded once.

What is asked for: backbone x preset x precision x view, each with the key of its features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.backbones import (
    BackboneSpec,
    Preprocessing,
    feature_fields,
    precision_of,
    preprocessing_of,
)
from featcache.cache import FeatureKey
from featcache.datasets import Manifest
from featcache.extract.options import ExtractOptions
from featcache.files import canonical_json, digest_json
from featcache.views import View, parse_views


@dataclass(frozen=True)
class ShardJob:
    """One shard to make.

    Parameters
    ----------
    name : str
        Digest of the planned sample ids.
    samples : tuple of (str, str)
        Sample id and a path where its bytes lie, sorted by id.
    number : int
        Place of its first sample among all samples of the data, in shards: the same for every run
        over the same data, however much of it is done.
    """

    name: str
    samples: tuple[tuple[str, str], ...]
    number: int = 0


@dataclass(frozen=True)
class Plan:
    """The work that one feature key needs.

    Parameters
    ----------
    jobs : tuple of ShardJob
    n_samples : int
        Distinct images in the data.
    n_cached : int
        Of these, how many the store knows already (with features or as rejects).
    """

    jobs: tuple[ShardJob, ...]
    n_samples: int
    n_cached: int

    @property
    def n_missing(self) -> int:
        """How many images have to go through the backbone."""
        return sum(len(job.samples) for job in self.jobs)


@dataclass(frozen=True)
class WorkItem:
    """One shard's samples and every request that lacks them.

    Parameters
    ----------
    job : ShardJob
    requests : tuple of str
        Their ids, in the order asked for.
    """

    job: ShardJob
    requests: tuple[str, ...]


def plan(
    manifest: Manifest,
    known: Iterable[str] | NDArray[Any],
    shard_rows: int,
    part: tuple[int, int] = (1, 1),
) -> Plan:
    """Return the shards that are missing.

    Parameters
    ----------
    manifest : Manifest
        Samples may repeat; each content is done once.
    known : iterable of str, or ndarray of S32
        Ids that the store has features or a reason for rejection of; an array is sorted.
    shard_rows : int
        Rows per shard at the most.
    part : tuple of int
        (i, n): only the i-th of n parts of the shards, counted from 1.

    Returns
    -------
    Plan

    Notes
    -----
    Samples are taken in the order of their ids and cut into full shards. A run that was
    interrupted after any number of shards is therefore resumed with the same cuts as if it had
    not been. The parts are dealt out by :attr:`ShardJob.number`, which does not change while
    other parts are being done.
    """
    readable = manifest.readable()
    _, first = np.unique(readable.codes("sample_id"), return_index=True)
    contents = readable.subset(first)  # sorted by id
    if not isinstance(known, np.ndarray):
        known = np.unique(np.array(list(known), "S32"))
    rank = np.flatnonzero(~contents.has_id(known))
    jobs = []
    i, n = part
    for start in range(0, len(rank), shard_rows):
        rows = rank[start : start + shard_rows]
        number = int(rows[0]) // shard_rows
        if number % n == i - 1:
            shard = contents.subset(rows)
            names = shard.strings("sample_id")
            samples = tuple(zip(names, shard.strings("path"), strict=True))
            jobs.append(ShardJob(digest_json(names), samples, number))
    return Plan(tuple(jobs), len(contents), len(contents) - len(rank))


def group(plans: Mapping[str, Plan]) -> list[WorkItem]:
    """Return the work of several plans, jobs about the same samples together.

    Parameters
    ----------
    plans : mapping of str to Plan
        By the id of the request.

    Returns
    -------
    list of WorkItem
        In the order of the data.
    """
    jobs: dict[str, ShardJob] = {}
    requests_of: dict[str, list[str]] = {}
    for request, work in plans.items():
        for job in work.jobs:
            jobs.setdefault(job.name, job)
            requests_of.setdefault(job.name, []).append(request)
    ordered = sorted(jobs.values(), key=lambda job: job.samples)
    return [WorkItem(job, tuple(requests_of[job.name])) for job in ordered]


@dataclass(frozen=True)
class Request:
    """One kind of feature that is asked for.

    Parameters
    ----------
    spec : BackboneSpec
    preprocessing : Preprocessing
    precision : str
    view : View
    key : FeatureKey
        Identity of the features.
    """

    spec: BackboneSpec
    preprocessing: Preprocessing
    precision: str
    view: View
    key: FeatureKey

    @property
    def id(self) -> str:
        """Name of the request within a run: the key's fingerprint."""
        return self.key.fingerprint

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type in which its features are stored."""
        return np.dtype(str(self.key.fields["dtype"]))

    def round(self, features: NDArray[np.float32]) -> NDArray[Any]:
        """Return features as they are stored.

        Parameters
        ----------
        features : ndarray of shape (n_samples, n_features), float32

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32 or float16
            float16 rounds to nearest; beyond 65,504 it is infinite.
        """
        with np.errstate(over="ignore"):
            return features.astype(self.dtype, copy=False)

    @cached_property
    def stream(self) -> str:
        """Name of the pixels that it needs; requests of one stream share them.

        Mean and deviation are not part of it: they are applied on the device.
        """
        pixels = replace(self.preprocessing, preset="", mean=(0, 0, 0), std=(1, 1, 1))
        return canonical_json([self.view.to_key(), pixels.to_key()])

    @cached_property
    def network(self) -> str:
        """Name of the network that it runs; requests of one network share its weights."""
        return canonical_json([self.spec.network, self.key.fields["weights"], self.precision])

    def prepare(self, image: Image.Image, sample_id: str) -> tuple[Any, bool]:
        """Return the pixels (size, size, 3) uint8, and whether the image was padded.

        Parameters
        ----------
        image : Image.Image
            Decoded image.
        sample_id : str
            Sample id.

        Returns
        -------
        tuple[Any, bool]
            The pixels (size, size, 3) uint8, and whether the image was padded.
        """
        seen = self.view(self.preprocessing.orient(image), sample_id)
        return self.preprocessing(seen), self.preprocessing.pads(*seen.size)


def make_requests(specs: Iterable[BackboneSpec], options: ExtractOptions) -> list[Request]:
    """Return one request for each backbone and view, each key once, in the order asked for.

    Parameters
    ----------
    specs : Iterable[BackboneSpec]
        Specifications of the backbones.
    options : ExtractOptions
        Settings; their own documentation names every field.

    Returns
    -------
    list[Request]
        One request for each backbone and view, each key once, in the order asked for.

    Raises
    ------
    WeightsError
        If the weights are missing: features of unknown origin are not made.
    SettingsError
        If there is no such view or preset.
    """
    views = parse_views(options.views)
    made = (_request(spec, view, options) for spec in specs for view in views)
    return list({request.id: request for request in made}.values())


def _request(spec: BackboneSpec, view: View, options: ExtractOptions) -> Request:
    precision = precision_of(spec, options.precision, options.device)
    fields = feature_fields(spec, options.preset, precision)
    fields |= {"dtype": options.dtype, "view": view.to_key()}
    preprocessing = preprocessing_of(spec, options.preset)
    return Request(spec, preprocessing, precision, view, FeatureKey(fields))
