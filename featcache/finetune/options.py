"""What a fine-tuning run is told, checked when it is made; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featcache.errors import SettingsError

AUGMENTATIONS = ("univfd-train", "clean")
STARTS = ("probe", "zero")
PRECISIONS = ("fp32", "bf16", "auto")
BLOCKS_RATE, LORA_RATE, HEAD_RATE = 1e-5, 2e-4, 1e-4
"""Peak learning rates: of pretrained tensors, of a fresh adapter, of the head (UnivFD's)."""


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """How a backbone is trained further and evaluated.

    Parameters
    ----------
    backbone : str
        Feature name; its final or tapped feature is what the head sees.
    train : list of str
        Generators whose training samples are used; empty means all.
    blocks : int >= 0 or None
        The last blocks (transformer) or stages (convolutional) that are trained, with all that
        comes after them; 0 trains the head alone, by the same recipe. None: 1, or all for a LoRA.
    lora : int >= 1 or None
        Rank of a LoRA in the linear layers of these blocks, instead of the blocks themselves.
    epochs : int >= 1
    patience : int >= 1
        Stop after so many epochs without a better one.
    batch_size : int
        Images per step.
    lr : float > 0 or None
        Peak learning rate of the backbone's tensors; None: 1e-5, or 2e-4 for a LoRA. The head's
        is 1e-4, or this if it is more.
    weight_decay : float >= 0
        Of AdamW, on matrices only.
    augment : {"univfd-train", "clean"}
        What is done to training images; a new draw in every epoch.
    start : {"probe", "zero"}
        The head's first weights: those of the frozen probe, or zero.
    val_fraction : float in (0, 0.5]
        Share of the training photographs that is held out to choose the epoch.
    seed : int
    C : float
        Of the frozen probe.
    preset, precision, device : str
        As for extraction; training runs in fp32 or bf16.
    workers, shard_rows : int
    weights : mapping of str to Path
        Weights files to start from, by backbone name.
    n_resamples : int
        Of the bootstrap.

    Raises
    ------
    SettingsError
        If a value is outside its range.
    """

    backbone: str
    train: list[str] = field(default_factory=list)
    blocks: int | None = None
    lora: int | None = None
    epochs: int = 2
    patience: int = 2
    batch_size: int = 32
    lr: float | None = None
    weight_decay: float = 0.01
    augment: str = "univfd-train"
    start: str = "probe"
    val_fraction: float = 0.1
    seed: int = 0
    C: float = 1.0
    preset: str = "default"
    precision: str = "fp32"
    device: str = "auto"
    workers: int = 0
    shard_rows: int = 1024
    weights: Mapping[str, Path] = field(default_factory=dict)
    n_resamples: int = 1000

    def __post_init__(self) -> None:
        _check("--blocks", self.blocks, self.blocks is None or self.blocks >= 0, "0 or more")
        _check("--lora", self.lora, self.lora is None or self.lora >= 1, "a rank of 1 or more")
        if self.lora and self.blocks == 0:
            raise SettingsError("--lora with --blocks 0 trains nothing. Leave one of them out.")
        _check("--epochs", self.epochs, 1 <= self.epochs <= 1000, "1 to 1000")
        _check("--patience", self.patience, self.patience >= 1, "1 or more")
        _check("--batch-size", self.batch_size, self.batch_size >= 1, "1 or more")
        _check("--lr", self.lr, self.lr is None or 0 < self.lr < 10, "more than 0")
        _check("weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        _check("--augment", self.augment, self.augment in AUGMENTATIONS, " or ".join(AUGMENTATIONS))
        _check("--start", self.start, self.start in STARTS, " or ".join(STARTS))
        _check("--val-fraction", self.val_fraction, 0 < self.val_fraction <= 0.5, "0 to 0.5")
        why = "fp32, bf16 or auto: gradients vanish in fp16"
        _check("--precision", self.precision, self.precision in PRECISIONS, why)

    @property
    def n_blocks(self) -> int | None:
        """Blocks that are trained; None means all of them."""
        return 1 if self.blocks is None and self.lora is None else self.blocks

    @property
    def rate(self) -> float:
        """Peak learning rate of the backbone's tensors."""
        return self.lr or (LORA_RATE if self.lora else BLOCKS_RATE)

    @property
    def head_rate(self) -> float:
        """Peak learning rate of the head: UnivFD's, but never below the backbone's."""
        return max(HEAD_RATE, self.rate)

    @property
    def method(self) -> str:
        """What is trained, in a few words.

        Examples
        --------
        >>> FinetuneOptions(backbone="clip", lora=8, blocks=4).method
        'LoRA of rank 8 in the last 4 blocks'
        """
        n = self.n_blocks
        if n == 0:
            return "head only"
        where = "all blocks" if n is None else "last block" if n == 1 else f"last {n} blocks"
        if not self.lora:
            return where
        return f"LoRA of rank {self.lora} in {where if n is None else 'the ' + where}"

    def recipe(self) -> dict[str, Any]:
        """Return all that shapes the training, and nothing that does not (device, workers).

        Returns
        -------
        dict[str, Any]
            All that shapes the training, and nothing that does not (device, workers).
        """
        return {
            "method": self.method,
            "blocks": self.n_blocks,
            "lora": self.lora,
            "epochs": self.epochs,
            "patience": self.patience,
            "batch_size": self.batch_size,
            "lr": self.rate,
            "head_lr": self.head_rate,
            "weight_decay": self.weight_decay,
            "augment": self.augment,
            "start": self.start,
            "C": self.C if self.start == "probe" else None,
            "val_fraction": self.val_fraction,
            "seed": self.seed,
        }


def _check(name: str, value: Any, good: bool, allowed: str) -> None:
    if not good:
        raise SettingsError(f"{name} {value} is not allowed: it must be {allowed}.")
