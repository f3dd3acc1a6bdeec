"""Files of a fine-tuning run: the state after each epoch, the weights, and the head on them.

Tensors and text, nothing that could be executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache._version import __version__
from featcache.backbones import BackboneSpec, resolve
from featcache.backbones.names import parse_name
from featcache.backbones.own_checkpoints import read_metadata, write_checkpoint
from featcache.errors import DataError, SettingsError, StoreError
from featcache.extract import Request
from featcache.files import canonical_json, digest_bytes, require_file, write_atomic
from featcache.finetune.model import Tuner, TuningGraph
from featcache.finetune.options import FinetuneOptions
from featcache.finetune.result import Epoch
from featcache.probes import SavedHead, load_head
from featcache.results import TrainResult

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


SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Artifact:
    """What training gave.

    Parameters
    ----------
    weights : Path
    weight, bias : ndarray of shape (n_features,), float
        The head in raw feature space.
    about : mapping
        What the weights file says about itself.
    """

    weights: Path
    weight: NDArray[np.float64]
    bias: float
    about: Mapping[str, Any]

    @property
    def epochs(self) -> list[Epoch]:
        """The epochs as the file knows them: without the seconds."""
        return [
            Epoch(**{"loss": float("nan"), "seconds": 0.0, **values})
            for values in self.about["epochs"]
        ]


def head_path(weights: Path) -> Path:
    """Return where the head lies: beside the weights.

    Parameters
    ----------
    weights : Path
        Weights files by name.

    Returns
    -------
    Path
        Where the head lies.

    Examples
    --------
    >>> head_path(Path("clip-ft.safetensors")).name
    'clip-ft.head.safetensors'
    """
    return weights.with_name(f"{weights.name.removesuffix(SUFFIX)}.head{SUFFIX}")


def check_name(out: Path) -> None:
    """Refuse a name for the weights that says another format.

    Parameters
    ----------
    out : Path
        File that the run writes.

    Raises
    ------
    SettingsError
        If it does not end in ``.safetensors``.
    """
    if out.suffix != SUFFIX:
        raise SettingsError(f"--out {out} must end in {SUFFIX}, as the weights are kept in it.")


def check_out(out: Path, run: str) -> None:
    """Refuse to write over a file that is not of the same run.

    Parameters
    ----------
    out : Path
        File that the run writes.
    run : str
        Digest of the question that the run answers.

    Raises
    ------
    SettingsError
        If another file is there.
    """
    if out.exists() and (read_metadata(out) or {}).get("run") != run:
        raise SettingsError(
            f"{out} exists and is not the result of this very run (other images, backbone or "
            "settings). Choose another --out, or delete it."
        )


def find_product(out: Path, run: str) -> Artifact | None:
    """Return what an earlier run of the same digest left; None where a file of it is missing.

    Parameters
    ----------
    out : Path
        File that the run writes.
    run : str
        Digest of the question that the run answers.

    Returns
    -------
    Artifact | None
        What an earlier run of the same digest left.
    """
    about, head_file = read_metadata(out), head_path(out)
    if about is None or about.get("run") != run or not head_file.exists():
        return None
    try:
        head = load_head(head_file)
    except DataError:
        return None
    return Artifact(out, head.weight, head.bias, about) if head.meta.get("run") == run else None


def write_weights(
    out: Path, run: str, tuner: Tuner, graph: TuningGraph, state: State, about: Mapping[str, Any]
) -> Artifact:
    """Merge what was trained into the network and write it; ends the training.

    Nothing that differs between two equal runs (times, paths) is written: the file's digest is part
    of the key of its features.

    Parameters
    ----------
    out : Path
        File that the run writes.
    run : str
        Digest of the question that the run answers.
    tuner : Tuner
        Network with its trainable parameters.
    graph : TuningGraph
        Trainable network with its head.
    state : State
        State of the run.
    about : Mapping[str, Any]
        Metadata of the run.

    Returns
    -------
    Artifact
    """
    weight, bias = graph.raw_head()
    metadata = {
        **about,
        "run": run,
        "epochs": [_plain(epoch) for epoch in state.epochs],
        "best_epoch": state.best_epoch,
        "n_trained": tuner.n_trained,
        "n_parameters": tuner.n_parameters,
    }
    network = str(about["network"])
    write_checkpoint(out, network, tuner.plain().to("cpu"), metadata)
    return Artifact(out, weight, bias, metadata)


def tuned_spec(spec: BackboneSpec, out: Path) -> BackboneSpec:
    """Return the same feature of the tuned weights; a seed of random weights is left out.

    Parameters
    ----------
    spec : BackboneSpec
        Specification of the backbone.
    out : Path
        File that the run writes.

    Returns
    -------
    BackboneSpec
        The same feature of the tuned weights.
    """
    name = str(replace(parse_name(spec.name), seed=None))
    return resolve(name, weights={spec.network: out})


def save_head(
    product: Artifact, request: Request, options: FinetuneOptions, train: TrainResult, run: str
) -> SavedHead:
    """Write the head beside the weights, bound to the key of their feature.

    Parameters
    ----------
    product : Artifact
        Files of the run.
    request : Request
        Requested feature.
    options : FinetuneOptions
        Settings; their own documentation names every field.
    train : TrainResult
        Training samples.
    run : str
        Digest of the question that the run answers.

    Returns
    -------
    SavedHead
    """
    head = SavedHead(
        weight=product.weight,
        bias=product.bias,
        feature_keys=[dict(request.key.fields)],
        widths=[len(product.weight)],
        meta={
            "head": f"fine-tuned ({options.method})",
            "scaling": "standardise",
            "features": [request.key.name],
            "train": asdict(train),
            "recipe": options.recipe(),
            "weights_file": product.weights.name,
            "run": run,
            "versions": {"featcache": __version__, "torch": torch.__version__},
            "digest": digest_bytes(product.weight.tobytes() + repr(product.bias).encode("ascii")),
        },
    )
    head.save(head_path(product.weights))
    return head


def _plain(epoch: Epoch) -> dict[str, Any]:
    """Return an epoch without its seconds, and without what is no number."""
    values = asdict(epoch)
    del values["seconds"]
    return {name: value for name, value in values.items() if not math.isnan(value)}
