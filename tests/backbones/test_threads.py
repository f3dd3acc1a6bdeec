"""One network in several threads at once, as extraction on a CPU runs it: no thread sees
another's images.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
from torch import Tensor, nn

from featcache.backbones.modules import ClipVit, FeatureNetwork, TimmNet
from featcache.backbones.names import Tap
from featcache.extract.device import single_threaded

TAPS = (Tap("layer", 0), Tap("layer", 1), Tap("layer", 2), Tap())


def trunk() -> nn.Module:
    return TimmNet(
        timm.create_model(
            "vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=48, num_heads=3, num_classes=0
        )
    )


def clip() -> nn.Module:
    from open_clip.transformer import VisionTransformer

    return ClipVit(
        VisionTransformer(
            image_size=32, patch_size=16, width=48, layers=2, heads=3, mlp_ratio=4, output_dim=16
        )
    )


@pytest.fixture(autouse=True)
def _one_thread_each() -> Iterator[None]:
    """As in extraction: torch's own threads, times eight, would only wait for each other."""
    with single_threaded():
        yield


@pytest.mark.parametrize("make", [trunk, clip])
def test_taps_of_threads_are_not_mixed_up(make: type) -> None:
    torch.manual_seed(0)
    network = FeatureNetwork(make().eval(), TAPS)
    batches = [torch.randn(1 + i % 5, 3, 32, 32) for i in range(200)]

    def run(images: Tensor) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return network(images)

    alone = [run(images) for images in batches]
    with ThreadPoolExecutor(8, "lane", torch.set_num_threads, (1,)) as pool:
        together = list(pool.map(run, batches))
    for expected, result in zip(alone, together, strict=True):
        for one, second in zip(expected, result, strict=True):
            torch.testing.assert_close(second, one)
