"""Plans from a trained agent without further training: greedy episodes at exchange rates that one chooses."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.limits import Bounds
from envs.episodes import Episodes, Outcome
from envs.observation import Observer
from envs.reward import HIGHEST_RATE, LOWEST_RATE, potential
from plan.assignment import FloatArray, IntArray
from plan.space import Choices

PASSES, RATES_PER_PASS = 3, 33
SMALLEST_LIMIT = 1e-12


class Decided(Protocol):
    """Methods int64 (B,), legal, and values float32 (B, 3) in [0, 1]."""

    @property
    def methods(self) -> NDArray[np.int64]:
        """The methods."""

    @property
    def values(self) -> NDArray[np.float32]:
        """The values."""


class Decider(Protocol):
    """An agent's two learners, or what is left of them where nothing is trained."""

    def decide(self, observations: NDArray[np.float32], masks: NDArray[np.bool_], *, deterministic: bool) -> Decided:
        """Returns a legal method and values for observations (B, F) and masks (B, M)."""


def rate_grid(count: int) -> FloatArray:
    """Returns exchange rates from the lowest to the highest that agents are trained on, equal steps in logarithms."""
    return np.geomspace(LOWEST_RATE, HIGHEST_RATE, count)


def decide(
    decider: Decider, observer: Observer, rates: FloatArray, *, draws: int = 0, bounds: Bounds | None = None
) -> Choices:
    """Returns for every exchange rate (B,) the best plan of a greedy episode and of some drawn ones, (B, L, 4).

    With bounds, the agent is shown them as the limits of every episode.
    """
    limits = None if bounds is None else shown(bounds, len(rates))
    best = play(decider, observer, rates, limits=limits)
    choices, value = best.choices, worth(observer, best)
    for _ in range(draws):
        drawn = play(decider, observer, rates, deterministic=False, limits=limits)
        other = worth(observer, drawn)
        choices = np.where((other < value)[:, None, None], drawn.choices, choices)
        value = np.minimum(value, other)
    return choices


def decide_within(decider: Decider, observer: Observer, bounds: Bounds) -> Choices:
    """Returns the cheapest greedy plan within bounds, int16 (L, 4), or the one that breaks them least.

    The exchange rate is found on a grid, then on a finer one about the best of its plans; at every rate the agent plays
    once with the bounds before it and once without.
    """
    limits = np.concatenate((shown(bounds, RATES_PER_PASS), np.full((RATES_PER_PASS, 4), np.inf)))
    low, high = LOWEST_RATE, HIGHEST_RATE
    found: list[tuple[float, float, Choices]] = []
    for _ in range(PASSES):
        rates = np.geomspace(low, high, RATES_PER_PASS)
        outcome = play(decider, observer, np.tile(rates, 2), limits=limits)
        excess = bounds.excess(outcome.metrics)
        objective = observer.problem.objective_value(outcome.metrics)
        best = int(np.lexsort((objective, excess))[0])
        found.append((float(excess[best]), float(objective[best]), outcome.choices[best]))
        at = best % RATES_PER_PASS
        low, high = rates[max(at - 1, 0)], rates[min(at + 1, RATES_PER_PASS - 1)]
    return min(found, key=lambda entry: entry[:2])[2]


def shown(bounds: Bounds, episodes: int) -> FloatArray:
    """Returns bounds as the limits of so many episodes, (episodes, 4): energy_uj, latency_ms, size_kb, error."""
    return np.tile(np.maximum(np.roll(bounds.upper, -1), SMALLEST_LIMIT), (episodes, 1))


def worth(observer: Observer, outcome: Outcome) -> FloatArray:
    """Returns what finished episodes were to minimise, (B,): objective + rate * scaled error + price of the excess."""
    metrics, conditions, hints = outcome.metrics, outcome.conditions, observer.hints
    rows = hints.rows(conditions.rates, conditions.mixes)
    totals = np.column_stack((metrics.costs(), metrics.error))
    return potential(
        observer.problem, totals, conditions, error_scales=hints.error_scales[rows], gains=hints.gains[rows]
    )


def play(
    decider: Decider,
    observer: Observer,
    rates: FloatArray,
    *,
    deterministic: bool = True,
    mixes: IntArray | None = None,
    limits: FloatArray | None = None,
) -> Outcome:
    """Returns one finished episode for every exchange rate (B,), without exploration noise on the values.

    Args:
        decider: the agent.
        observer: of the problem to be decided.
        rates: (B,) positive.
        deterministic: always the most likely method; otherwise methods are drawn from the global random state.
        mixes: (B,) rows of `MIXES` that the observer was built for, the problem's own objective when None.
        limits: (B, 4) on energy_uj, latency_ms, size_kb and error, none when None.
    """
    episodes = Episodes(observer, len(rates))
    observations = episodes.begin(rates, mixes, limits)
    for _ in range(observer.problem.space.n_layers):
        decision = decider.decide(observations, episodes.state.mask, deterministic=deterministic)
        observations, _ = episodes.step(decision.methods, decision.values)
    outcome: Outcome | None = episodes.outcome
    if outcome is None:
        raise RuntimeError("the episodes did not end with the last layer")
    return outcome
