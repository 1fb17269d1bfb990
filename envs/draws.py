"""How the conditions of training episodes are drawn: a rate, a mix of costs, and limits about what the hints reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.conditions import MIXES, Conditions, own_mix
from envs.observation import Observer
from plan.assignment import FloatArray, IntArray

TRAINED_RATES = (0.05, 200.0)
"""Exchange rates that episodes are started at: from nearly all that can be saved to nearly none."""
TIGHTEST, LOOSEST = 0.85, 1.25
"""Limits are drawn between these shares of what following the hints would use."""
LEAST_SHARE = 0.01
LIMITED_QUANTITIES = 0.5
"""Probability that an episode with limits has one on energy, on latency, on size, on error."""


@dataclass(frozen=True)
class Draws:
    """What training episodes are played for.

    Attributes:
        rates: the lowest and the highest exchange rate, drawn log-uniformly.
        mixed: share of the episodes whose objective is any mix of energy, latency and size; the problem's own for
            the others.
        limited: share of the episodes that have limits.
    """

    rates: tuple[float, float] = TRAINED_RATES
    mixed: float = 0.2
    limited: float = 0.4

    @property
    def mixes(self) -> tuple[int, ...]:
        """Rows of `MIXES` that may be drawn besides the problem's own."""
        return tuple(range(len(MIXES))) if self.mixed > 0 else ()

    def draw(self, rng: np.random.Generator, observer: Observer, episodes: int) -> Conditions:
        """Returns conditions for so many episodes."""
        low, high = np.log(self.rates)
        rates = np.exp(rng.uniform(low, high, episodes))
        mixes = self._mixes(rng, own_mix(observer.problem), episodes)
        return Conditions(rates, mixes, self._limits(rng, observer, rates, mixes))

    def _mixes(self, rng: np.random.Generator, own: int, episodes: int) -> IntArray:
        found = np.full(episodes, own)
        if self.mixed > 0:
            other = rng.random(episodes) < self.mixed
            found = np.where(other, rng.integers(0, len(MIXES), episodes), found)
        return found

    def _limits(self, rng: np.random.Generator, observer: Observer, rates: FloatArray, mixes: IntArray) -> FloatArray:
        limits = np.full((len(rates), 4), np.inf)
        if self.limited > 0:
            rows = observer.hints.rows(rates, mixes)
            hinted = observer.problem.table.start + observer.hints.to_come[rows, 0]
            share = np.exp(rng.uniform(np.log(TIGHTEST), np.log(LOOSEST), limits.shape))
            some = rng.random(limits.shape) < LIMITED_QUANTITIES
            some &= (rng.random(len(rates)) < self.limited)[:, None]
            limits[some] = np.maximum(hinted * share, least_limits(observer, rows))[some]
        return limits


def least_limits(observer: Observer, rows: IntArray) -> FloatArray:
    """Returns the least limits that are drawn in rows of the hints, (B, 4): 1 % of the baseline and the error scale."""
    costs = np.repeat(observer.problem.baseline.costs(), len(rows), axis=0)
    return LEAST_SHARE * np.column_stack((costs, observer.hints.error_scales[rows]))
