"""Weights files of our own: read back to the bit by the backbone they are of, refused by any
other.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from featcache.backbones import BackboneSpec, Preprocessing, build_network, resolve
from featcache.backbones.own_checkpoints import FORMAT, read_metadata, write_checkpoint
from featcache.backbones.resolve import BACKBONES
from featcache.errors import WeightsError


def create() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4))


def no_weights() -> Path:
    raise WeightsError("none")


TINY = BackboneSpec(
    name="tiny",
    summary="",
    architecture="test:tiny",
    n_features=4,
    tap={"layer": "final"},
    native=Preprocessing(
        preset="native",
        resize=None,
        interpolation="bicubic",
        size=2,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    find_weights=no_weights,
    build=lambda path: create(),
    create=create,
    licence="",
    page="",
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(BACKBONES, "_added", {"tiny": TINY, "other": replace(TINY, name="other")})
    model = create()
    model[2].running_mean += 3.0  # type: ignore[operator]
    return write_checkpoint(tmp_path / "w.safetensors", "tiny", model, {"seed": 7})


def test_they_are_read_to_the_bit(file: Path, tmp_path: Path) -> None:
    assert read_metadata(file) == {"format": FORMAT, "network": "tiny", "seed": 7}
    network = build_network([resolve("tiny", weights={"tiny": file})])
    again = write_checkpoint(tmp_path / "again.safetensors", "tiny", network.model, {"seed": 7})  # type: ignore[arg-type]
    assert again.read_bytes() == file.read_bytes()
    (features,) = network(torch.zeros(2, 3, 2, 2))
    assert (features < -1).any()  # the running mean of the file, not the 0 of a fresh network


def test_another_backbone_refuses_them(file: Path) -> None:
    with pytest.raises(WeightsError, match="--weights tiny="):
        build_network([resolve("other", weights={"other": file})])


def test_tensors_that_do_not_fit_are_named(tmp_path: Path, file: Path) -> None:
    wrong = write_checkpoint(tmp_path / "x.safetensors", "tiny", create()[:2], {})  # type: ignore[index]
    with pytest.raises(WeightsError, match=r"2\.running_mean"):
        build_network([resolve("tiny", weights={"tiny": wrong})])
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="does not fit"):
        build_network([resolve("tiny", weights={"tiny": file})])


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0{}"])
def test_other_files_say_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(data)
    assert read_metadata(path) is None


def test_shared_tensors_are_kept_twice(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    path = write_checkpoint(tmp_path / "s.safetensors", "tiny", model, {})
    from safetensors.torch import load_file

    assert torch.equal(load_file(path)["0.weight"], load_file(path)["1.weight"])
