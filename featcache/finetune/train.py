"""The training loop: AdamW, a warm-up and a cosine, one validation and one checkpoint per epoch."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.backbones import Preprocessing
from featcache.errors import DataError
from featcache.finetune.artifacts import State, load_state, save_state
from featcache.finetune.data import Splits, load_batches, shuffled, view_of
from featcache.finetune.model import TuningGraph
from featcache.finetune.options import FinetuneOptions
from featcache.finetune.result import Epoch
from featcache.metrics import compute_metrics
from featcache.progress import progress

log = logging.getLogger("featcache")

WARM_UP = 0.1
"""Share of the steps in which the rates rise."""
MAX_NORM = 1.0
"""Longer gradients are shortened to this."""


@dataclass(frozen=True)
class TuningTask:
    """All that the loop needs besides the graph.

    Parameters
    ----------
    parts : Parts
    preprocessing : Preprocessing
    options : FinetuneOptions
    device : torch.device
    checkpoint : Path
    run : str
        Digest of all that determines the run.
    refresh : callable
        Puts frozen tensors back to the bit; called where an epoch starts and ends.
    """

    parts: Splits
    preprocessing: Preprocessing
    options: FinetuneOptions
    device: torch.device
    checkpoint: Path
    run: str
    refresh: Callable[[], None] = lambda: None

    @property
    def n_steps(self) -> int:
        """Steps of an epoch; the last one may be smaller."""
        return math.ceil(len(self.parts.train) / self.options.batch_size)


def train(graph: TuningGraph, task: TuningTask) -> State:
    """Train until the epochs are over or none gets better; leave the best tensors in the graph.

    A run that was killed goes on after its last finished epoch and ends in the same tensors.

    Parameters
    ----------
    graph : TuningGraph
        On the task's device, gradients only where they should be.
    task : Task

    Returns
    -------
    State

    Raises
    ------
    DataError
        If the loss is no number any more, or an image cannot be used.
    """
    options = task.options
    groups = graph.groups(options.rate, options.head_rate, options.weight_decay)
    optimizer = torch.optim.AdamW(groups)
    n_threads = options.workers or os.cpu_count() or 1
    with repeatable(), ThreadPoolExecutor(n_threads) as pool:
        state = load_state(task.checkpoint, task.run, graph, optimizer) or State()
        if state.epochs:
            log.info("Going on after epoch %d: %s", state.epochs[-1].epoch, task.checkpoint)
        while not _finished(state, options):
            epoch = _epoch(len(state.epochs), graph, task, optimizer, pool)
            state.add(epoch, graph.snapshot)
            save_state(task.checkpoint, task.run, state, graph, optimizer)
            log.info("%s", format_epoch(epoch, options.epochs, state.best_epoch == epoch.epoch))
    graph.put_back(state.best)
    return state


def rate_factor(step: int, n_steps: int) -> float:
    """Return the learning rate of a step (from 0) as a share of its peak.

    Parameters
    ----------
    step : int
        Step, from 0.
    n_steps : int
        Number of steps in all.

    Returns
    -------
    float
        The learning rate of a step (from 0) as a share of its peak.

    Examples
    --------
    >>> [round(rate_factor(step, 20), 2) for step in (0, 1, 2, 11, 19)]
    [0.5, 0.99, 0.98, 0.42, 0.01]
    """
    rise = min(1.0, (step + 1) / max(1, int(WARM_UP * n_steps)))
    return rise * 0.5 * (1 + math.cos(math.pi * step / n_steps))


@contextmanager
def repeatable() -> Iterator[None]:
    """Choose kernels that give the same bits each time, where there are such.

    Yields
    ------
    None
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warns)


def format_epoch(epoch: Epoch, n_epochs: int, is_best: bool) -> str:
    """Return an epoch in one line for a person.

    Parameters
    ----------
    epoch : Epoch
        Epoch, from 0.
    n_epochs : int
        Number of epochs in all.
    is_best : bool
        Whether this epoch is the best so far.

    Returns
    -------
    str
        An epoch in one line for a person.
    """
    what = (
        f"epoch {epoch.epoch}/{n_epochs}: loss {epoch.loss:.4f}" if epoch.epoch else "at the start"
    )
    return (
        f"{what}; held-out photographs: AP {100 * epoch.val_ap:.1f}, accuracy"
        f" {100 * epoch.val_acc:.1f}, loss"
        f" {epoch.val_loss:.4f}{' (best so far)' if is_best else ''}; {epoch.seconds:.1f} s"
    )


def _finished(state: State, options: FinetuneOptions) -> bool:
    if not state.epochs:
        return False
    last = state.epochs[-1].epoch
    return last >= options.epochs or last - state.best_epoch >= options.patience


def _epoch(
    number: int,
    graph: TuningGraph,
    task: TuningTask,
    optimizer: torch.optim.Optimizer,
    pool: ThreadPoolExecutor,
) -> Epoch:
    """Train one epoch (none for number 0) and validate."""
    start = time.perf_counter()
    task.refresh()
    loss = _pass(number, graph, task, optimizer, pool) if number else math.nan
    task.refresh()
    val = validate(graph, task, pool)
    seconds = time.perf_counter() - start
    return Epoch(epoch=number, loss=loss, seconds=seconds, **val)


def _pass(
    number: int,
    graph: TuningGraph,
    task: TuningTask,
    optimizer: torch.optim.Optimizer,
    pool: ThreadPoolExecutor,
) -> float:
    """Go over the training images once; return the mean loss."""
    options, n_images = task.options, len(task.parts.train)
    view = view_of(options.augment, number - 1, options.seed)
    rows = shuffled(task.parts.train, number, options.seed)
    batches = load_batches(rows, view, task.preprocessing, options.batch_size, pool)
    total = 0.0
    with progress(f"epoch {number}/{options.epochs}", n_images) as advance:
        for i, batch in enumerate(batches):
            step = (number - 1) * task.n_steps + i
            factor = rate_factor(step, options.epochs * task.n_steps)
            for group in optimizer.param_groups:
                group["lr"] = factor * group["peak"]
            logits = graph(torch.from_numpy(batch.pixels).to(task.device))
            labels = torch.from_numpy(batch.labels).to(task.device)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(graph.trained().values(), MAX_NORM)
            optimizer.step()
            total += float(loss.item()) * len(batch.labels)
            if not math.isfinite(total):
                raise DataError(
                    f"The loss is no number any more in step {i + 1} of epoch {number}: the"
                    f" training diverged. Use a smaller --lr than {options.rate:g}."
                )
            advance(len(batch.labels))
    return total / n_images


def validate(graph: TuningGraph, task: TuningTask, pool: ThreadPoolExecutor) -> dict[str, float]:
    """Return loss, AP and accuracy on the photographs held out, without augmentation.

    Parameters
    ----------
    graph : TuningGraph
        Trainable network with its head.
    task : TuningTask
        Fine-tuning task.
    pool : ThreadPoolExecutor
        Threads that load images.

    Returns
    -------
    dict[str, float]
        Loss, AP and accuracy on the photographs held out, without augmentation.
    """
    logits, rows = [], task.parts.val
    clean = view_of("clean", 0, 0)
    for batch in load_batches(rows, clean, task.preprocessing, task.options.batch_size, pool):
        with torch.no_grad():
            part = graph(torch.from_numpy(batch.pixels).to(task.device))
        logits.append(part.double().cpu().numpy())
    logit: NDArray[np.float64] = np.concatenate(logits)
    y = np.array([sample.label for sample in rows])
    metrics = compute_metrics(y, 0.5 * (1 + np.tanh(0.5 * logit)), 0.5)
    loss = np.logaddexp(0.0, np.where(y == 1, -logit, logit)).mean()
    return {"val_loss": float(loss), "val_ap": metrics["ap"], "val_acc": metrics["acc"]}
