"""What single samples tell: how the scores spread, and which samples are most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache.reports.formatting import escape_controls
from featcache.results import Scores

N_BINS = 20
"""Twenty bins put an edge on the usual threshold, 0.5."""

MOST_SHOWN = 4
"""At most so many mistakes of one kind are shown per test set."""

FAKE_MISSED = "fake, called real"
REAL_AS_FAKE = "real, called fake"
CONTROL_AS_FAKE = "processed photograph, called fake"


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """The scores of one test set: the share of its reals and of its fakes in each bin.

    ``edges`` has one number more than ``real`` and ``fake``; a class without samples is all zeros.
    """

    key: str
    name: str
    edges: tuple[float, ...]
    real: tuple[float, ...]
    fake: tuple[float, ...]
    n_real: int
    n_fake: int


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One sample on the wrong side of the threshold.

    ``path`` is as the file system has it, maybe with surrogates, and opens the file; ``also`` names
    the other test sets among whose worst mistakes the same sample is.
    """

    sample_id: str
    path: str
    kind: str
    score: float
    also: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What the sample is: ``"fake"``, ``"real"`` or ``"processed photograph"``."""
        return self.kind.partition(",")[0]


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """The worst mistakes on one test set, the worst of each kind first."""

    name: str
    samples: tuple[Mistake, ...]


def histogram(scores: Scores, key: str) -> Histogram:
    """Return how the scores of one test set spread over [0, 1].

    Parameters
    ----------
    scores : Scores
        Labels, logits and probabilities of the test samples.
    key : str
        Function or text that identifies an item.

    Returns
    -------
    Histogram
        How the scores of one test set spread over [0, 1].
    """
    members = scores.generator == key
    real, fake = (scores.score[members & (scores.label == label)] for label in (0, 1))
    edges = np.linspace(0, 1, N_BINS + 1)
    return Histogram(
        key=key,
        name=escape_controls(key),
        edges=tuple(edges.tolist()),
        real=_shares(real, edges),
        fake=_shares(fake, edges),
        n_real=real.size,
        n_fake=fake.size,
    )


def find_mistakes(
    scores: Scores, tests: Sequence[tuple[str, str]], threshold: float
) -> tuple[Mistakes, ...]:
    """Return the worst mistakes of every test set that has some.

    Parameters
    ----------
    scores : Scores
    tests : sequence of (str, str)
        Name and kind of each test set, in the order of the report. What a control processed is a
        photograph, so that its mistake is to be called fake, not to be called real.
    threshold : float
        Scores above it are called fake.

    Returns
    -------
    tuple of Mistakes
        A sample appears once; where it is a worst mistake of several test sets, at the first.
    """
    shown: dict[str, tuple[str, Mistake]] = {}
    for key, kind in tests:
        for mistake in _worst(scores, key, kind, threshold):
            home, known = shown.get(mistake.sample_id, (key, mistake))
            also = (*known.also, escape_controls(key)) if home != key else known.also
            shown[mistake.sample_id] = home, replace(known, also=also)
    grouped = {key: tuple(m for home, m in shown.values() if home == key) for key, _ in tests}
    return tuple(Mistakes(name=escape_controls(key), samples=m) for key, m in grouped.items() if m)


def _worst(scores: Scores, key: str, kind: str, threshold: float) -> list[Mistake]:
    members = scores.generator == key
    fake, called_fake = scores.label == 1, scores.score > threshold
    false_positives = _pick(scores, members & ~fake & called_fake, REAL_AS_FAKE, highest=True)
    if kind == "control":
        return (
            _pick(scores, members & fake & called_fake, CONTROL_AS_FAKE, highest=True)
            + false_positives
        )
    return (
        _pick(scores, members & fake & ~called_fake, FAKE_MISSED, highest=False) + false_positives
    )


def _pick(scores: Scores, wrong: NDArray[np.bool_], kind: str, *, highest: bool) -> list[Mistake]:
    """Return the most wrong rows, each sample once; ties go by id, so that the choice is
    repeatable.
    """
    sign = -1 if highest else 1
    rows = sorted(
        np.flatnonzero(wrong), key=lambda i: (sign * scores.score[i], scores.sample_id[i])
    )
    first: dict[str, np.intp] = {}
    for i in rows:
        first.setdefault(str(scores.sample_id[i]), i)
    return [
        Mistake(sample_id=name, path=str(scores.path[i]), kind=kind, score=float(scores.score[i]))
        for name, i in list(first.items())[:MOST_SHOWN]
    ]


def _shares(scores: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[float, ...]:
    counts, _ = np.histogram(scores, edges)
    return tuple((counts / max(scores.size, 1)).tolist())
