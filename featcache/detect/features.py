"""Features of new images for heads: from the store where it has them, else through the backbone.

Which images are meant: files as they are named, and all images below folders by the rule of
``datasets scan``; every other file is listed with the reason.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.backbones import resolve
from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets.containers import read_bytes
from featcache.datasets.discovery import why_skipped
from featcache.datasets.walk import walk
from featcache.detect.crops import cut
from featcache.detect.prediction import Skipped
from featcache.errors import DataError, ImageError, WeightsError
from featcache.extract import ExtractOptions
from featcache.extract.device import choose_device
from featcache.extract.forward import Forward
from featcache.extract.plan import Request, make_requests
from featcache.files import digest_bytes
from featcache.images import convert_to_rgb, decode, read_metadata
from featcache.progress import Advance

Picture = Path | Image.Image


@dataclass(frozen=True)
class Item:
    """One image to score: a file, or an image in memory, with the digest that names it.

    ``problem`` says why it cannot be read; then there is no ``sample_id``. ``width`` and
    ``height`` are what the header says, 0 where it says nothing.
    """

    path: str
    sample_id: str = ""
    memory: Image.Image | None = None
    problem: str = ""
    width: int = 0
    height: int = 0

    def open(self) -> Image.Image:
        """Return the image as RGB.

        Returns
        -------
        Image.Image
            The image as RGB.

        Raises
        ------
        ImageError, OSError
            If it cannot be decoded or read.
        """
        if self.memory is not None:
            return convert_to_rgb(self.memory)
        return decode(read_bytes(self.path))


def find_items(pictures: Iterable[str | Picture]) -> tuple[list[Item], list[Skipped]]:
    """Return the images that are meant, in the order named, the files of a folder sorted.

    A file that is named is an item whatever its name; below a folder the rule of ``datasets
    scan`` holds.

    Parameters
    ----------
    pictures : iterable of str, Path or PIL.Image.Image
        Files, folders or images.

    Returns
    -------
    (list of Item, list of Skipped)
        Every file below a folder is in one of the two.

    Raises
    ------
    DataError
        If a path does not exist or a folder holds no image.
    """
    items: list[Item] = []
    skipped: list[Skipped] = []
    for picture in pictures:
        if isinstance(picture, Image.Image):
            width, height = picture.size
            try:
                name = digest_bytes(convert_to_rgb(picture).tobytes())
            except ImageError as error:
                items.append(Item("", problem=str(error), width=width, height=height))
                continue
            items.append(Item("", name, memory=picture, width=width, height=height))
        elif os.path.isdir(picture):
            below, passed = _in_folder(str(picture))
            items += below
            skipped += passed
        elif os.path.lexists(picture):
            items.append(_in_file(str(picture)))
        else:
            raise DataError(f"There is no file or folder {str(picture)!r}.")
    return items, skipped


def _in_folder(root: str) -> tuple[list[Item], list[Skipped]]:
    items: list[Item] = []
    skipped: list[Skipped] = []
    for folder in walk(root):
        if folder.problem:
            where = folder.container or os.path.join(root, *folder.parts)
            skipped.append(Skipped(where, folder.problem))
        for file in folder.files:
            if reason := why_skipped(file):
                skipped.append(Skipped(file.path, reason))
            elif file.problem:
                items.append(Item(file.path, problem=file.problem))
            else:
                items.append(_in_file(file.path))
    if not items:
        reasons = Counter(one.reason for one in skipped)
        passed = ", ".join(f"{n:,} x {reason}" for reason, n in reasons.most_common(5))
        raise DataError(f"The folder {root!r} holds no image{f': {passed}' if passed else ''}.")
    return sorted(items, key=lambda item: item.path), skipped


def _in_file(path: str) -> Item:
    try:
        data = read_bytes(path)
    except OSError as error:
        return Item(path, problem=f"cannot be read: {error.strerror or error}")
    metadata = read_metadata(data)
    return Item(path, digest_bytes(data), width=metadata.width, height=metadata.height)


Rows = dict[str, NDArray[np.float32]]
"""By sample id: features of shape (n_crops, n_features)."""


@dataclass
class ImageFeatures:
    """The features that were found or made.

    Parameters
    ----------
    rows : dict of str to dict of str to ndarray of shape (n_crops, n_features), float32
        By fingerprint of the key, then by sample id.
    cached : set of (str, str)
        Fingerprint and sample id of what was in the store.
    problems : dict of str to str
        By sample id, why an image has no features.
    """

    rows: dict[str, Rows]
    cached: set[tuple[str, str]] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)


class FeatureMaker:
    """Makes the features of given keys; keeps the networks loaded between calls.

    Parameters
    ----------
    keys : sequence of FeatureKey
    weights : mapping of str to Path
        Weights files by backbone name.
    store : FeatureStore or None
        Where features may lie already; nothing is written to it.
    device : str
    batch_size, workers : int
    crops : {"center", "tencrop", "grid"}
        The store holds features of the centre alone.
    """

    def __init__(
        self,
        keys: Sequence[FeatureKey],
        *,
        weights: Mapping[str, Path],
        store: FeatureStore | None,
        device: str,
        batch_size: int,
        workers: int,
        crops: str = "center",
    ) -> None:
        self.keys = {key.fingerprint: key for key in keys}
        self._weights, self._store = weights, store if crops == "center" else None
        self._crops = crops
        self._device, self._batch_size = device, batch_size
        self._workers = workers or os.cpu_count() or 1
        self._requests: dict[str, Request] = {}
        self._networks: dict[str, Forward] = {}

    def __call__(self, items: Sequence[Item], advance: Advance) -> ImageFeatures:
        """Return the features of all images under all keys."""
        result = ImageFeatures({name: {} for name in self.keys})
        unique = list({item.sample_id: item for item in items if item.sample_id}.values())
        for key in self.keys.values():
            self._look_up(key, unique, result)
        lacking = [
            item
            for item in unique
            if any(item.sample_id not in rows for rows in result.rows.values())
        ]
        advance(len(items) - len(lacking))
        with ThreadPoolExecutor(self._workers) as pool:
            for start in range(0, len(lacking), self._batch_size):
                batch = lacking[start : start + self._batch_size]
                self._make(batch, result, pool)
                advance(len(batch))
        return result

    def _look_up(self, key: FeatureKey, items: Sequence[Item], result: ImageFeatures) -> None:
        if self._store is None:
            return
        have = self._store.samples(key)
        ids = [item.sample_id for item in items if item.sample_id in have]
        if ids:
            rows = self._store.read(key, ids)[:, None]
            result.rows[key.fingerprint] |= dict(zip(ids, rows, strict=True))
            result.cached |= {(key.fingerprint, name) for name in ids}

    def _make(self, batch: list[Item], result: ImageFeatures, pool: ThreadPoolExecutor) -> None:
        """Run every network on the images that it lacks; each file is decoded once."""
        todo = {
            name: [item for item in batch if item.sample_id not in rows]
            for name, rows in result.rows.items()
        }
        requests = [self._request(name) for name, items in todo.items() if items]
        prepared = pool.map(lambda item: _prepare(item, requests, self._crops), batch)
        pixels = {}
        for item, (made, problem) in zip(batch, prepared, strict=True):
            pixels[item.sample_id] = made
            if problem:
                result.problems[item.sample_id] = problem
        for request in requests:
            ids = [i.sample_id for i in todo[request.id] if i.sample_id not in result.problems]
            if ids:
                parts = [pixels[name][request.id] for name in ids]
                stack = np.concatenate(parts)
                starts = range(0, len(stack), self._batch_size)
                rows = [self._run(request, stack[i : i + self._batch_size]) for i in starts]
                stops = np.cumsum([len(part) for part in parts])[:-1]
                split = np.split(np.concatenate(rows), stops)
                result.rows[request.id] |= dict(zip(ids, split, strict=True))

    def _run(self, request: Request, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        if request.id not in self._networks:
            device = choose_device(self._device)
            self._networks[request.id] = Forward([request], device)
        network = self._networks[request.id]
        batch = torch.from_numpy(pixels).to(network.device)
        (rows,), _ = network(batch, request.preprocessing).result()
        return request.round(rows).astype(np.float32)

    def _request(self, name: str) -> Request:
        if name not in self._requests:
            self._requests[name] = make_request(self.keys[name], self._weights)
        return self._requests[name]


def make_request(key: FeatureKey, weights: Mapping[str, Path]) -> Request:
    """Return what makes features of exactly this key.

    Parameters
    ----------
    key : FeatureKey
        Feature key.
    weights : Mapping[str, Path]
        Weights files by name.

    Returns
    -------
    Request
        What makes features of exactly this key.

    Raises
    ------
    WeightsError
        If the weights at hand are other ones than the head was trained with.
    DataError
        If something else of the key cannot be made here: says what.
    """
    fields: Mapping[str, Any] = key.fields
    spec = resolve(key.name, weights=weights)
    options = ExtractOptions(
        preset=fields["preprocessing"].get("preset", "univfd"),
        precision=fields["precision"],
        dtype=fields["dtype"],
        views=(fields["view"]["name"],),
    )
    (request,) = make_requests([spec], options)
    differences = key.differences(request.key)
    if not differences:
        return request
    differences_text = "; ".join(
        f"{name} is {head_value!r}, here {here!r}" for name, head_value, here in differences
    )
    if any(name.startswith("weights") for name, _, _ in differences):
        raise WeightsError(
            f"The head was trained on {key.name!r} with other weights: {differences_text}. "
            f"Name the right file: --weights {key.name}=FILE"
        )
    raise DataError(
        f"The features {key.name!r} that the head was trained on cannot be made here:"
        f" {differences_text}. Train the head again with this version: featcache probe --save"
    )


def _prepare(
    item: Item, requests: Sequence[Request], crops: str
) -> tuple[dict[str, NDArray[np.uint8]], str]:
    """Return for each request the pixels (n_crops, size, size, 3), or why there are none."""
    try:
        image = item.open()
        return {
            request.id: _pixels(request, image, item.sample_id, crops) for request in requests
        }, ""
    except ImageError as error:
        return {}, str(error)
    except OSError as error:
        return {}, f"cannot be read: {error.strerror or error}"


def _pixels(request: Request, image: Image.Image, sample_id: str, crops: str) -> NDArray[np.uint8]:
    if crops == "center":
        return np.asarray(request.prepare(image, sample_id)[0])[None]
    seen = request.view(request.preprocessing.orient(image), sample_id)
    return np.stack(cut(request.preprocessing.to_key(), seen, crops))
