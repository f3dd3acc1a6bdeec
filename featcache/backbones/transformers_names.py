"""Checkpoints of the transformers library: their tensors under the names of timm and open_clip.

Every tensor of the image tower is renamed, and query, key and value become one. Nothing is left
away but what is beside the tower (text tower, projections of it, temperature) and the mask token
of the pretraining. What is unknown keeps its name, so that the strict fit lists it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_BESIDE = ("text_model.", "text_projection.", "logit_scale", "logit_bias")
_CLIP_BLOCK = [
    (r"^encoder\.layers\.(\d+)\.layer_norm1\.", r"transformer.resblocks.\1.ln_1."),
    (r"^encoder\.layers\.(\d+)\.layer_norm2\.", r"transformer.resblocks.\1.ln_2."),
    (r"^encoder\.layers\.(\d+)\.mlp\.fc1\.", r"transformer.resblocks.\1.mlp.c_fc."),
    (r"^encoder\.layers\.(\d+)\.mlp\.fc2\.", r"transformer.resblocks.\1.mlp.c_proj."),
    (
        r"^encoder\.layers\.(\d+)\.self_attn\.in\.(\w+)$",
        r"transformer.resblocks.\1.attn.in_proj_\2",
    ),
    (r"^encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"transformer.resblocks.\1.attn.out_proj."),
    (r"^embeddings\.class_embedding$", "class_embedding"),
    (r"^embeddings\.patch_embedding\.", "conv1."),
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^pre_layrnorm\.", "ln_pre."),  # transformers spells it so
    (r"^post_layernorm\.", "ln_post."),
]
_SIGLIP = [
    (r"^encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"blocks.\1.norm\2."),
    (r"^encoder\.layers\.(\d+)\.mlp\.", r"blocks.\1.mlp."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.in\.", r"blocks.\1.attn.qkv."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^post_layernorm\.", "norm."),
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.mlp\.", "attn_pool.mlp."),
]
_DINOV2 = [
    (r"^encoder\.layer\.(\d+)\.attention\.in\.", r"blocks.\1.attn.qkv."),
    (r"^encoder\.layer\.(\d+)\.attention\.(?:output\.dense|o_proj)\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1$", r"blocks.\1.ls\2.gamma"),
    (r"^encoder\.layer\.(\d+)\.mlp\.weights_in\.", r"blocks.\1.mlp.w12."),
    (r"^encoder\.layer\.(\d+)\.mlp\.(?:weights_out|down_proj)\.", r"blocks.\1.mlp.w3."),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.", ""),
    (r"^layernorm\.", "norm."),
]
_DINOV3 = [
    (r"^(?:model\.)?layer\.(\d+)\.attention\.o_proj\.", r"blocks.\1.attn.proj."),
    (r"^(?:model\.)?layer\.(\d+)\.layer_scale(\d)\.lambda1$", r"blocks.\1.gamma_\2"),
    (r"^(?:model\.)?layer\.(\d+)\.norm", r"blocks.\1.norm"),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
]


def from_transformers(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of a transformers checkpoint as the other libraries name them.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Of CLIP, MetaCLIP 2, SigLIP (2 with a fixed size), DINOv2 or DINOv3, the whole model or its
        image tower; any other file passes unchanged.
    wanted : mapping of str to Tensor
        The state of the network that they are for: tells variants apart.

    Returns
    -------
    dict[str, Tensor]
    """
    if any(key.startswith("vision_model.") for key in tensors):
        tower = {k: v for k, v in tensors.items() if not k.startswith(_BESIDE)}
        tower = {k.removeprefix("vision_model."): v for k, v in tower.items()}
        tower.pop("embeddings.position_ids", None)  # numbers that older files kept
    else:
        tower = dict(tensors)
    if "embeddings.patch_embedding.weight" in tower:
        clip = "embeddings.class_embedding" in tower
        return _clip(tower) if clip else _siglip(tower)
    if "embeddings.patch_embeddings.projection.weight" in tower:
        return _dinov2(tower)
    if "embeddings.patch_embeddings.weight" in tower and "embeddings.cls_token" in tower:
        return _dinov3(tower, wanted)
    return dict(tensors)


def _clip(tower: dict[str, Tensor]) -> dict[str, Tensor]:
    state = _rename(_join(tower, "self_attn", "in"), _CLIP_BLOCK)
    if "visual_projection.weight" in state:
        state["proj"] = state.pop("visual_projection.weight").T
    return state


def _siglip(tower: dict[str, Tensor]) -> dict[str, Tensor]:
    state = _rename(_join(tower, "self_attn", "in"), _SIGLIP)
    if "pos_embed" in state:
        state["pos_embed"] = state["pos_embed"][None]
    for part in ("weight", "bias"):  # the pooling's query is a layer of its own in timm
        joined = state.pop(f"head.attention.in_proj_{part}", None)
        if joined is not None:
            width = len(joined) // 3
            state[f"attn_pool.q.{part}"] = joined[:width]
            state[f"attn_pool.kv.{part}"] = joined[width:]
    return state


def _dinov2(tower: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the names of DINOv2's own hub, which :func:`.dinov2_names` translates further."""
    older = {k.replace(".attention.attention.", ".attention."): v for k, v in tower.items()}
    older = {
        re.sub(r"\.(query|key|value)\.", lambda m: f".{m[1][0]}_proj.", k): v
        for k, v in older.items()
    }
    joined = _join(older, "attention", "in")
    for key in [key for key in joined if ".mlp.gate_proj." in key]:
        up = key.replace("gate_proj", "up_proj")
        if up in joined:
            both = torch.cat([joined.pop(key), joined.pop(up)])
            joined[key.replace("gate_proj", "weights_in")] = both
    return _rename(joined, _DINOV2)


def _dinov3(tower: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return timm's names. The key's bias is zero by design; timm's plain models have none at all,
    and a file whose other biases are zero fits them exactly.
    """
    tower.pop("embeddings.mask_token", None)
    state = dict(tower)
    for key in [k for k in tower if k.endswith(".attention.q_proj.weight")]:
        stem = key.removesuffix(".q_proj.weight")
        number = re.search(r"layer\.(\d+)\.", key)
        target = f"blocks.{number[1] if number else '?'}.attn"
        parts = [f"{stem}.{letter}_proj" for letter in "qkv"]
        if all(f"{part}.weight" in state for part in parts):
            weights = [state.pop(f"{part}.weight") for part in parts]
            state[f"{target}.qkv.weight"] = torch.cat(weights)
        for letter in "qkv":
            bias = state.get(f"{stem}.{letter}_proj.bias")
            own = f"{target}.{letter}_bias"
            if bias is not None and (own in wanted or not bias.any()):
                state.pop(f"{stem}.{letter}_proj.bias")
                if own in wanted and letter != "k":
                    state[own] = bias
    gated = any(".mlp.gate_proj." in key for key in state)
    names = {"gate_proj": "fc1_g", "up_proj": "fc1_x" if gated else "fc1", "down_proj": "fc2"}
    pattern = r"^(?:model\.)?layer\.(\d+)\.mlp\.(\w+)\."
    state = {
        re.sub(pattern, lambda m: f"blocks.{m[1]}.mlp.{names.get(m[2], m[2])}.", key): value
        for key, value in state.items()
    }
    return _rename(state, _DINOV3)


def _join(tensors: Mapping[str, Tensor], module: str, into: str) -> dict[str, Tensor]:
    """Return query, key and value of ``module`` as one tensor ``into``; incomplete ones stay."""
    state = dict(tensors)
    for key in tensors:
        match = re.fullmatch(rf"(.*\.{module})\.q_proj\.(weight|bias)", key)
        if match:
            parts = [f"{match[1]}.{letter}_proj.{match[2]}" for letter in "qkv"]
            if all(part in state for part in parts):
                state[f"{match[1]}.{into}.{match[2]}"] = torch.cat([state.pop(p) for p in parts])
    return state


def _rename(state: Mapping[str, Tensor], rules: list[tuple[str, str]]) -> dict[str, Tensor]:
    renamed = {}
    for key, value in state.items():
        for pattern, target in rules:
            new, n = re.subn(pattern, target, key)
            if n:
                key = new
                break
        renamed[key] = value
    return renamed
