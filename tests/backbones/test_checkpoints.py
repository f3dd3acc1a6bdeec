"""Checkpoints in every published structure give the features of a direct forward pass; spoilt ones
are refused.

The networks are small forms of the built-in ones, and the reference is the plain model of timm
or open_clip (for DINOv2's embedding, the formula of its hub). Every tensor is random, biases and
scales too, so that one which is not loaded, or loaded to the wrong place, shows.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from featcache.backbones import BackboneSpec, build_network
from featcache.backbones.checkpoints import read_tensors
from featcache.errors import WeightsError
from featcache.testing import fixtures as files
from featcache.testing import small

State = dict[str, Tensor]


def noisy(model: nn.Module, seed: int = 0) -> State:
    """Return tensors for every parameter and buffer, none of them special, exact in half
    precision.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator) * 0.2
        state[name] = (noise.abs() + 0.5 if "running_var" in name else noise).half().float()
    return state


def reference(spec: BackboneSpec) -> nn.Module:
    """Return the library's own model, as its users make it."""
    family = spec.build.__self__  # type: ignore[attr-defined]
    return family.make_trunk() if hasattr(family, "make_trunk") else family.make_tower()


def features(spec: BackboneSpec, path: Path) -> Tensor:
    images = torch.randn(
        2, 3, spec.native.size, spec.native.size, generator=torch.Generator().manual_seed(3)
    )
    with torch.inference_mode():
        (out,) = build_network([spec_with(spec, path)])(images)
    return out


def direct(model: nn.Module, state: State, side: int) -> Tensor:
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))
    model.load_state_dict(state, strict=False)
    with torch.inference_mode():
        out: Tensor = model.eval()(images)
    return out


def spec_with(spec: BackboneSpec, path: Path) -> BackboneSpec:
    from dataclasses import replace

    return replace(spec, find_weights=lambda: path)


Writer = Callable[[State, Path], Path]
BESIDE = {
    "optimizer": {"state": {}, "lr": 0.1},
    "epoch": 5,
    "args": argparse.Namespace(model="base"),
}
HEADS = {"module.image_mlp.0.weight": torch.ones(3), "logit_scale": torch.ones(())}


def synclr(state: State, path: Path, *, under: str, prefix: str) -> Path:
    return files.save_wrapped(state, path, under=under, prefix=prefix, beside=BESIDE)


def with_heads(state: State, path: Path) -> Path:
    torch.save({"model": {f"visual.{k}": v for k, v in state.items()} | HEADS, **BESIDE}, path)
    return path


STRUCTURES: list[tuple[str, str, Writer]] = [
    *(
        (b, f"{under} {prefix}", lambda s, p, u=under, x=prefix: synclr(s, p, under=u, prefix=x))
        for b in ("synclr", "stablerep", "synclr-vit-l14")
        for under, prefix in [
            ("model", "module.visual."),
            ("state_dict", "module.visual."),
            ("model", "visual."),
            ("model", ""),
        ]
    ),
    ("stablerep", "with heads beside", with_heads),
    ("synclr", "bare", files.save_plain),
    ("synclr", "safetensors", files.save_safetensors),
    *(
        (b, f"{message} of OpenAI", writer)
        for b in ("clip", "clip-vit-l14", "clip-rn50")
        for message, writer in [
            ("state dict", files.save_openai),
            ("archive", files.save_torchscript),
        ]
    ),
    *(
        (
            b,
            "open_clip",
            lambda s, p: files.save_safetensors({f"visual.{k}": v for k, v in s.items()}, p),
        )
        for b in ("clip", "clip-vit-b16-laion400m")
    ),
    (
        "clip-vit-b16-laion400m",
        "training file of open_clip",
        lambda s, p: synclr(s, p, under="state_dict", prefix="module.visual."),
    ),
    ("dinov2-vit-g14", "flat", files.save_plain),
    ("dinov2", "flat", lambda s, p: files.save_plain({**s, "mask_token": torch.zeros(1, 32)}, p)),
    ("dinov2-vit-b14-reg4", "timm", files.save_safetensors),
    (
        "resnet50",
        "torchvision",
        lambda s, p: files.save_plain(
            {**s, "fc.weight": torch.ones(5, 2048), "fc.bias": torch.ones(5)}, p
        ),
    ),
]


@pytest.mark.parametrize(
    ("name", "writer"), [pytest.param(n, w, id=f"{n}: {message}") for n, message, w in STRUCTURES]
)
def test_published_structures_give_the_features_of_a_direct_pass(
    name: str, writer: Writer, tmp_path: Path
) -> None:
    spec = small(name)
    model = reference(spec)
    state = noisy(model)
    path = writer(state, tmp_path / "weights.bin")
    torch.testing.assert_close(
        features(spec, path), direct(model, state, spec.native.size), rtol=1e-5, atol=1e-5
    )


def test_openai_weights_run_quickgelu_and_laions_do_not(tmp_path: Path) -> None:
    spec, laion = small("clip"), small("clip-vit-b16-laion400m")
    state = noisy(reference(spec))
    path = files.save_openai(state, tmp_path / "clip.pt")
    quick = [
        m
        for m in build_network([spec_with(spec, path)]).modules()
        if "QuickGELU" in type(m).__name__
    ]
    plain = [
        m
        for m in build_network([spec_with(laion, path)]).modules()
        if "QuickGELU" in type(m).__name__
    ]
    assert (len(quick), len(plain)) == (3, 0)
    assert not torch.allclose(features(spec, path), features(laion, path), atol=1e-3)


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_resamples_its_embedding_as_the_hub_does(registers: int, tmp_path: Path) -> None:
    """Against the hub's formula, written out: scale (m + 0.1) / M, or size and antialias with
    registers.
    """
    spec = small("dinov2-vit-b14-reg4" if registers else "dinov2")
    model = reference(spec)  # 28 pixels: a grid of 2 x 2
    state = noisy(model)
    published = torch.randn(1, 1 + 5 * 5, 32, generator=torch.Generator().manual_seed(9))
    file = {**state, "pos_embed": published, "mask_token": torch.zeros(1, 32)}
    grid = published[:, 1:].reshape(1, 5, 5, 32).permute(0, 3, 1, 2)
    if registers:
        file["register_tokens"] = file.pop("reg_token")
        grid = nn.functional.interpolate(grid, size=(2, 2), mode="bicubic", antialias=True)
        state["cls_token"] = state["cls_token"] + published[:, :1]
    else:
        grid = nn.functional.interpolate(grid, scale_factor=(2.1 / 5, 2.1 / 5), mode="bicubic")
    patches = grid.permute(0, 2, 3, 1).reshape(1, 4, 32)
    state["pos_embed"] = patches if registers else torch.cat([published[:, :1], patches], dim=1)
    path = files.save_plain(file, tmp_path / "dinov2.pth")
    torch.testing.assert_close(features(spec, path), direct(model, state, 28), rtol=1e-5, atol=1e-5)
    way = "antialiased" if registers else "offset0.1"
    assert spec.architecture.endswith(f"pos_embed=hub-bicubic-{way}")


NAMES = ["clip", "synclr", "dinov2"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["missing", "renamed", "shape", "nan", "integers"])
def test_one_wrong_tensor_is_refused_by_name(name: str, damage: str, tmp_path: Path) -> None:
    spec = small(name)
    state = noisy(reference(spec))
    victim = list(state)[len(state) // 2]
    tensor = state.pop(victim)
    message = {"missing": "Missing", "renamed": "Left over: intruder", "shape": "Of another shape",
             "nan": "With NaN", "integers": "Of another kind"}  # fmt: skip
    changed = {
        "missing": {},
        "renamed": {"intruder": tensor},
        "shape": {victim: torch.cat([tensor, tensor])},
        "nan": {victim: torch.full_like(tensor, torch.nan)},
        "integers": {victim: tensor.int()},
    }[damage]
    path = files.save_plain({**state, **changed}, tmp_path / "spoilt.pth")
    with pytest.raises(WeightsError) as caught:
        spec.build(path)
    assert message[damage] in str(caught.value)
    assert (victim if damage != "renamed" else "intruder") in str(caught.value)
    assert "nothing was loaded" in str(caught.value)
    assert f"featcache backbones show {spec.name}" in str(caught.value)


def test_a_large_vit_is_not_a_base_vit(tmp_path: Path) -> None:
    """The real sizes, on paper: nothing but names and shapes is needed to refuse."""
    from featcache.backbones.checkpoints import load_state

    with torch.device("meta"):
        base, large = reference(resolved("synclr")), reference(resolved("synclr-vit-l14"))
    with pytest.raises(
        WeightsError, match=r"holds 24 blocks of width 1024; the network has 12 blocks of width 768"
    ):
        load_state(base, large.state_dict(), tmp_path / "synclr_vit_l_14.pth", "synclr-vit-b16")


def resolved(name: str) -> BackboneSpec:
    from featcache.backbones import resolve

    return resolve(name)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "archive"])
@pytest.mark.parametrize("keep", [0.03, 0.5, 0.999])
def test_truncated_files_are_refused(kind: str, keep: float, tmp_path: Path) -> None:
    state = {f"a.weight{i}": torch.randn(50, 50) for i in range(4)}
    path = tmp_path / "cut.bin"
    if kind == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        {
            "zip": files.save_plain,
            "safetensors": files.save_safetensors,
            "archive": files.save_torchscript,
        }[kind](state, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        read_tensors(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_code_is_refused_and_does_not_run(legacy: bool, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = files.save_pickle_with_code(tmp_path / "evil.pth", trace, legacy=legacy)
    with pytest.raises(WeightsError, match="none of its code has run"):
        read_tensors(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # the trap is real
    assert trace.exists()


def test_an_archive_whose_pickle_asks_for_code_is_refused(tmp_path: Path) -> None:
    import pickle
    import zipfile

    trace = tmp_path / "trace"
    path = files.save_torchscript({"a.weight": torch.ones(3)}, tmp_path / "good.pt")
    assert torch.equal(read_tensors(path)["visual.a.weight"], torch.ones(3).half())
    evil = tmp_path / "evil.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(evil, "w") as new:
        for name in old.namelist():
            bomb = pickle.dumps({"x": files._Bomb(trace)}, protocol=2)
            new.writestr(name, bomb if name.endswith("/data.pkl") else old.read(name))
    with pytest.raises(WeightsError, match=r"none of its code has run \(it asks for __builtin__"):
        read_tensors(evil)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>dropbox</html>", "an HTML page instead of the file"),
        (b"", "is no weights file"),
        (b"PK\x03\x04", "truncated or damaged"),
        (b"\x80\x02", "truncated or damaged|Python objects other than tensors"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{" + b"x" * 30, "truncated or damaged"),
    ],
)
def test_what_is_no_weights_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        read_tensors(path)


def test_a_file_that_is_not_there_and_one_without_tensors(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        read_tensors(tmp_path / "nowhere.pth")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_tensors(tmp_path)
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(WeightsError, match="holds no weights"):
        read_tensors(tmp_path / "empty.pth")
