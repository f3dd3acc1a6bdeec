"""Image files and pipelines to measure with: crops of two real photographs, random weights of
real size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featcache.backbones import resolve
from featcache.cache import FeatureStore
from featcache.datasets import Manifest, Sample
from featcache.extract.options import ExtractOptions
from featcache.extract.pipeline import Pipeline
from featcache.extract.plan import group, make_requests, plan
from featcache.files import digest_bytes

VIT = "timm:vit_base_patch16_224#random0"
LITE = "efficientnet-lite0"


def make_jpegs(folder: Path, n: int, size: tuple[int, int] = (500, 375)) -> Manifest:
    """Write ``n`` different JPEG files (quality 90) and return their manifest.

    They are crops of the two photographs that scikit-learn carries, at random places and
    mirrored at random: decoding costs what it costs for photographs of ``size`` (ImageNet's are
    about 500 x 375).
    """
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    return Manifest(tuple(_write(folder, i, photos, rng, size) for i in range(n)))


def _write(
    folder: Path, i: int, photos: list[Image.Image], rng: np.random.Generator, size: tuple[int, int]
) -> Sample:
    photo, (width, height) = photos[i % 2], size
    left = int(rng.integers(0, photo.width - width + 1))
    top = int(rng.integers(0, photo.height - height + 1))
    image = photo.crop((left, top, left + width, top + height))
    path = folder / f"{i:06d}.jpg"
    image.save(path, quality=90, comment=str(i).encode())  # no two files alike
    name = digest_bytes(path.read_bytes())
    return Sample(
        dataset="bench", root=str(folder), path=str(path), label=i % 2,
        generator="real" if i % 2 == 0 else "g", paired_with="g", family="g", split="train",
        source=name, sample_id=name,
    )  # fmt: skip


class Bench:
    """A pipeline whose networks are loaded, run over the same files again and again.

    Parameters
    ----------
    names : sequence of str
        Backbones.
    manifest : Manifest
    folder : Path
        Where stores are made.
    options : dict
        Of :class:`ExtractOptions`.
    """

    def __init__(
        self, names: Sequence[str], manifest: Manifest, folder: Path, **options: Any
    ) -> None:
        # The crop of the loops that it is compared with; timm's own presets resize every image.
        defaults = {"precision": "auto", "preset": "univfd"}
        self.options = replace(ExtractOptions(), **{**defaults, **options})
        self.requests = make_requests([resolve(name) for name in names], self.options)
        self.manifest, self.folder, self.runs = manifest, folder, 0
        self.pipeline = Pipeline(self.requests, FeatureStore(folder / "none"), self.options)

    def __call__(self) -> int:
        """Take all files through the pipeline into a new store; return how many there are."""
        self.runs += 1
        self.pipeline.store = store = FeatureStore(self.folder / f"store-{id(self)}-{self.runs}")
        work = plan(self.manifest, (), self.options.shard_rows)
        items = group({request.id: work for request in self.requests})
        for request in self.requests:
            store.prepare(request.key)
        self.stages: dict[str, float] = {}
        for report in self.pipeline(items):
            for stage, seconds in report.seconds.items():
                self.stages[stage] = self.stages.get(stage, 0.0) + seconds
        return work.n_samples

    def forward_only(self, n: int) -> None:
        """Take ``n`` images that are pixels already through the networks, as PyTorch does it by
        itself.

        All cores work on one batch; nothing is read, decoded or written.
        """
        import torch

        from featcache.extract.forward import numerics

        size = self.pipeline.batch_size
        for request in self.requests:
            forward = self.pipeline.networks._forward[request.network]
            side = request.preprocessing.size
            with numerics(self.pipeline.device):
                images = torch.randn((size, 3, side, side)).to(
                    self.pipeline.device, memory_format=forward.layout
                )
                for start in range(0, n, size):
                    for part in forward._run(images[: min(size, n - start)], forward.dtype):
                        part.cpu()

    def forward_in_lanes(self, n: int) -> None:
        """The same with one single-threaded batch per core, as the pipeline does it on CPUs."""
        from concurrent.futures import ThreadPoolExecutor

        import torch

        from featcache.extract.device import single_threaded

        size = self.pipeline.batch_size
        sizes = [min(size, n - start) for start in range(0, n, size)]
        threads = self.pipeline.threads
        with (
            single_threaded(),
            ThreadPoolExecutor(threads, "bare", torch.set_num_threads, (1,)) as pool,
        ):
            list(pool.map(self.forward_only, sizes))
