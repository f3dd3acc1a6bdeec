"""Which tensors are trained in each kind of network, and that a merged LoRA computes what the
adapter did.
"""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from featcache.backbones import resolve
from featcache.backbones.modules import ClipVit, FeatureNetwork, TimmNet
from featcache.backbones.names import Tap
from featcache.errors import MissingExtraError, SettingsError
from featcache.finetune.model import prepare
from featcache.finetune.options import FinetuneOptions
from featcache.finetune.trainable import (
    add_adapter,
    choose_tensors,
    find_blocks,
    merge,
    restore_base,
    train_only,
    used_blocks,
)

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def vit(*taps: Tap) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    trunk = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=2, num_classes=0
    )
    return FeatureNetwork(TimmNet(trunk), taps or (Tap(),)).eval()


def clip() -> nn.Module:
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    visual = VisionTransformer(
        image_size=32, patch_size=8, width=32, layers=3, heads=2, mlp_ratio=2.0, output_dim=16
    )
    return FeatureNetwork(ClipVit(visual), (Tap(),)).eval()


class Plain(nn.Module):
    """A network without a list of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.layer(images.mean(dim=(2, 3))),)


def test_the_last_block_of_a_transformer_and_the_norm_after_it() -> None:
    names = choose_tensors(vit(), 1, IMAGES)
    assert {".".join(name.split(".")[2:4]) for name in names} == {
        "blocks.2",
        "norm.weight",
        "norm.bias",
    }
    assert len(choose_tensors(vit(), 2, IMAGES)) == 2 * 12 + 2
    assert choose_tensors(vit(), 0, IMAGES) == []


def test_all_blocks_leave_the_embedding_frozen() -> None:
    network = vit()
    names = choose_tensors(network, None, IMAGES)
    frozen = {name.split(".")[2] for name, _ in network.named_parameters() if name not in names}
    assert frozen == {"cls_token", "pos_embed", "patch_embed"}


def test_what_follows_the_blocks_of_clip_is_trained_too() -> None:
    network = clip()
    names = choose_tensors(network, 1, IMAGES)
    after = {name for name in names if "resblocks" not in name}
    assert after == {"model.proj", "model.visual.ln_post.weight", "model.visual.ln_post.bias"}
    blocks = {name.split("resblocks.")[1][0] for name in names if "resblocks" in name}
    assert blocks == {"2"}


def test_blocks_behind_a_tap_are_not_counted() -> None:
    network = vit(Tap("layer", 2))
    assert [name for name, _ in used_blocks(network, IMAGES)] == [
        "model.trunk.blocks.0",
        "model.trunk.blocks.1",
    ]
    names = choose_tensors(network, 1, IMAGES)
    assert {".".join(name.split(".")[2:4]) for name in names} == {"blocks.1"}


@pytest.mark.parametrize(
    ("name", "n_blocks", "stages", "after"),
    [
        ("timm:resnet10t", 4, "layer4", set()),
        ("efficientnet-lite0", 7, "blocks.6", {"conv_head", "bn2"}),
        ("timm:convnext_atto", 4, "stages.3", {"head"}),
    ],
)
def test_stages_of_convolutional_networks(
    name: str, n_blocks: int, stages: str, after: set[str]
) -> None:
    options = FinetuneOptions(backbone=name, blocks=1)
    tuner = prepare(resolve(f"{name}#random0"), 32, options)
    assert len(find_blocks(tuner.network)) == n_blocks
    rest = {n.split(".")[2] for n in tuner.names if f".{stages}." not in n}
    assert rest == after
    assert 0 < tuner.n_trained < tuner.n_parameters
    # Statistics of the norms are no parameters: evaluation mode keeps them as they are.
    assert not any(module.training for module in tuner.network.modules())


def test_too_many_blocks_and_none_at_all_are_errors() -> None:
    with pytest.raises(SettingsError, match="--blocks 4 is too many: this backbone has 3"):
        choose_tensors(vit(), 4, IMAGES)
    with pytest.raises(SettingsError, match="--blocks 0"):
        choose_tensors(Plain(), 1, IMAGES)
    assert choose_tensors(Plain(), 0, IMAGES) == []


def test_choosing_leaves_no_trace() -> None:
    network = vit().requires_grad_(False)
    train_only(network, choose_tensors(network, 1, IMAGES))
    assert all(parameter.grad is None for parameter in network.parameters())
    assert sum(parameter.requires_grad for parameter in network.parameters()) == 14


@pytest.mark.parametrize("make", [vit, clip])
def test_a_merged_lora_computes_what_the_adapter_did(make: object) -> None:
    network = make()  # type: ignore[operator]
    names = {name for name, _ in network.named_parameters()}
    before = network(IMAGES)[0].detach()
    adapter = add_adapter(network, used_blocks(network, IMAGES)[1:], rank=2, seed=0)
    torch.testing.assert_close(network(IMAGES)[0].detach(), before, atol=1e-6, rtol=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name in adapter.names:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    adapted = network(IMAGES)[0].detach()
    assert (adapted - before).abs().max() > 1e-2
    merge(network, adapter)
    torch.testing.assert_close(network(IMAGES)[0], adapted, atol=1e-5, rtol=0)
    assert {name for name, _ in network.named_parameters()} == names
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_only_the_adapter_gets_gradients_and_the_base_comes_back_to_the_bit() -> None:
    network = clip()
    adapter = add_adapter(network, used_blocks(network, IMAGES), rank=2, seed=0)
    train_only(network, adapter.names)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".lora_B." in name:
                parameter.add_(0.123)
    network(IMAGES)[0].sum().backward()
    with_gradient = {name for name, p in network.named_parameters() if p.grad is not None}
    assert with_gradient == set(adapter.names)
    assert any("in_proj" in name for name in adapter.base)
    restore_base(network, adapter)
    for name, parameter in network.named_parameters():
        assert name in adapter.names or torch.equal(parameter, adapter.base[name])


def test_the_adapter_depends_on_its_seed_alone() -> None:
    def first(seed: int) -> Tensor:
        network = vit()
        torch.manual_seed(99)
        adapter = add_adapter(network, used_blocks(network, IMAGES), rank=2, seed=seed)
        return dict(network.named_parameters())[adapter.names[0]]

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_a_missing_peft_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'featcache\[finetune\]'"):
        add_adapter(vit(), [], rank=2, seed=0)
