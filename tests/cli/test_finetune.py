"""``featcache finetune`` as a user runs it, on the backbone that comes along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featcache.testing import make_tree

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("toy") / "toy", n=4)


def base(toy: Path, tmp_path: Path) -> list[object]:
    return [
        *("finetune", "--backbone", "efficientnet-lite0", "--data", toy),
        *("--cache", tmp_path / "store", "--train", "progan", "--device", "cpu"),
        *("--val-fraction", 0.25, "--out", tmp_path / "eff-ft.safetensors"),
    ]


def test_the_whole_way(featcache: Run, toy: Path, tmp_path: Path) -> None:
    """Tune, read the table, extract with the tuned weights without work, tune again without
    work.
    """
    command = base(toy, tmp_path)
    first = featcache(*command, "--epochs", 1, "--json", "-q")
    assert first.code == 0, first.err
    result = first.json
    weights, head = Path(result["weights"]), Path(result["head"])
    assert (weights.name, head.name) == ("eff-ft.safetensors", "eff-ft.head.safetensors")
    assert head.is_file()
    assert set(result["comparisons"]["ap"]["generators"]) == {"progan", "biggan"}
    assert result["frozen"]["features"] == result["tuned"]["features"] == ["efficientnet-lite0"]

    again = featcache(*command, "--epochs", 1)
    assert again.code == 0, again.err
    assert "nothing was trained again" in again.err
    assert "difference" in again.out
    assert "Fine-tuning " in again.out
    assert "progan *" in again.out

    second = featcache(*command, "--epochs", 2)
    assert second.code == 2
    assert "Choose another --out" in second.err


def test_dry_run_counts_and_writes_nothing(featcache: Run, toy: Path, tmp_path: Path) -> None:
    ran = featcache(*base(toy, tmp_path), "--epochs", 3, "--batch-size", 4, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    plan = ran.json
    assert (plan["n_train"], plan["n_val"], plan["n_test"]) == (6, 2, 16)
    assert (plan["n_steps"], plan["n_steps_per_epoch"]) == (6, 2)
    assert 0 < plan["n_trained"] < plan["n_parameters"]
    assert plan["seconds"] == pytest.approx(8 * plan["seconds_per_step"])
    assert plan["seconds"] > 0
    assert not list(tmp_path.glob("*.safetensors"))
    assert not (tmp_path / "store" / "finetune").exists()
    spoken = featcache(*base(toy, tmp_path), "--lora", 4, "--dry-run")
    assert "LoRA of rank 4 in all blocks" in spoken.out


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--blocks", "9"], 2, "this backbone has 7"),
        (["--train", "biggn"], 2, "is called 'biggn'. Did you mean 'biggan'"),
        (["--precision", "fp16"], 2, "gradients vanish"),
        (["--out", "w.pth"], 2, "must end in .safetensors"),
        (["--weights", "efficientnet-lite0=none.pth"], 5, "is no file"),
    ],
)
def test_errors_say_what_and_how(
    featcache: Run, toy: Path, tmp_path: Path, extra: list[str], code: int, message: str
) -> None:
    ran = featcache(*base(toy, tmp_path), *extra)
    assert ran.code == code
    assert message in ran.err


def test_one_backbone_at_a_time(featcache: Run, toy: Path) -> None:
    ran = featcache("finetune", "--data", toy)
    assert ran.code == 2
    assert "Say --backbone NAME" in ran.err


def test_two_backbones_in_one_flag_are_refused(tree: Path, featcache: Callable[..., Any]) -> None:
    ran = featcache("finetune", "--backbone", "clip,synclr", "--data", tree)
    assert ran.code == 2
    assert "One backbone is trained at a time, not clip, synclr" in " ".join(ran.err.split())
