"""The paper's study on a miniature of UnivFD's tree, with checkpoint files of the published
structures.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from featcache.backbones import BACKBONES
from featcache.testing import fixtures as files
from featcache.testing import make_images, small

pytest.importorskip("matplotlib", reason="the viz extra is not installed")
Call = Callable[..., Any]
N = 3
"""Images of each folder."""

TRAIN = ["train/progan/car", "train/progan/cat"]
TESTS = ["test/progan/car", "test/cyclegan/horse", "test/biggan", "test/gaugan", "test/stargan"]
SHARED = ["imagenet", "laion"]
DIFFUSION = ["guided", "ldm_200", "ldm_200_cfg", "glide_100_27", "glide_100_10"]
NOT_ASKED = [
    "test/stylegan/bedroom/0_real",
    "test/stylegan/bedroom/1_fake",
    "diffusion_datasets/dalle/1_fake",
]
NAMES = ["clip", "synclr", "stablerep", "dinov2"]
SPECS = ["clip-vit-b16", "synclr-vit-b16", "stablerep-vit-b16", "dinov2-vit-b14"]


def folders() -> list[str]:
    both = [f"{place}/{label}" for place in TRAIN + TESTS for label in ("0_real", "1_fake")]
    shared = [f"diffusion_datasets/{name}/0_real" for name in SHARED]
    return both + shared + [f"diffusion_datasets/{name}/1_fake" for name in DIFFUSION]


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    """Return UnivFD's tree as it is published: reals of ImageNet and LAION serve several
    generators.
    """
    root = tmp_path / "datasets"
    for number, name in enumerate([*folders(), *NOT_ASKED]):
        folder = root / name
        folder.mkdir(parents=True)
        images = make_images(N, seed=number, size=48, blur=0.8 * name.endswith("1_fake"))
        for i, image in enumerate(images):
            image.save(folder / f"{i}.png")
    return root


def fill(model: nn.Module, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(tensor.shape, generator=generator) * 0.1
            if tensor.is_floating_point()
            else tensor
        )
        for name, tensor in model.state_dict().items()
    }


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return ``--weights`` flags: small forms, each in the structure that its authors publish."""
    states = {}
    for seed, name in enumerate(NAMES):
        spec = small(name)
        monkeypatch.setitem(BACKBONES._added, spec.name, spec)
        family = spec.build.__self__  # type: ignore[attr-defined]
        states[name] = fill(family.make_tower() if name == "clip" else family.make_trunk(), seed)
    width = states["dinov2"]["pos_embed"].shape[-1]
    states["dinov2"] |= {
        "pos_embed": torch.randn(1, 1 + 37 * 37, width) * 0.1,
        "mask_token": torch.zeros(1, width),
    }
    result = {
        "clip": files.save_torchscript(states["clip"], tmp_path / "ViT-B-16.pt"),
        "synclr": files.save_wrapped(states["synclr"], tmp_path / "synclr_vit_b_16.pth",
                                     under="model", prefix="module.visual."),
        "stablerep": files.save_wrapped(states["stablerep"], tmp_path / "stablerep.pth",
                                        under="state_dict", prefix="module.visual."),
        "dinov2": files.save_plain(states["dinov2"], tmp_path / "dinov2.pth"),
    }  # fmt: skip
    return [part for name in NAMES for part in ("--weights", f"{name}={result[name]}")]


@pytest.fixture
def study(datasets: Path, weights: list[str], tmp_path: Path) -> list[Any]:
    place = ["--cache", tmp_path / "store", "--out", tmp_path / "out"]
    return ["run", "dfwf", "--data", datasets, *place, *weights, "--json"]


def n_images() -> int:
    return N * len(folders())


def check_forecast(result: Any) -> None:
    """The right images for each of the four backbones, once; the sets that the paper has not are
    left out.
    """
    assert result["n_samples"] >= n_images()  # a shared real has a row for each generator it serves
    assert len({plan["key"] for plan in result["extract"]}) == len(NAMES)
    assert [plan["n_samples"] for plan in result["extract"]] == [n_images()] * len(NAMES)
    sizes = [4 * BACKBONES.get(spec).n_features + 32 for spec in SPECS]
    assert [plan["n_bytes"] for plan in result["extract"]] == [
        size * plan["n_missing"] for size, plan in zip(sizes, result["extract"], strict=True)
    ]
    assert result["runs"] == [*NAMES, "clip + synclr"]
    assert any("also tests on ffhq, elsa" in note for note in result["notes"])


def test_the_dry_run_lists_exactly_the_work(featcache: Call, study: list[Any]) -> None:
    ran = featcache(*study, "--dry-run")
    assert ran.code == 0, ran.err
    check_forecast(ran.json)
    assert [plan["backbone"] for plan in ran.json["extract"]] == SPECS
    assert ran.json["n_forward"] == len(NAMES) * n_images()
    assert ran.json["seconds"] > 0


@pytest.mark.slow
def test_the_study_runs_and_sets_the_papers_numbers_beside(
    featcache: Call, study: list[Any], tmp_path: Path
) -> None:
    ran = featcache(*study)
    assert ran.code == 0, ran.err
    result = ran.json
    assert result["n_forwarded"] == len(NAMES) * n_images()
    assert result["answer"].startswith("Against clip, in points of mAP: synclr ")
    assert "(the paper: +10.3)" in result["answer"]
    assert "(the paper: +7.5)" in result["answer"]
    clip = result["runs"][0]["result"]
    assert set(clip["generators"]) == {
        "progan",
        "cyclegan",
        "biggan",
        "gaugan",
        "stargan",
        *DIFFUSION,
    }
    assert {one["n_real"] for name, one in clip["generators"].items() if name in DIFFUSION} == {N}
    assert clip["train"]["generators"] == ["progan"]
    assert {row["run"] for row in result["references"]} == {"synclr", "clip + synclr"}
    page = Path(result["report"]).read_text("utf-8")
    assert "The feature space of" in page
    lock = json.loads(Path(result["lock"]).read_text())
    assert {key["backbone"] for key in lock["keys"].values()} == set(SPECS)
    probed = featcache(
        "probe",
        "--features",
        "clip,synclr",
        "--train",
        "progan",
        "--protocol",
        "dfwf",
        "--cache",
        tmp_path / "store",
        "--json",
    ).json
    both = result["runs"][4]["result"]
    for name, one in probed["generators"].items():
        assert both["generators"][name]["ap"] == pytest.approx(one["ap"], abs=1e-9)
    again = featcache(*study, "--dry-run")
    check_forecast(again.json)
    assert again.json["n_forward"] == 0
