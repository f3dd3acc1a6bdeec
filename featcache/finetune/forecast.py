"""What a fine-tuning run would cost: counted, and timed on a step of black images."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from featcache.backbones import precision_of, preprocessing_of, resolve
from featcache.datasets import Manifest
from featcache.extract.device import choose_device
from featcache.finetune.data import split_manifest
from featcache.finetune.model import make_graph, prepare
from featcache.finetune.options import FinetuneOptions


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run would do.

    Parameters
    ----------
    backbone, method, device, precision : str
    n_train, n_val, n_test : int
        Images.
    n_trained, n_parameters : int
        Parameters of the network that would be trained, and all of them.
    n_steps, n_steps_per_epoch : int
    seconds_per_step : float, s
        Measured here; decoding runs beside it and may be the slower part.
    seconds : float, s
        Of all epochs with their validation; extraction of features comes on top.
    """

    backbone: str
    method: str
    device: str
    precision: str
    n_train: int
    n_val: int
    n_test: int
    n_trained: int
    n_parameters: int
    n_steps: int
    n_steps_per_epoch: int
    seconds_per_step: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the forecast as a plain dict, ready for JSON.

        Returns
        -------
        dict[str, Any]
            The forecast as a plain dict, ready for JSON.
        """
        return asdict(self)


def forecast_finetune(manifest: Manifest, options: FinetuneOptions) -> Forecast:
    """Count the steps and time one; nothing is written.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.
    options : FinetuneOptions
        Settings; their own documentation names every field.

    Returns
    -------
    Forecast

    Raises
    ------
    FeatcacheError
        What :func:`~featcache.finetune.finetune` would raise before it trains.
    """
    parts = split_manifest(manifest.usable(), options.train, options.val_fraction, options.seed)
    spec = resolve(options.backbone, weights=options.weights)
    precision = precision_of(spec, options.precision, options.device)
    device = choose_device(options.device)
    preprocessing = preprocessing_of(spec, options.preset)
    tuner = prepare(spec, preprocessing.size, options)
    scale = np.stack([np.zeros(spec.n_features), np.ones(spec.n_features)]).astype(np.float32)
    graph = make_graph(tuner, preprocessing, scale, precision, device)
    size = min(options.batch_size, len(parts.train))
    # The seconds of a forward and a backward pass, the first one not counted.
    pixels = torch.zeros(size, preprocessing.size, preprocessing.size, 3)
    pixels = pixels.to(torch.uint8).to(device)
    for _ in range(2):
        start = time.perf_counter()
        graph(pixels).sum().backward()
        graph.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
    step = seconds
    n_steps = math.ceil(len(parts.train) / options.batch_size)
    passes = options.epochs * n_steps + (options.epochs + 1) * len(parts.val) / size
    return Forecast(
        backbone=spec.name,
        method=options.method,
        device=str(device),
        precision=precision,
        n_train=len(parts.train),
        n_val=len(parts.val),
        n_test=len({sample.sample_id for sample in parts.test}),
        n_trained=tuner.n_trained,
        n_parameters=tuner.n_parameters,
        n_steps=options.epochs * n_steps,
        n_steps_per_epoch=n_steps,
        seconds_per_step=step,
        seconds=step * passes,
    )
