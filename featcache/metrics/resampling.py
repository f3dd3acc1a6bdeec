"""The bootstrap: sources drawn with replacement, and every metric of every resample."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import joblib
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from featcache.metrics.compute import EVEN, resampled_metrics
from featcache.metrics.definitions import METRICS
from featcache.metrics.sorted_scores import Float, Index, ResampledCounts, SortedScores
from featcache.progress import track

BLOCK_CELLS = 6_000_000
"""Largest number of counts (resamples x sources) that one thread holds at once."""

BLOCK_ROWS = 64
"""Largest number of resamples in one block: enough to amortise the interpreter's overhead, few
enough for the cache of the processor."""

MANY_CELLS = 2_000_000
"""Number of counts (resamples x samples) above which threads save more than their start costs."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Resamples:
    """Stratified bootstrap resamples of sources, shared by all generators (Efron 1979).

    Parameters
    ----------
    strata : ndarray of shape (n_sources,), int
        Stratum of each source; sources are drawn with replacement within their stratum.
    n_resamples : int
        Number of resamples.
    seed : int
        Seed of the random numbers.

    Notes
    -----
    A stratum holds the sources that play the same roles (a real of these generators, a fake of that
    one). Where every sample is a source of its own, this is the bootstrap stratified by class.
    Several crops or fakes of one photograph are drawn together (cluster bootstrap). All generators
    see the same resamples, so means over generators keep the dependence that shared reals cause.
    """

    strata: NDArray[np.int64]
    n_resamples: int = 1000
    seed: int = 0

    def counts(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return how often each source is in the resamples ``start`` to ``stop``.

        Parameters
        ----------
        start : int
            Index of the first resample.
        stop : int
            Index after the last resample.

        Returns
        -------
        ndarray of shape (stop - start, n_sources), int32
            Counts; those of a resample do not depend on the range.
        """
        draw, column = self.sampler()
        return draw(start, stop)[:, column]

    def sampler(self) -> tuple[Callable[[int, int], NDArray[np.int32]], Index]:
        """Return a function that draws counts, and the column of each source in them.

        Returns
        -------
        callable
            ``(start, stop)`` to counts of shape (stop - start, n_sources), int32, like
            :meth:`counts` but with the sources sorted by stratum.
        ndarray of shape (n_sources,), intp
            Column of each source.
        """
        order = np.argsort(self.strata, kind="stable")
        column = np.empty_like(order)
        column[order] = np.arange(len(order))
        _, first, size = np.unique(self.strata[order], return_index=True, return_counts=True)
        sizes, offsets = np.repeat(size, size).astype(np.uint64), np.repeat(first, size)

        def draw(start: int, stop: int) -> NDArray[np.int32]:
            counts = np.empty((stop - start, len(order)), dtype=np.int32)
            for row in range(start, stop):
                # The upper half of size x 32 random bits is a number from 0 to size - 1: three
                # times as fast as rng.integers with an array of sizes. Each probability is right to
                # one part in 2^32 / size.
                rng = np.random.default_rng((self.seed, row))
                n_pairs = (len(order) + 1) // 2
                bits = rng.integers(0, 2**64, n_pairs, dtype=np.uint64).view(np.uint32)
                within = ((bits[: len(order)] * sizes) >> np.uint64(32)).view(np.int64)
                counts[row - start] = np.bincount(within + offsets, minlength=len(order))
            return counts

        return draw, column


def bootstrap(
    scores: Mapping[Key, SortedScores],
    sources: Mapping[Key, NDArray[np.intp]],
    resamples: Resamples,
    names: Sequence[str] | None = None,
    prior: float = EVEN,
) -> dict[Key, dict[str, Float]]:
    """Compute metrics of every generator in every resample.

    Parameters
    ----------
    scores : mapping of generator to SortedScores
        Scores of each generator's test samples.
    sources : mapping of generator to ndarray of shape (n_samples,), intp
        Source of each sample in the original order, as an index into ``resamples.strata``.
    resamples : Resamples
        Resamples of the sources.
    names : sequence of str, optional
        Names of metrics; all by default.
    prior : float in (0, 1)
        Share of fakes for ``ap_prior``.

    Returns
    -------
    dict of generator to dict of str to ndarray of shape (n_resamples,), float64
        Replicates by generator and metric; NaN where a resample lacks a class.
    """
    chosen = tuple(METRICS) if names is None else tuple(names)
    draw, column = resamples.sampler()
    columns = {
        key: (column[sources[key][item.fakes]], column[sources[key][item.reals]])
        for key, item in scores.items()
    }

    def compute_block(start: int, stop: int) -> dict[Key, dict[str, Float]]:
        counts = draw(start, stop)
        block = {}
        for key, item in scores.items():
            # Indices are in range by construction; mode="clip" skips the check.
            fakes, reals = (np.take(counts, index, axis=1, mode="clip") for index in columns[key])
            block[key] = resampled_metrics(ResampledCounts(item, fakes, reals), chosen, prior)
        return block

    # Block boundaries do not depend on the machine, so neither do sums of floats.
    step = min(max(BLOCK_CELLS // len(resamples.strata), 1), BLOCK_ROWS)
    starts = range(0, resamples.n_resamples, step)
    blocks = [(start, min(start + step, resamples.n_resamples)) for start in starts]
    if resamples.n_resamples * sum(len(rows) for rows in sources.values()) > MANY_CELLS:
        with threadpool_limits(1):  # one thread for each block, and none below it
            workers = min(joblib.cpu_count(), len(blocks))
            parallel = joblib.Parallel(
                n_jobs=workers, prefer="threads", require="sharedmem", return_as="generator"
            )
            done = parallel(joblib.delayed(compute_block)(*block) for block in blocks)
            parts = list(track(done, "resample", len(blocks), "blocks of resamples"))
    else:
        parts = [compute_block(*block) for block in blocks]
    return {
        key: {name: np.concatenate([part[key][name] for part in parts]) for name in chosen}
        for key in scores
    }


def percentile_ci(replicates: Float, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap confidence interval (Efron & Tibshirani 1993, chapter 13).

    Parameters
    ----------
    replicates : ndarray of shape (n_resamples,), float64
        Values of the resamples; those that are not finite are left out.
    level : float in (0, 1)
        Confidence level.

    Returns
    -------
    (float, float)
        The (1 - level) / 2 and (1 + level) / 2 quantiles; NaN without a finite replicate.
    """
    tail = (1 - level) / 2
    finite = replicates[np.isfinite(replicates)]
    if not finite.size:
        return (float("nan"), float("nan"))
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)
