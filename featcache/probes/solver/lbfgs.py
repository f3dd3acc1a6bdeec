"""Joint L-BFGS: all heads advance together, so that each iteration is two products with the data.

The line search happens in the space of the logits and needs no pass over the data. A head that
L-BFGS does not bring home gets its own Hessian as the new start: the method then is Newton's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache import threads
from featcache.probes.solver.preconditioner import Preconditioner
from featcache.probes.solver.problem import Float, HeadBatch, Solution
from featcache.probes.solver.sums import GRAM_ROWS_PER_COLUMN, Index, Sums
from featcache.progress import Advance, no_progress

MEMORY = 10
"""Pairs of steps and gradient changes that are kept."""

REFRESH, REFRESH_TALL = (20, 6), (3, 20)
"""Iterations after which a head gets its own Hessian, and after how many more it gets it again;
the second pair where there are many more rows than columns.
"""

EARLY_ROWS, READ_COST = 32, 30
"""Rows for each column of a Hessian that is taken early; products that cost as much as reading one
number from memory (measured on two AVX2 cores).
"""

INVALID_AGE = 1_000_000
"""An age at which a head's Hessian is due at once."""

SLOPE = 0.3
"""A step is long enough when the slope has fallen to this share of what it was."""

MAX_TRIALS = 30

USEFUL_GAP = 1e-3
"""A head counts as converged only if its objective is proven to be no further above the minimum."""

RESIDUAL_EPS = 4
"""Rounding of a residual sigmoid(logit) - label, in units of the precision of 1."""

MARGIN = 0.1
"""How far below the tolerance the next step's estimated gain must be: flat ends are steeper than
they look.
"""


def minimise(
    sums: Sums,
    heads: HeadBatch,
    *,
    tol: float = 1e-9,
    max_iter: int = 300,
    advance: Advance = no_progress,
) -> Solution:
    """Solve all heads.

    Parameters
    ----------
    sums : Sums
        Over centred features: the solver works with others too, more slowly.
    heads : Heads
    tol : float
        A head is done when its objective is at most this share above the minimum: proven by the
        duality gap, or estimated from the step that would come next.
    max_iter : int
    advance : callable
        Is told after each iteration how many heads are done, and the largest gap of the others.

    Returns
    -------
    Solution
    """
    with threads.thread_pool():
        return _Joint(sums, heads, tol).run(max_iter, advance)


@dataclass
class _Pair:
    """One step and gradient change of every head; ``rho`` is 0 for heads that have none."""

    step: NDArray[np.floating]
    change: NDArray[np.floating]
    rho: Float


class _Joint:
    """The state of a joint solve. Everything is per unit of sample weight: mean loss + ½λ‖w‖²."""

    def __init__(self, sums: Sums, heads: HeadBatch, tol: float) -> None:
        self.sums, self.heads, self.tol = sums, heads, tol
        self.columns = heads.columns(sums.widths)
        n, d = self.columns.shape
        weight_of = sums.start(heads)[heads.task]
        self.total = weight_of.sum(axis=1)
        self.penalty = 1.0 / (heads.C * self.total)
        self.ridge = np.concatenate([self.penalty[:, None] * heads.ridge(d), np.zeros((n, 1))], 1)
        self.mask = np.concatenate([self.columns, np.full((n, 1), heads.intercept)], axis=1)
        gram, rows = sums.gram()
        # With many more rows than columns a pass over the data costs more than the Hessian of a
        # sample of rows: it is taken early. A number read from memory costs as much as
        # ``READ_COST`` products; a Hessian of r rows r d² / 2 products; it saves about 12
        # iterations of two passes each.
        kinds = {(c.tobytes(), C) for c, C in zip(self.columns, heads.C, strict=True)}
        hessians = len(kinds) * EARLY_ROWS * d**3 / 2
        saved = 24 * self.total.max() * d * max(READ_COST, n)
        self.early = sums.dtype == np.float32 and rows < self.total.max() and hessians < saved
        self.inverse = Preconditioner(
            gram / max(rows, 1), heads, self.penalty, self.columns, sums.dtype
        )
        self.x = np.zeros((n, d + 1))
        self.pairs: list[_Pair] = []
        self.n_iter = np.zeros(n, dtype=np.int64)
        after, self.every = REFRESH_TALL if self.early else REFRESH
        self.age = np.full(n, self.every - after)  # of a head's own Hessian
        self.n_hessians = np.zeros(n, dtype=np.int64)
        self.converged = np.zeros(n, dtype=bool)
        self.value, self.gradient = np.zeros(n), np.zeros((n, d + 1))
        self.bend = np.full(n, 0.25)
        # Start at w = 0 with the intercept of the class shares.
        everyone = np.arange(len(self.heads))
        share = (weight_of[:, 1] + 0.5) / (self.total + 1.0)
        self.x[:, -1] = np.log(share / (1 - share)) if self.heads.intercept else 0.0
        self.sums.move(everyone, self.x)
        self._accept(everyone, np.ones(len(everyone)))

    def run(self, max_iter: int, advance: Advance) -> Solution:
        """Iterate until every head is done or stuck."""
        active = np.flatnonzero(self._open(np.arange(len(self.heads))))
        n_open = len(self.heads)
        for iteration in range(max_iter):
            if not len(active):
                break
            gap = self._gap(active, self.gradient[active, :-1]) / self.value[active]
            advance(n_open - len(active), f"iteration {iteration}, proven gap {gap.max():.1e}")
            n_open = len(active)
            # Heads that are slow, or stuck, their own Hessian and an empty memory.
            for like in self._alike(active[self.age[active] >= self.every]):
                head = int(like[0])
                seen = self.columns[head][np.repeat(self.heads.uses[head], self.sums.widths)]
                # A head that asks again gets four times as many rows.
                rows = (EARLY_ROWS if self.early else GRAM_ROWS_PER_COLUMN) * (
                    4 ** int(self.n_hessians[head])
                )
                hessian = self.sums.hessian(head, rows)[np.ix_(seen, seen)]
                self.n_hessians[like] += 1
                self.inverse.replace(like, hessian / self.total[head])
                self.age[like] = 0
                for pair in self.pairs:
                    pair.rho[like] = 0.0
            direction, slope = self._direction(active)
            done = 0.5 * np.abs(slope) <= MARGIN * self.tol * self.value[active]
            self.converged[active[done]] = True
            active, direction, slope = active[~done], direction[~done], slope[~done]
            if len(active):
                active = self._advance(active, direction, slope)
        advance(n_open, "certify")
        return self._finish()

    def _alike(self, due: Index) -> list[Index]:
        """Group the heads that take one Hessian; each stands alone where that could be wrong.

        Heads of one set of columns, one C and nearly one sum of weights and value are mostly the
        folds of one training set. If they are not, L-BFGS makes up for some of the difference,
        and a head that asks again gets its own.
        """
        groups: dict[Any, list[int]] = {}
        for head in due:
            alone = not self.early or self.n_hessians[head] > 0
            alike = (
                self.columns[head].tobytes(),
                self.heads.C[head],
                round(2 * np.log2(self.total[head])),
                round(4 * np.log2(self.value[head])),
            )
            groups.setdefault(head if alone else alike, []).append(int(head))
        return [np.array(group) for group in groups.values()]

    def _accept(self, active: Index, steps: Float) -> None:
        """Go the steps in the logits and set value and gradient anew."""
        loss, gradient, curvature = self.sums.accept(active, steps)
        per = self.total[active]
        x, ridge = self.x[active], self.ridge[active]
        self.value[active] = loss / per + 0.5 * (ridge * x * x).sum(axis=1)
        self.gradient[active] = np.where(self.mask[active], gradient / per[:, None] + ridge * x, 0)
        self.bend[active] = curvature / per

    def _advance(self, active: Index, direction: Float, slope: Float) -> Index:
        """Search along the directions, step, remember the pair; return the heads that go on."""
        self.sums.move(active, direction)
        steps = self._search(active, direction, slope)
        before = self.gradient[active]
        self.x[active] += steps[:, None] * direction
        self._accept(active, steps)
        step = steps[:, None] * direction
        y = self.gradient[active] - before
        product = _dot(step, y)
        size = np.sqrt(_dot(step, step) * _dot(y, y))
        rho = np.zeros(len(self.heads))
        good = product > 1e-10 * size
        rho[active[good]] = 1.0 / product[good]
        shape, dtype = self.x.shape, self.sums.dtype
        pair = _Pair(np.zeros(shape, dtype), np.zeros(shape, dtype), rho)
        pair.step[active], pair.change[active] = step, y
        self.pairs = [*self.pairs[-MEMORY + 1 :], pair]
        self.n_iter[active] += 1
        self.age[active] += 1
        stuck = steps == 0
        gave_up = stuck & (
            self.age[active] == 1
        )  # its own Hessian did not help: precision ends here
        self.age[active[stuck]] = INVALID_AGE
        going: Index = active[self._open(active) & ~gave_up]
        return going

    def _direction(self, active: Index) -> tuple[Float, Float]:
        """Return minus the gradient times the inverse Hessian as L-BFGS knows it, and its slope."""
        gradient = self.gradient[active]
        q, kept = gradient.copy(), []
        for pair in reversed(self.pairs):
            share = pair.rho[active] * _dot(pair.step[active], q)
            q -= share[:, None] * pair.change[active]
            kept.append(share)
        r = self._precondition(active, q)
        for pair, share in zip(self.pairs, reversed(kept), strict=True):
            beta = pair.rho[active] * _dot(pair.change[active], r)
            r += (share - beta)[:, None] * pair.step[active]
        slope = -_dot(gradient, r)
        return -r, slope

    def _precondition(self, active: Index, vectors: Float) -> Float:
        """Apply the preconditioner, scaled so that it is right along the last step.

        The last change of the gradient goes through the factors together with the vectors:
        reading the factors is what costs.
        """
        if not self.pairs:
            return self._solve(active, vectors)
        last = self.pairs[-1]
        y = last.change[active].astype(np.float64)
        both = self._solve(np.tile(active, 2), np.concatenate([vectors, y]))
        below = _dot(y, both[len(active) :])
        good = (last.rho[active] > 0) & (below > 0)
        scale = np.ones(len(active))
        scale[good] = 1.0 / (last.rho[active][good] * below[good])
        return np.asarray(both[: len(active)] * scale[:, None])

    def _solve(self, active: Index, vectors: Float) -> Float:
        out = np.empty_like(vectors)
        out[:, :-1] = self.inverse.solve(active, vectors[:, :-1])
        out[:, -1] = vectors[:, -1] / np.maximum(self.bend[active], 1e-12)
        return out

    def _search(self, active: Index, direction: Float, slope: Float) -> Float:
        """Return steps at which the slope along each direction has nearly vanished; 0 if none
        helps.
        """
        ridge = self.ridge[active]
        linear = (ridge * self.x[active] * direction).sum(axis=1)
        square = (ridge * direction * direction).sum(axis=1)
        low, high = np.zeros(len(active)), np.full(len(active), np.inf)
        at_low, at_high = slope.copy(), np.full(len(active), np.inf)
        steps = np.ones(len(active))
        open_ = slope < 0
        steps[~open_] = 0.0
        for _ in range(MAX_TRIALS):
            todo = np.flatnonzero(open_)
            if not len(todo):
                break
            first, second = self.sums.slopes(active[todo], steps[todo]) / self.total[active[todo]]
            first += linear[todo] + steps[todo] * square[todo]
            second += square[todo]
            good = np.abs(first) <= SLOPE * np.abs(slope[todo])
            open_[todo[good]] = False
            up = first > 0
            high[todo[up]], at_high[todo[up]] = steps[todo[up]], first[up]
            low[todo[~up]], at_low[todo[~up]] = steps[todo[~up]], first[~up]
            bad = todo[~good]
            steps[bad] = _next_step(
                steps[bad],
                first[~good],
                second[~good],
                low[bad],
                high[bad],
                at_low[bad],
                at_high[bad],
            )
        steps[open_] = low[open_]
        return steps

    def _open(self, active: Index) -> NDArray[np.bool_]:
        """Say which heads are not yet done; the intercept's share of the gap is an estimate."""
        intercept = 0.5 * self.gradient[active, -1] ** 2 / np.maximum(self.bend[active], 1e-12)
        gap = self._gap(active, self.gradient[active, :-1]) + intercept
        done = gap <= self.tol * self.value[active]
        self.converged[active[done]] = True
        return np.asarray(~done)

    def _gap(self, active: Index, gradient: Float) -> Float:
        """Return the duality gap at an optimal intercept: ‖gradient in w‖² / 2λ."""
        return 0.5 * _dot(gradient, gradient / self.ridge[active, :-1])

    def _finish(self) -> Solution:
        """Make the intercept optimal at fixed weights, then certify."""
        everyone = np.arange(len(self.heads))
        gap = least = self._gap(everyone, self.gradient[:, :-1])
        if self.heads.intercept:
            gap = np.full(len(self.heads), np.inf)
            for _ in range(MAX_TRIALS):
                # What the gradient in the weights leaves open no move of the intercept closes.
                todo = np.flatnonzero(gap > np.maximum(self.tol * self.value, 2 * least))
                if not len(todo):
                    break
                before = self.x[todo, -1].copy(), self.gradient[todo].copy()
                moved = self._move_intercept(todo)
                least[todo] = self._gap(todo, self.gradient[todo, :-1])
                gap[todo] = np.minimum(gap[todo], self._bracketed_gap(todo, *before))
                if not moved:
                    break
        relative = gap / np.maximum(self.value, np.finfo(float).tiny)
        scale = self.heads.C * self.total
        norm = np.sqrt(_dot(self.gradient[:, :-1], self.gradient[:, :-1]))
        return Solution(
            weight=self.x[:, :-1],
            bias=self.x[:, -1],
            objective=self.value * scale,
            gradient_norm=norm * scale,
            gap=relative,
            n_iter=self.n_iter,
            converged=self.converged & (relative <= USEFUL_GAP),
        )

    def _move_intercept(self, heads: Index) -> bool:
        """Search along the intercept alone and step; return whether any head moved."""
        only = np.zeros((len(heads), self.x.shape[1]))
        only[:, -1] = -self.gradient[heads, -1] / np.maximum(self.bend[heads], 1e-12)
        slope = self.gradient[heads, -1] * only[:, -1]
        self.sums.move(heads, only)
        steps = self._search(heads, only, slope)
        self.x[heads] += steps[:, None] * only
        self._accept(heads, steps)
        return bool((steps > 0).any())

    def _bracketed_gap(self, heads: Index, bias: Float, gradient: Float) -> Float:
        """Return a duality gap that is a bound though the intercept is not optimal.

        The residuals r of a dual point must sum to 0. Where the sums R of the residuals at two
        intercepts b have opposite signs, the mixture (1 - θ) r_1 + θ r_2 with
        θ = R_1 / (R_1 - R_2) sums to 0, and by the concavity of the dual objective the gap is at
        most ‖(1 - θ) g_1 + θ g_2‖² / 2λ + θ |R_2| |b_2 - b_1| with the gradients g in the weights.
        A sum that is 0 to the rounding of the residuals counts as feasible, with the R² / curvature
        that a Newton step would gain twice over. Infinite where neither holds.
        """
        now = self.gradient[heads]
        old, new = gradient[:, -1], now[:, -1]
        feasible = np.abs(new) <= RESIDUAL_EPS * np.finfo(self.sums.dtype).eps
        bracketed = old * new < 0
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(bracketed, old / (old - new), 1.0)
        mixture = gradient + share[:, None] * (now - gradient)
        spread = np.where(
            bracketed,
            share * np.abs(new) * np.abs(self.x[heads, -1] - bias),
            new**2 / np.maximum(self.bend[heads], 1e-12),
        )
        gap = self._gap(heads, mixture[:, :-1]) + spread
        return np.where(feasible | bracketed, gap, np.inf)


def _next_step(
    step: Float, first: Float, second: Float, low: Float, high: Float, at_low: Float, at_high: Float
) -> Float:
    """Return Newton's next trial, kept inside the bracket and from growing more than fivefold."""
    newton = step - first / np.maximum(second, np.finfo(float).tiny)
    upper = np.where(np.isfinite(high), high, 5 * np.maximum(step, low))
    with np.errstate(invalid="ignore", over="ignore"):
        secant = low - at_low * (upper - low) / (at_high - at_low)
    middle = np.where(np.isfinite(high), 0.5 * (low + upper), upper)
    inside = (newton > low) & (newton < upper)
    between = (
        np.isfinite(secant)
        & (secant > low + 0.05 * (upper - low))
        & (secant < upper - 0.05 * (upper - low))
    )
    return np.where(inside, newton, np.where(between & np.isfinite(high), secant, middle))


def _dot(a: NDArray[np.floating], b: NDArray[np.floating]) -> Float:
    """Return the products of the rows of two matrices."""
    return np.asarray(np.einsum("ij,ij->i", a, b), dtype=np.float64)
