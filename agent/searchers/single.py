"""One learner for the whole decision: the ablations of the composite agent.

`ppo` is the composite agent with DDPG held still: PPO learns the method, density and bits stay at the hinted values of
the method chosen. `ddpg`, `td3` and `sac` are stable-baselines3's, on `agent.continuous_env`: one continuous action
that orders methods by hint and moves values away from their hints. All see the same observations, hints and rewards,
play as many decisions, and take as many gradient steps as the composite agent's DDPG.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.sac.policies import Actor as StochasticActor
from torch import nn

from agent.callbacks import Deadline, Reports
from agent.continuous_env import ACTION_SIZE, ContinuousVecEnv, decoded
from agent.decide import rate_grid
from agent.elite import Elite
from agent.hyperparameters import Hyperparameters
from agent.random_stream import RandomStream
from agent.sb3_vec import CompressionVecEnv
from agent.searchers.composite import ENVS, RATES
from agent.searchers.frontier import predicted_frontier
from agent.searchers.protocol import Observer, Stop
from agent.searchers.resumable import CANDIDATES, Resumable
from compress.threads import single_thread
from envs.episodes import Episodes
from envs.problem import Problem
from plan.assignment import FloatArray
from plan.budget import Budget
from plan.space import Choices

ALGORITHMS: dict[str, type[OffPolicyAlgorithm]] = {"ddpg": DDPG, "td3": TD3, "sac": SAC}


def ppo_alone(hyper: Hyperparameters) -> Hyperparameters:
    """Returns the settings of PPO alone: DDPG holds the hinted values."""
    return replace(hyper, freeze_ddpg=True)


class Plans(BaseCallback):
    """Keeps the best plans met, as the composite agent does."""

    def __init__(self, env: CompressionVecEnv) -> None:
        super().__init__()
        self.env = env
        self.elite = Elite(env.layers)

    def _on_step(self) -> bool:
        if self.locals["dones"].any() and self.env.outcome is not None:
            outcome, problem = self.env.outcome, self.env.core.problem
            self.elite.add(outcome.choices, problem.objective_value(outcome.metrics), outcome.metrics.error)
        return True


class SingleSearcher(Resumable):
    """Trains one continuous learner and lets it decide over a grid of exchange rates.

    Interrupted on the way, it begins again and learns the same.

    Args:
        algorithm: ddpg, td3 or sac.
        hyper: of which the replay, the rates of learning and the noise apply; the defaults when None.
    """

    def __init__(self, algorithm: str, hyper: Hyperparameters | None = None) -> None:
        super().__init__()
        self.algorithm = algorithm
        self.hyper = hyper or Hyperparameters()

    def search(self, problem: Problem, limits: Budget, *, stop: Stop, seed: int, observer: Observer) -> Choices:
        """Returns the predicted frontier of the learner's plans and of those it met in training."""
        begun = self.begin()
        if CANDIDATES in begun:
            return begun[CANDIDATES]
        core = CompressionVecEnv(problem, ENVS, seed)
        env, plans = ContinuousVecEnv(core, self.hyper), Plans(core)
        env.seed(seed)
        callbacks: list[BaseCallback] = [Reports(observer, stop.steps), plans]
        if stop.deadline is not None:
            callbacks.append(Deadline(stop.deadline))
        with RandomStream(seed), single_thread():
            model = self._model(env, seed)
            model.set_logger(Logger(folder=None, output_formats=[]))
            model.learn(stop.steps, CallbackList(callbacks))
            decided = _decide(model, env, rate_grid(RATES))
        found = predicted_frontier(problem, np.concatenate((problem.space.start[None], decided, plans.elite.choices)))
        return found if stop.deadline is not None else self.finished(found)

    def _model(self, env: ContinuousVecEnv, seed: int) -> OffPolicyAlgorithm:
        hyper = self.hyper
        noise = NormalActionNoise(np.zeros(ACTION_SIZE), np.array([hyper.bits_noise, *self._deviations()]))
        exploring = None if self.algorithm == "sac" else VectorizedActionNoise(noise, env.num_envs)
        model = ALGORITHMS[self.algorithm](
            "MlpPolicy",
            env,
            learning_rate=hyper.values_learning_rate,
            buffer_size=hyper.replay_decisions,
            learning_starts=hyper.rollout_decisions,
            batch_size=hyper.batch,
            tau=hyper.tau,
            gamma=hyper.values_gamma,
            train_freq=(1, "step"),
            gradient_steps=max(env.num_envs // hyper.decisions_per_update, 1),
            action_noise=exploring,
            policy_kwargs={"net_arch": [hyper.hidden, hyper.hidden]},
            device="cpu",
            seed=seed,
        )
        if hyper.warm_start:
            _start_at_zero(model)
        return model

    def _deviations(self) -> tuple[float, float, float]:
        return self.hyper.density_noise, self.hyper.bits_noise, self.hyper.bits_noise


def _start_at_zero(model: OffPolicyAlgorithm) -> None:
    """Zeroes the actor's last layer (and its target's), so that the first actions follow the hints."""
    for actor in (getattr(model, "actor", None), getattr(model, "actor_target", None)):
        if actor is None:
            continue
        head = actor.mu if isinstance(actor, StochasticActor) else _last_linear(actor.mu)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.zero_()


def _last_linear(layers: Any) -> nn.Module:
    return next(module for module in reversed(layers) if isinstance(module, nn.Linear))


def _decide(model: OffPolicyAlgorithm, env: ContinuousVecEnv, rates: FloatArray) -> Choices:
    """Returns the plans of one episode without exploration at every rate, int16 (B, L, 4)."""
    episodes = Episodes(env.venv.core.observer, len(rates))
    observations: NDArray[np.float32] = episodes.begin(rates)
    for _ in range(env.venv.layers):
        actions, _ = model.predict(observations, deterministic=True)
        methods, values = decoded(env.layout, observations, actions)
        observations, _ = episodes.step(methods, values)
    outcome = episodes.outcome
    if outcome is None:
        raise RuntimeError("the episodes did not end with the last layer")
    return outcome.choices
