"""Plans from a trained agent without further training: greedy episodes at exchange rates that one chooses."""

from __future__ import annotations

import numpy as np

from agent.learners import Learners
from envs.episodes import Episodes, Outcome
from envs.observation import Observer
from envs.reward import HIGHEST_RATE, LOWEST_RATE
from plan.assignment import FloatArray


def rate_grid(count: int) -> FloatArray:
    """Returns exchange rates from the lowest to the highest that agents are trained on, equal steps in logarithms."""
    return np.geomspace(LOWEST_RATE, HIGHEST_RATE, count)


def play(learners: Learners, observer: Observer, rates: FloatArray, *, deterministic: bool = True) -> Outcome:
    """Returns one finished episode for every exchange rate (B,), without exploration noise on the values.

    Args:
        learners: the agent's two learners.
        observer: of the problem to be decided.
        rates: (B,) positive.
        deterministic: always the most likely method; otherwise methods are drawn from the global random state.
    """
    episodes = Episodes(observer, len(rates))
    observations = episodes.begin(rates)
    for _ in range(observer.problem.space.n_layers):
        decision = learners.decide(observations, episodes.state.mask, deterministic=deterministic)
        observations, _ = episodes.step(decision.methods, decision.values)
    outcome: Outcome | None = episodes.outcome
    if outcome is None:
        raise RuntimeError("the episodes did not end with the last layer")
    return outcome
