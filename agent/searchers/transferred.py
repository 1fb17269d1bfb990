"""An agent trained elsewhere as a searcher: it decides over a grid of exchange rates and learns nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agent.actor import Actor, load_actor
from agent.decide import decide, rate_grid
from agent.hints import HintLayout
from agent.interface import Interface
from agent.searchers.composite import RATES
from agent.searchers.frontier import predicted_frontier
from agent.searchers.protocol import Observer, Stop
from agent.searchers.resumable import Resumable
from envs.observation import Observer as Features
from envs.observation import build_observer
from envs.problem import Problem
from plan.budget import Budget
from plan.space import Choices


class TransferredSearcher(Resumable):
    """Plans a network that the agent of a file never saw, in seconds: there is nothing to go on from.

    Args:
        file: that `CompositeAgent.save` wrote.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def search(self, problem: Problem, limits: Budget, *, stop: Stop, seed: int, observer: Observer) -> Choices:
        """Returns the predicted frontier of the agent's plans at 96 exchange rates.

        Raises:
            MismatchError: the agent was trained for a hardware with other methods.
        """
        plans = decided(load_actor(self.file), build_observer(problem))
        return predicted_frontier(problem, np.concatenate((problem.space.start[None], plans)))


def decided(actor: Actor, features: Features) -> Choices:
    """Returns the plans of an agent at 96 exchange rates, int16 (96, L, 4).

    Raises:
        MismatchError: the agent was trained for a hardware with other methods.
    """
    space = features.problem.space
    actor.interface.check_same_shapes(Interface(HintLayout.of(features), 1, space.n_layers))
    return decide(actor.decider, features, rate_grid(RATES))
