"""The bootstrap: sources drawn with replacement, and every metric in every resample."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import joblib
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from featcache.metrics.definitions import EVEN, METRICS, counted_metrics
from featcache.metrics.sorted_scores import Float, Index, ResampledCounts, SortedScores

BLOCK_CELLS = 6_000_000
"""Counts (resamples x sources) that one thread holds at once."""

BLOCK_ROWS = 64
"""Resamples at once: many enough for a thread not to wait for the interpreter, few enough for
the cache.
"""

MANY_CELLS = 2_000_000
"""Counts (resamples x samples) from which on threads save more than their start costs, some
milliseconds.
"""

Part = TypeVar("Part")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Resamples:
    """Bootstrap resamples of sources, drawn once and used for every generator.

    Parameters
    ----------
    strata : ndarray of shape (n_sources,), int
        Sources are drawn with replacement among those of the same stratum.
    n_resamples : int
    seed : int

    Notes
    -----
    A stratum holds the sources that play the same roles (a real of these generators, a fake of
    that one). Where every sample is a source of its own, this is the bootstrap stratified by
    class; where several crops and fakes come from one photograph, they are drawn together. Since
    all generators see the same draws, means over generators keep the dependence that shared
    reals bring.
    """

    strata: NDArray[np.int64]
    n_resamples: int = 1000
    seed: int = 0

    def counts(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return how often each source is in the resamples ``start`` to ``stop``.

        Parameters
        ----------
        start : int
            Index of the first row.
        stop : int
            Index after the last row.

        Returns
        -------
        ndarray of shape (stop - start, n_sources), int32
            The same for a resample whatever the range it is asked for in.
        """
        draw, place = self.drawer()
        return draw(start, stop)[:, place]

    def drawer(self) -> tuple[Callable[[int, int], NDArray[np.int32]], Index]:
        """Return a function like :meth:`counts` whose columns are sources by stratum, and their
        places.

        Returns
        -------
        callable
            ``(start, stop)`` to counts of shape (stop - start, n_sources).
        ndarray of shape (n_sources,), int
            The column of each source.
        """
        order = np.argsort(self.strata, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        _, first, size = np.unique(self.strata[order], return_index=True, return_counts=True)
        sizes, firsts = np.repeat(size, size).astype(np.uint64), np.repeat(first, size)

        def draw(start: int, stop: int) -> NDArray[np.int32]:
            drawn = np.empty((stop - start, len(order)), dtype=np.int32)
            for row in range(start, stop):
                picks = _picks(np.random.default_rng((self.seed, row)), sizes) + firsts
                drawn[row - start] = np.bincount(picks, minlength=len(order))
            return drawn

        return draw, place


def _picks(rng: np.random.Generator, sizes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Draw for each size a number from 0 to size - 1.

    The upper half of size x 32 random bits: three times as fast as ``rng.integers`` with sizes,
    and each number's chance is right to one part in 2^32 / size.
    """
    bits = rng.integers(0, 2**64, (len(sizes) + 1) // 2, dtype=np.uint64).view(np.uint32)
    return ((bits[: len(sizes)] * sizes) >> np.uint64(32)).view(np.int64)


def bootstrap(
    ranked: Mapping[Key, SortedScores],
    sources: Mapping[Key, NDArray[np.intp]],
    resamples: Resamples,
    names: Sequence[str] | None = None,
    prior: float = EVEN,
) -> dict[Key, dict[str, Float]]:
    """Return metrics of every generator in every resample.

    Parameters
    ----------
    ranked : mapping of str (or what else names it) to Sorted
        Scores per generator.
    sources : mapping of the same to ndarray of shape (n_samples,), int
        Source of each sample, in the original order, as a position in ``resamples.strata``.
    resamples : Resamples
    names : sequence of str
        Which metrics.
    prior : float in (0, 1)
        For ``ap_prior``.

    Returns
    -------
    dict of generator to dict of metric to ndarray of shape (n_resamples,)
    """
    chosen = tuple(METRICS) if names is None else tuple(names)
    draw, place = resamples.drawer()
    places = {
        name: (place[sources[name][scores.fakes]], place[sources[name][scores.reals]])
        for name, scores in ranked.items()
    }

    def compute_block(start: int, stop: int) -> dict[Key, dict[str, Float]]:
        counts = draw(start, stop)
        return {
            name: counted_metrics(_counted(scores, counts, *places[name]), chosen, prior)
            for name, scores in ranked.items()
        }

    cells = resamples.n_resamples * sum(len(rows) for rows in sources.values())
    # Cut the resamples; the cuts do not depend on the machine, so nor do sums of floats.
    step = min(max(BLOCK_CELLS // len(resamples.strata), 1), BLOCK_ROWS)
    starts = range(0, resamples.n_resamples, step)
    parts = _map_blocks(
        compute_block,
        [(start, min(start + step, resamples.n_resamples)) for start in starts],
        threads=cells > MANY_CELLS,
    )
    return {
        name: {metric: np.concatenate([part[name][metric] for part in parts]) for metric in chosen}
        for name in ranked
    }


def _map_blocks(
    compute: Callable[[int, int], Part], blocks: list[tuple[int, int]], *, threads: bool
) -> list[Part]:
    """Judge every block of resamples, on all cores where that is worth starting them."""
    if not threads:
        return [compute(start, stop) for start, stop in blocks]
    workers = min(joblib.cpu_count(), len(blocks))
    with threadpool_limits(1):  # one thread for each block, and none below it
        parallel = joblib.Parallel(n_jobs=workers, prefer="threads", require="sharedmem")
        return list(parallel(joblib.delayed(compute)(start, stop) for start, stop in blocks))


def _counted(
    ranked: SortedScores, counts: NDArray[np.int32], of_fakes: Index, of_reals: Index
) -> ResampledCounts:
    fakes, reals = (np.take(counts, rows, axis=1, mode="clip") for rows in (of_fakes, of_reals))
    return ResampledCounts(ranked, fakes, reals)


def percentile_ci(values: Float, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of bootstrap values; resamples without a class are left out.

    Parameters
    ----------
    values : Float
        Values of the replicates, shape (n_resamples,).
    level : float
        Confidence level, between 0 and 1.

    Returns
    -------
    tuple[float, float]
        The percentile interval of bootstrap values.
    """
    tail = (1 - level) / 2
    good = values[np.isfinite(values)]
    if not good.size:
        return (float("nan"), float("nan"))
    low, high = np.quantile(good, [tail, 1 - tail])
    return float(low), float(high)
