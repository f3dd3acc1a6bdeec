"""What the scores of a test set show: curves, confusion, reliability, histograms, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache.reports.formatting import escape_controls
from featcache.results import Scores

MOST_POINTS = 60
"""A curve is drawn with at most so many points, evenly spread along it; its corners are kept."""

N_RELIABILITY_BINS = 10

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """ROC and precision-recall curve of one test set.

    ``roc`` has (false positive rate, true positive rate), ``pr`` (recall, precision), both from
    the strictest threshold to the laxest, as fractions; empty where a class is missing.
    ``chance`` is the share of fakes: the precision of scores that know nothing.
    """

    key: str
    name: str
    roc: Points
    pr: Points
    chance: float


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How many samples of one test set are called what at the threshold."""

    key: str
    name: str
    real_called_real: int
    real_called_fake: int
    fake_called_real: int
    fake_called_fake: int


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The samples whose predicted probability lies in [``start``, ``stop``).

    ``predicted`` is their mean probability of fake, ``observed`` the share that is fake, (``low``,
    ``high``) its 95 % Wilson interval, which takes samples as independent.
    """

    start: float
    stop: float
    n: int
    predicted: float
    observed: float
    low: float
    high: float


def curves(scores: Scores, key: str) -> Curves:
    """Return both curves of one test set.

    Parameters
    ----------
    scores : Scores
        Labels, logits and probabilities of the test samples.
    key : str
        Function or text that identifies an item.

    Returns
    -------
    Curves
        Both curves of one test set.
    """
    label, score = _of(scores, key)
    chance = float(label.mean()) if label.size else float("nan")
    if len(set(label.tolist())) < 2:
        return Curves(key=key, name=escape_controls(key), roc=(), pr=(), chance=chance)
    from sklearn.metrics import precision_recall_curve, roc_curve

    false_rate, true_rate, _ = roc_curve(label, score)
    precision, recall, _ = precision_recall_curve(label, score, drop_intermediate=True)
    return Curves(
        key=key,
        name=escape_controls(key),
        roc=_thin(false_rate, true_rate),
        pr=_thin(recall[::-1], precision[::-1]),
        chance=chance,
    )


def confusion(scores: Scores, key: str, threshold: float) -> Confusion:
    """Return the counts of one test set; a score above ``threshold`` is called fake.

    Parameters
    ----------
    scores : Scores
        Labels, logits and probabilities of the test samples.
    key : str
        Function or text that identifies an item.
    threshold : float
        Threshold of the probability, between 0 and 1.

    Returns
    -------
    Confusion
        The counts of one test set.
    """
    label, score = _of(scores, key)
    called = score > threshold
    return Confusion(
        key=key,
        name=escape_controls(key),
        real_called_real=int(((label == 0) & ~called).sum()),
        real_called_fake=int(((label == 0) & called).sum()),
        fake_called_real=int(((label == 1) & ~called).sum()),
        fake_called_fake=int(((label == 1) & called).sum()),
    )


def reliability(scores: Scores, keys: Sequence[str]) -> tuple[ReliabilityBin, ...]:
    """Return how often a predicted probability comes true, over the test sets of these names.

    A real that serves several generators counts once for each, as in the means; empty bins are left
    out.

    Parameters
    ----------
    scores : Scores
        Labels, logits and probabilities of the test samples.
    keys : Sequence[str]
        Feature keys, one for each feature.

    Returns
    -------
    tuple[ReliabilityBin, ...]
        How often a predicted probability comes true, over the test sets of these names.
    """
    members = np.isin(scores.generator.astype(str), list(keys))
    label, score = scores.label[members], scores.score[members]
    edges = np.linspace(0, 1, N_RELIABILITY_BINS + 1)
    place = np.clip(np.digitize(score, edges) - 1, 0, N_RELIABILITY_BINS - 1)
    bins = (_bin(edges, i, label[place == i], score[place == i]) for i in np.unique(place))
    return tuple(bins)


def _bin(
    edges: NDArray[np.float64], i: int, label: NDArray[np.int64], score: NDArray[np.float64]
) -> ReliabilityBin:
    n, share = label.size, float(label.mean())
    low, high = wilson(share, n)
    return ReliabilityBin(
        start=float(edges[i]),
        stop=float(edges[i + 1]),
        n=n,
        predicted=float(score.mean()),
        observed=share,
        low=low,
        high=high,
    )


def wilson(share: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's interval of a share of ``n`` independent samples.

    Parameters
    ----------
    share : float
        Share between 0 and 1.
    n : int
        Number of items.
    z : float
        Quantile of the normal distribution.

    Returns
    -------
    tuple[float, float]
        Wilson's interval of a share of ``n`` independent samples.

    Examples
    --------
    >>> low, high = wilson(0.5, 100)
    >>> round(low, 3), round(high, 3)
    (0.404, 0.596)
    """
    spread = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    middle, scale = share + z * z / (2 * n), 1 + z * z / n
    return float(max(middle - spread, 0) / scale), float(min(middle + spread, scale) / scale)


def _of(scores: Scores, key: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    members = scores.generator == key
    return scores.label[members], scores.score[members]


def _thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:
    """Keep at most MOST_POINTS points, evenly spread along the curve's length, ends included."""
    if len(x) > MOST_POINTS:
        length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        grid = np.linspace(0, length[-1], MOST_POINTS)
        kept = np.unique(np.searchsorted(length, grid).clip(0, len(x) - 1))
        x, y = x[kept], y[kept]
    return tuple(zip(x.tolist(), y.tolist(), strict=True))


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
