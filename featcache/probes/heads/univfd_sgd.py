"""The recipe that UnivFD and the paper ran, on cached features, so that logistic regression can be
compared.

Source: the released code of UnivFD and the early stopping of CNNDetection, see the notes below.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featcache.probes.base import Features, Float, HeadKind, Linear, Training

LEARNING_RATE, MIN_RATE = 1e-4, 1e-6
BATCH = 256
EPOCHS = 100
PATIENCE = 5
MARGINS = (0.001, 0.002)
"""What accuracy must gain to count as better: before the first fall of the rate, and after it."""

INIT_DEVIATION = 0.02
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
VALIDATION_SHARE = 0.1


@dataclass
class _Adam:
    """Adam without weight decay (the recipe's AdamW has decay 0) on weight and bias in one
    vector.
    """

    theta: Float
    rate: float = LEARNING_RATE
    step: int = 0
    first: Float = field(init=False)
    second: Float = field(init=False)

    def __post_init__(self) -> None:
        self.first, self.second = np.zeros_like(self.theta), np.zeros_like(self.theta)

    def update(self, gradient: Float) -> None:
        self.step += 1
        self.first += (1 - BETA1) * (gradient - self.first)
        self.second += (1 - BETA2) * (gradient**2 - self.second)
        scale = np.sqrt(self.second / (1 - BETA2**self.step)) + EPSILON
        self.theta -= self.rate * (self.first / (1 - BETA1**self.step)) / scale


@dataclass
class _Stopper:
    """Early stopping on accuracy: a gain below the margin counts as none."""

    margin: float
    best: float = -np.inf
    waited: int = 0

    def __call__(self, accuracy: float) -> bool:
        """Say whether it is time to stop."""
        if accuracy < self.best + self.margin:
            self.waited += 1
        else:
            self.best, self.waited = accuracy, 0
        return self.waited >= PATIENCE


def fit_univfd_sgd(training: Training, seed: int = 0) -> Linear:
    """Fit by stochastic gradient steps on raw features, as UnivFD does.

    Parameters
    ----------
    training : Training
        Without validation samples, a tenth of the photographs is held out for early stopping.
    seed : int
        Of initial weights, order and hold-out.

    Returns
    -------
    Linear

    Notes
    -----
    AdamW with rate 1e-4 and no decay, batches of 256, binary cross-entropy, weights drawn from
    N(0, 0.02²), bias from torch's default U(-1/√D, 1/√D). After each epoch accuracy at 0.5 on
    the validation samples is looked at; after 5 epochs without a gain of 0.001 the rate falls
    tenfold (the margin is 0.002 from then on), and training ends when it would fall below 1e-6,
    or after 100 epochs. The weights are those of the *last* epoch: that is what the released
    code evaluates under the name "best". What cached features cannot repeat are new
    augmentations in each epoch; cache several draws of the view ``univfd-train`` and train on
    them.
    """
    rng = np.random.default_rng(seed)
    x, y, x_val, y_val = _split(training, rng)
    width = x.shape[1]
    bound = 1 / np.sqrt(width)
    theta = np.append(rng.normal(0, INIT_DEVIATION, width), rng.uniform(-bound, bound))
    adam, stop = _Adam(theta), _Stopper(MARGINS[0])
    for _ in range(EPOCHS):
        order = rng.permutation(len(y))
        for start in range(0, len(y), BATCH):
            rows = order[start : start + BATCH]
            batch = x[rows].astype(np.float64)
            logit = batch @ adam.theta[:-1] + adam.theta[-1]
            error = 0.5 * (1 + np.tanh(0.5 * logit)) - y[rows]
            adam.update(np.append(error @ batch, error.sum()) / len(rows))
        accuracy = float(((x_val @ adam.theta[:-1] + adam.theta[-1] > 0) == y_val).mean())
        if stop(accuracy):
            adam.rate /= 10
            stop = _Stopper(MARGINS[1])
            if adam.rate < MIN_RATE:
                break
    return Linear(weight=adam.theta[:-1], bias=float(adam.theta[-1]))


def _split(
    training: Training, rng: np.random.Generator
) -> tuple[Features, NDArray[np.int64], Features, NDArray[np.int64]]:
    """Return training and validation samples; photographs are held out whole."""
    x, y = training.features, training.labels
    if training.val_features is not None and training.val_labels is not None:
        return x, y, training.val_features, training.val_labels
    sources, source_of = np.unique(training.groups, return_inverse=True)
    n_out = max(round(VALIDATION_SHARE * len(sources)), 1)
    out = np.isin(source_of, rng.permutation(len(sources))[:n_out])
    return x[~out], y[~out], x[out], y[out]


UNIVFD_SGD = HeadKind(
    fit=fit_univfd_sgd,
    summary="UnivFD's own recipe: AdamW on raw features, early stopping",
    takes=frozenset({"seed"}),
)
