"""Every built-in backbone keeps the contract, in a small size with random weights; broken ones
do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from featcache.backbones import BACKBONES, BackboneSpec
from featcache.backbones.named import named_rows
from featcache.testing import check_backbone, small
from featcache.testing.fixtures import own_names
from tests.backbones.test_named import ONE_OF_EACH_FAMILY

REPEATED = {name for name in named_rows() if name not in ONE_OF_EACH_FAMILY}
BUILT_IN = sorted({n for n in BACKBONES.names() if not n.startswith("test-")} - REPEATED)


def test_the_list_is_not_empty() -> None:
    assert len(BUILT_IN) >= 19


@pytest.mark.parametrize("name", BUILT_IN)
def test_contract(name: str, tmp_path: Path) -> None:
    check_backbone(small(name), tmp_path, publish=own_names)


class Drifting(nn.Module):
    """Gives another answer every time."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.n = inner, 0

    def forward(self, images: Tensor) -> Tensor:
        self.n += 1
        return self.inner(images) + self.n


class BatchBound(nn.Module):
    """Mixes the images of a batch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        features = self.inner(images)
        return features + features.mean(dim=0)


def loose(spec: BackboneSpec) -> Callable[[Path], nn.Module]:
    """Return a ``build`` that takes what fits and leaves the rest as it was."""

    def build(path: Path) -> nn.Module:
        assert spec.create is not None
        module = spec.create()
        module.load_state_dict(torch.load(path, weights_only=False), strict=False)
        return module.eval()

    return build


def wrapped(spec: BackboneSpec, kind: type[nn.Module]) -> BackboneSpec:
    create = spec.create
    assert create is not None
    return replace(spec, taps=None, create=lambda: kind(create()))


def test_the_contract_can_be_broken(tmp_path: Path) -> None:
    good = small("synclr")
    for broken, message in [
        (replace(good, n_features=7), "shape"),
        (wrapped(good, Drifting), "two passes differ"),
        (wrapped(good, BatchBound), "size of the batch"),
        (replace(good, build=loose(good)), "other features"),
        (replace(good, create=None), "no 'create'"),
    ]:
        with pytest.raises(AssertionError, match=message):
            check_backbone(broken, tmp_path, publish=own_names)
