"""Where training stands after an epoch, on disk: tensors and text, nothing that could be
executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from featcache.errors import StoreError
from featcache.files import canonical_json, require_file, write_atomic
from featcache.finetune.model import TuningGraph
from featcache.finetune.result import Epoch

KEY = "featcache"
NOW, BEST, OPTIMIZER = "now/", "best/", "optimizer/"


@dataclass
class State:
    """Where training stands.

    Parameters
    ----------
    epochs : list of Epoch
        Finished ones; the first is the state before training.
    best : dict of str to tensor
        The trained tensors after the best epoch.
    """

    epochs: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def best_epoch(self) -> int:
        """The epoch that ranks highest; of equal ones the first."""
        return max(self.epochs, key=lambda epoch: epoch.rank).epoch

    def add(self, epoch: Epoch, snapshot: Callable[[], dict[str, Tensor]]) -> None:
        """Add a finished epoch, and keep the tensors if it is the best.

        Parameters
        ----------
        epoch : Epoch
            Epoch, from 0.
        snapshot : Callable[[], dict[str, Tensor]]
            Function that copies the trained tensors.
        """
        self.epochs.append(epoch)
        if self.best_epoch == epoch.epoch:
            self.best = snapshot()


def save_state(
    path: Path, run: str, state: State, graph: TuningGraph, optimizer: torch.optim.Optimizer
) -> None:
    """Write where training stands, whole or not at all.

    Parameters
    ----------
    path : Path
    run : str
        Digest of all that determines the run; no other one goes on from this file.
    state : State
        State of the run.
    graph : TuningGraph
        Trainable network with its head.
    optimizer : torch.optim.Optimizer
        Optimizer whose state is restored.
    """
    from safetensors.torch import save

    tensors = {NOW + name: tensor for name, tensor in graph.snapshot().items()}
    tensors |= {BEST + name: tensor for name, tensor in state.best.items()}
    for name, parameter in graph.trained().items():
        for part, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{OPTIMIZER}{name}/{part}"] = value.detach().cpu().contiguous()
    # A NaN (the loss of epoch 0) is no JSON: it is left out and put in again.
    epochs = [
        {name: value for name, value in asdict(epoch).items() if not math.isnan(value)}
        for epoch in state.epochs
    ]
    write_atomic(path, save(tensors, {KEY: canonical_json({"run": run, "epochs": epochs})}))


def load_state(
    path: Path, run: str, graph: TuningGraph, optimizer: torch.optim.Optimizer
) -> State | None:
    """Put graph and optimizer where :func:`save_state` left them; None where there is no such file.

    Parameters
    ----------
    path : Path
        File or folder.
    run : str
        Digest of the question that the run answers.
    graph : TuningGraph
        Trainable network with its head.
    optimizer : torch.optim.Optimizer
        Optimizer whose state is restored.

    Returns
    -------
    State | None

    Raises
    ------
    StoreError
        If the file is damaged or of another run: says what to do.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        require_file(path)
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()[KEY])
            if about["run"] != run:
                raise ValueError("it is of another run")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        graph.put_back(_below(tensors, NOW))
        for name, parameter in graph.trained().items():
            parts = _below(tensors, f"{OPTIMIZER}{name}/")
            optimizer.state[parameter] = {
                part: value if part == "step" else value.to(parameter.device)
                for part, value in parts.items()
            }
        epochs = [Epoch(**{"loss": float("nan"), **values}) for values in about["epochs"]]
        return State(epochs, _below(tensors, BEST))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise StoreError(
            f"The checkpoint {path} cannot be used: {error}. Delete it to train from the start."
        ) from error


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
