"""The composite agent as a searcher: trains on the proxy at all exchange rates, then decides over a grid of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from agent.callbacks import Checkpoints, Deadline, Reports
from agent.composite import CompositeAgent
from agent.decide import rate_grid
from agent.hyperparameters import Hyperparameters
from agent.measured_phase import rates_about
from agent.measuring import Measuring
from agent.sb3_vec import CompressionVecEnv
from agent.searchers.frontier import predicted_frontier
from agent.searchers.protocol import Observer, Stop
from agent.searchers.resumable import State
from envs.accuracy.archive import Archive
from envs.draws import Draws
from envs.problem import Problem
from plan.atomic import write_atomically
from plan.budget import Budget
from plan.space import Choices

ENVS = 128
CHECKPOINTS = 10
"""Times that the agent is saved during its training."""
AGENT_FILE, ADAPTED_FILE = "agent.zip", "adapted.zip"
AGENT = "agent"
"""Name of the array that holds the agent's file."""
FEWEST_MEASURED = 2
RATES, DRAWS = 96, 8
"""Exchange rates of the final decisions, and episodes per rate with drawn methods besides the greedy one."""


@dataclass(frozen=True)
class CompositeSearcher:
    """Trains a `CompositeAgent` and lets it decide.

    Attributes:
        hyper: of the agent.
        folder: where `agent.zip` is kept up to date, and from where an interrupted training continues; None keeps
            nothing.
        tensorboard: where TensorBoard's events go, None for nowhere.
        conditioned: trains at exchange rates of all sizes, for several mixes of costs, with limits and without;
            unconditioned, for the objective alone at the one rate about the limit, where it decides too.
        start: file of an agent whose networks a new one begins with, None for a new one's own.
    """

    hyper: Hyperparameters = field(default_factory=Hyperparameters)
    folder: Path | None = None
    tensorboard: Path | None = None
    conditioned: bool = True
    start: Path | None = None

    def state(self) -> State:
        """Returns the agent of the folder as bytes, nothing where there is no folder or no agent yet."""
        if self.folder is None or not (self.folder / AGENT_FILE).is_file():
            return {}
        return {AGENT: np.frombuffer((self.folder / AGENT_FILE).read_bytes(), dtype=np.uint8)}

    def restore(self, state: State) -> None:
        """Puts the agent of a state into the folder, from where the next search goes on."""
        if self.folder is not None and AGENT in state:
            write_atomically(self.folder / AGENT_FILE, state[AGENT].tobytes())

    def search(self, problem: Problem, limits: Budget, *, stop: Stop, seed: int, observer: Observer) -> Choices:
        """Returns the predicted frontier of the trained agent's plans over all exchange rates."""
        env = self._env(problem, limits, seed)
        agent = self._agent(env, seed)
        remaining = stop.steps - agent.num_timesteps
        if remaining > 0:
            callbacks = self._callbacks(stop, observer)
            agent.learn(remaining, CallbackList(callbacks), reset_num_timesteps=agent.num_timesteps == 0)
        plans = self._decided(agent, env, limits)
        return predicted_frontier(problem, np.concatenate((problem.space.start[None], plans, agent.elite.choices)))

    def adapt(
        self,
        problem: Problem,
        archive: Archive,
        candidates: Choices,
        limits: Budget,
        *,
        measuring: Measuring,
        plans: int,
        seed: int,
    ) -> Choices:
        """Returns candidates joined by those of the agent after its measured phase, which is kept in `adapted.zip`.

        The trained agent stays as it is in `agent.zip`, so that an interrupted run begins the phase again. Without a
        folder, or time, nothing changes.
        """
        if self.folder is None or plans < FEWEST_MEASURED or measuring.over(archive):
            return candidates
        env = self._env(problem, limits, seed)
        agent = CompositeAgent.load(self.folder / AGENT_FILE, env)
        agent.adapt(env.core.observer, archive, limits, plans=plans, images=measuring.images)
        agent.save(self.folder / ADAPTED_FILE)
        return predicted_frontier(problem, np.concatenate((candidates, self._decided(agent, env, limits))))

    def _decided(self, agent: CompositeAgent, env: CompressionVecEnv, limits: Budget) -> Choices:
        """Returns the agent's plans at all rates, and those that it makes when it is shown the limits."""
        observer = env.core.observer
        if not self.conditioned:
            return agent.decide(observer, np.array([env.draws.rates[0]]), draws=DRAWS)
        free = agent.decide(observer, rate_grid(RATES), draws=DRAWS)
        return np.concatenate((free, agent.decide(observer, rate_grid(RATES), limits=limits)))

    def _env(self, problem: Problem, limits: Budget, seed: int) -> CompressionVecEnv:
        if self.conditioned:
            return CompressionVecEnv(problem, ENVS, seed)
        env = CompressionVecEnv(problem, ENVS, seed, draws=Draws(mixed=0.0, limited=0.0))
        hinted = CompositeAgent(env, seed=seed, hyper=self.hyper).learners
        rate = float(rates_about(hinted, env.core.observer, limits, 3)[1])
        env.draws = replace(env.draws, rates=(rate, rate))
        return env

    def _agent(self, env: CompressionVecEnv, seed: int) -> CompositeAgent:
        """Returns the agent that an interrupted training left, else a new one."""
        log = None if self.tensorboard is None else str(self.tensorboard)
        if self.folder is not None and (self.folder / AGENT_FILE).is_file():
            return CompositeAgent.load(self.folder / AGENT_FILE, env, tensorboard_log=log)
        agent = CompositeAgent(env, seed=seed, hyper=self.hyper, tensorboard_log=log)
        if self.start is not None:
            agent.take_networks(self.start)
        return agent

    def _callbacks(self, stop: Stop, observer: Observer) -> list[BaseCallback]:
        callbacks: list[BaseCallback] = [Reports(observer, stop.steps)]
        if self.folder is not None:
            callbacks.append(Checkpoints(self.folder / AGENT_FILE, max(stop.steps // CHECKPOINTS, 1)))
        if stop.deadline is not None:
            callbacks.append(Deadline(stop.deadline))
        return callbacks
