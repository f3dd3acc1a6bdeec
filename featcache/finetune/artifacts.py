"""The two files that a run leaves: the weights and the head on their feature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.backbones import BackboneSpec, resolve
from featcache.backbones.names import parse_name
from featcache.backbones.own_checkpoints import read_metadata, write_checkpoint
from featcache.errors import DataError, SettingsError
from featcache.extract import Request
from featcache.files import digest_bytes
from featcache.finetune.checkpoint import State
from featcache.finetune.model import Tuner, TuningGraph
from featcache.finetune.options import FinetuneOptions
from featcache.finetune.result import Epoch
from featcache.probes import SavedHead, load_head
from featcache.results import TrainResult

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
