"""What a fine-tuning run found, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from featcache.results import EvalResult, RunComparison


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training images.

    Parameters
    ----------
    epoch : int
        Counted from 1; 0 is the state before any training.
    loss : float
        Mean binary cross-entropy (nats) over the training images as they were augmented; NaN for
        epoch 0.
    val_loss, val_ap, val_acc : float
        On the photographs held out, without augmentation; accuracy at probability 0.5.
    seconds : float
    """

    epoch: int
    loss: float
    val_loss: float
    val_ap: float
    val_acc: float
    seconds: float

    @property
    def rank(self) -> tuple[float, float]:
        """By what epochs are chosen: the higher AP, of equal ones the lower loss."""
        return self.val_ap, -self.val_loss


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """All that one run found.

    Parameters
    ----------
    backbone : str
        Canonical feature name.
    method : str
        What was trained, in words.
    recipe : dict
        All that shaped the training.
    weights, head : str
        The files that were written.
    weights_id : str
        The tuned weights as they stand in feature keys.
    n_trained, n_parameters : int
        Parameters of the network (without the head) that were trained, and all of them.
    n_train, n_val : int
        Images.
    epochs : list of Epoch
    best_epoch : int
        The one that was kept.
    frozen, tuned : EvalResult
        The same test samples evaluated with the frozen probe and with the tuned head.
    comparisons : dict of str to RunComparison
        By metric (``ap``, ``auroc``, ``acc``): tuned minus frozen, on the same resamples of
        photographs.
    results : list of str
        Folders in which both results are kept, in this order.
    notes : list of str
    reused : bool
        The weights were there already, from the same run.
    """

    backbone: str
    method: str
    recipe: dict[str, Any]
    weights: str
    head: str
    weights_id: str
    n_trained: int
    n_parameters: int
    n_train: int
    n_val: int
    epochs: list[Epoch]
    best_epoch: int
    frozen: EvalResult
    tuned: EvalResult
    comparisons: dict[str, RunComparison]
    results: list[str]
    notes: list[str]
    reused: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain dicts, lists and numbers, ready for JSON.

        Returns
        -------
        dict[str, Any]
            The result as plain dicts, lists and numbers, ready for JSON.
        """
        return asdict(self)
