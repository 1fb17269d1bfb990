"""One agent of two learners: PPO decides how a layer is pruned, DDPG how much and at how many bits.

Both see one observation and one reward. In every step PPO draws a masked method, DDPG reads the observation with that
method behind it and gives three numbers, and the one env takes one step; the transition enters PPO's rollout buffer and
DDPG's replay buffer, and after whole episodes both learn, PPO first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import MaybeCallback

from agent.agent_file import AgentFile, read_agent_file, write_agent_file
from agent.conditioned_ddpg import ConditionedDDPG
from agent.decide import decide, decide_within, play
from agent.elite import Elite
from agent.hyperparameters import Hyperparameters
from agent.interface import Interface
from agent.learner_state import replay_of, restore_networks, restore_replay, restore_tensors, tensors_of
from agent.learners import make_learners
from agent.limits import Bounds
from agent.measured_phase import adapt
from agent.policies import MethodPolicy
from agent.random_stream import RandomStream
from agent.rollout import Summary, collect
from agent.sb3_vec import CompressionVecEnv
from agent.scoped_logger import ScopedLogger
from agent.unchecked import unchecked_distributions
from compress.threads import single_thread
from envs.accuracy.archive import Archive
from envs.episodes import Outcome
from envs.observation import Observer
from plan.assignment import FloatArray as FloatArray64
from plan.budget import Budget
from plan.errors import FileFormatError
from plan.space import Choices

FloatArray = NDArray[np.float32]
REHEARSED, ROLLOUTS_PER_REHEARSAL = 64, 2
"""Greedy episodes after every second rollout, for the best plans met; the first of them follow the hints."""
GOLDEN = 0.6180339887


class CompositeAgent(BaseAlgorithm):
    """MaskablePPO and DDPG behind the interface of one stable-baselines3 algorithm.

    Training advances in rollouts of whole episodes. Between them (in a callback's `on_rollout_start`, or after `learn`)
    `save` keeps all that a resumed run needs to continue exactly as an undisturbed one.

    Attributes:
        hyper: settings of both learners.
        interface: shapes that the agent was made for.
        learners: PPO and DDPG.
        figures: what was logged last.
        elite: the best plans met in training, on the problem trained on.
    """

    env: CompressionVecEnv | None

    def __init__(
        self,
        env: CompressionVecEnv | None,
        *,
        seed: int = 0,
        hyper: Hyperparameters | None = None,
        interface: Interface | None = None,
        tensorboard_log: str | None = None,
    ) -> None:
        self.hyper = hyper or Hyperparameters()
        super().__init__(
            policy=MethodPolicy,
            env=env,
            learning_rate=self.hyper.learning_rate,
            tensorboard_log=tensorboard_log,
            device="cpu",
            support_multi_env=True,
            seed=seed,
            supported_action_spaces=(spaces.Dict,),
        )
        found = interface if env is None else Interface.of(env)
        if found is None:
            raise TypeError("CompositeAgent needs an env or an interface")
        self.interface = found
        self.figures: dict[str, float] = {}
        self.elite = Elite(self.interface.layers)
        self._stream = RandomStream(seed)
        self._setup_model()

    def _setup_model(self) -> None:
        self.observation_space = self.interface.observation_space
        self.action_space = self.interface.action_space
        self.n_envs = self.interface.num_envs
        self._setup_lr_schedule()
        with self._stream:
            self.learners = make_learners(self.interface, self.hyper)
        self.policy = self.learners.ppo.policy
        if self.env is not None:
            self.env.seed(self.seed)

    @property
    def ppo(self) -> MaskablePPO:
        """Owner of the method head."""
        return self.learners.ppo

    @property
    def ddpg(self) -> ConditionedDDPG:
        """Owner of density and bits."""
        return self.learners.ddpg

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "composite",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> CompositeAgent:
        """Trains for at least that many layer decisions, in whole rollouts, and returns the agent.

        A callback that returns False ends training; the unfinished rollout is undone.
        """
        env = self._require_env()
        if self.tensorboard_log is None and not self._custom_logger:
            self.set_logger(Logger(folder=None, output_formats=[]))
        total, callbacks = self._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        self.ppo.set_logger(ScopedLogger(self.logger, "ppo"))
        self.ddpg.set_logger(ScopedLogger(self.logger, "ddpg"))
        callbacks.on_training_start(locals(), globals())
        with self._stream, unchecked_distributions(), single_thread():
            iteration = 0
            while self.num_timesteps < total:
                summary = self._rollout(env, callbacks)
                if summary is None:
                    break
                iteration += 1
                self._remember(env, list(summary.outcomes))
                if self._rollouts(summary) % ROLLOUTS_PER_REHEARSAL == 1:
                    self._remember(env, [self._rehearse(env)])
                self._train(summary)
                if log_interval and iteration % log_interval == 0:
                    self._log(summary)
        callbacks.on_training_end()
        return self

    def _rollout(self, env: CompressionVecEnv, callback: BaseCallback) -> Summary | None:
        """Collects for both learners; if the callback stops it, all is as before."""
        callback.on_rollout_start()
        before = self.num_timesteps, self._stream.arrays(), env.random_state()
        summary = collect(env, self.learners, self.hyper, callback)
        if summary is None:
            self.num_timesteps = before[0]
            self._stream.restore(before[1])
            env.set_random_state(before[2])
            return None
        callback.on_rollout_end()
        return summary

    def _rollouts(self, summary: Summary) -> int:
        """Returns how many rollouts there have been, those before a checkpoint included."""
        return self.num_timesteps // summary.decisions

    def _rehearse(self, env: CompressionVecEnv) -> Outcome:
        """Returns greedy episodes of the policy as it stands, at rates between those of other rehearsals."""
        shift = (self.num_timesteps // env.num_envs * GOLDEN) % 1.0
        low, high = np.log(env.draws.rates)
        rates = np.exp(low + (high - low) * (np.arange(REHEARSED) + shift) / REHEARSED)
        return play(self.learners, env.core.observer, rates)

    def _remember(self, env: CompressionVecEnv, outcomes: list[Outcome]) -> None:
        """Adds the plans of finished episodes to the best ones met."""
        for outcome in outcomes:
            objective = env.core.problem.objective_value(outcome.metrics)
            self.elite.add(outcome.choices, objective, outcome.metrics.error)

    def _train(self, summary: Summary) -> None:
        """Lets PPO and then DDPG learn, unless frozen."""
        if not self.hyper.freeze_ppo:
            self.ppo.train()
        if not self.hyper.freeze_ddpg:
            steps = max(summary.decisions // self.hyper.decisions_per_update, 1)
            self.ddpg.train(gradient_steps=steps, batch_size=self.hyper.batch)

    def _log(self, summary: Summary) -> None:
        self.logger.record("rollout/ep_rew_mean", summary.episode_reward)
        self.logger.record("rollout/ep_len_mean", self.interface.layers)
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.figures = {name: float(value) for name, value in self.logger.name_to_value.items()}
        self.logger.dump(step=self.num_timesteps)

    def _require_env(self) -> CompressionVecEnv:
        if self.env is None:
            raise ValueError("the agent has no env; give one with set_env or load(path, env)")
        return self.env

    def predict(  # type: ignore[override]
        self,
        observation: FloatArray,
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        action_masks: NDArray[np.bool_] | None = None,
    ) -> tuple[dict[str, NDArray[Any]], tuple[NDArray[Any], ...] | None]:
        """Returns the action for one observation (F,) or a batch (B, F), and the state as given.

        Masks default to the flags of legal methods that the observation holds. Values carry no exploration noise.
        """
        batch = np.atleast_2d(observation)
        masks = action_masks if action_masks is not None else self._masks(batch)
        with self._stream:
            decision = self.learners.decide(batch, np.atleast_2d(masks), deterministic=deterministic)
        if observation.ndim == 1:
            return {"method": decision.methods[0], "values": decision.values[0]}, state
        return {"method": decision.methods, "values": decision.values}, state

    def decide(
        self, observer: Observer, rates: FloatArray64, *, draws: int = 0, limits: Budget | None = None
    ) -> Choices:
        """Returns the plan that the agent makes at every exchange rate, int16 (B, L, 4): a frontier in one batch.

        Args:
            observer: of the problem to be decided, which may be another than the one trained on.
            rates: (B,) exchange rates of error against objective, positive.
            draws: episodes per rate with drawn methods, besides the greedy one; the best of them is returned.
            limits: shown to the agent as those of every episode, none when None.
        """
        bounds = None if limits is None else Bounds.of(observer.problem, limits)
        with self._stream, single_thread():
            return decide(self.learners, observer, rates, draws=draws, bounds=bounds)

    def decide_within(self, observer: Observer, limits: Budget) -> Choices:
        """Returns the cheapest plan that the agent makes within limits, int16 (L, 4), in a few batches of episodes.

        Where no exchange rate keeps the limits as predicted, the plan that breaks them least.
        """
        with single_thread():
            return decide_within(self.learners, observer, Bounds.of(observer.problem, limits))

    def adapt(self, observer: Observer, archive: Archive, limits: Budget, *, plans: int, images: int) -> int:
        """Learns from a few plans about the limits that are measured now; returns how many (`agent.measured_phase`).

        Args:
            observer: of the problem trained on.
            archive: measures and counts.
            limits: about which plans are played.
            plans: how many.
            images: to measure on.
        """
        self.ppo.set_logger(self._quiet())
        self.ddpg.set_logger(self._quiet())
        with self._stream, unchecked_distributions():
            return adapt(self.learners, observer, archive, limits, hyper=self.hyper, plans=plans, images=images)

    def _quiet(self) -> Logger:
        return Logger(folder=None, output_formats=[])

    def _masks(self, observations: FloatArray) -> NDArray[np.bool_]:
        return self.interface.layout.mask_of(torch.as_tensor(observations)).numpy()

    def save(self, path: str | Path) -> None:  # type: ignore[override]
        """Writes the agent to a zip of JSON, safetensors and npz, atomically. Nothing in it is pickled."""
        header = {
            "interface": self.interface.to_json(),
            "hyperparameters": self.hyper.to_json(),
            "seed": self.seed,
            "num_timesteps": self.num_timesteps,
            "updates": {"ppo": self.ppo._n_updates, "ddpg": self.ddpg._n_updates},
            "env_random": None if self.env is None else self.env.random_state(),
        }
        arrays = {f"random_{name}": value for name, value in self._stream.arrays().items()}
        arrays |= {"elite_choices": self.elite.choices, "elite_scores": self.elite.scores}
        content = AgentFile(header, tensors_of(self.learners), {**arrays, **replay_of(self.learners)})
        write_agent_file(Path(path), content)

    @classmethod
    def load(  # type: ignore[override]
        cls, path: str | Path, env: CompressionVecEnv | None = None, tensorboard_log: str | None = None
    ) -> CompositeAgent:
        """Returns the agent that `save` wrote; with an env of the same shapes, it continues training exactly.

        With an env of another network on the same hardware it goes on learning there: networks, optimisers and replays
        are carried over, the best plans met are not.

        Raises:
            MissingFileError: no such file.
            FileFormatError: not a file that `save` wrote.
            MismatchError: the env has other observations or methods.
        """
        content = read_agent_file(Path(path))
        try:
            interface = Interface.from_json(content.header["interface"])
            hyper = Hyperparameters(**content.header["hyperparameters"])
            seed = content.header["seed"]
        except (KeyError, TypeError) as error:
            raise FileFormatError(str(path), [f"agent.json: {error}"]) from error
        if env is not None:
            own = Interface.of(env)
            interface.check_same_shapes(own)
            interface = own
        agent = cls(env, seed=seed, hyper=hyper, interface=interface, tensorboard_log=tensorboard_log)
        agent._restore(content, str(path))
        return agent

    def take_networks(self, path: str | Path) -> None:
        """Begins with the networks of the agent in a file, of this problem or another; optimisers and replays are new.

        Raises:
            MissingFileError: no such file.
            FileFormatError: not a file that `save` wrote, or networks of another width.
            MismatchError: made for other observations or methods.
        """
        content = read_agent_file(Path(path), replay=False)
        try:
            found = Interface.from_json(content.header["interface"])
        except (KeyError, TypeError) as error:
            raise FileFormatError(str(path), [f"agent.json: {error}"]) from error
        found.check_same_shapes(self.interface)
        try:
            restore_networks(self.learners, content.tensors)
        except RuntimeError as error:
            raise FileFormatError(str(path), [str(error)]) from error

    def _restore(self, content: AgentFile, path: str) -> None:
        header = content.header
        try:
            restore_tensors(self.learners, content.tensors)
            restore_replay(self.learners, content.arrays)
            names = [name for name in content.arrays if name.startswith("random_")]
            self._stream.restore({name.removeprefix("random_"): content.arrays[name] for name in names})
            if header["interface"]["layers"] == self.interface.layers:
                self.elite.choices, self.elite.scores = content.arrays["elite_choices"], content.arrays["elite_scores"]
            self.num_timesteps = header["num_timesteps"]
            self.ppo._n_updates, self.ddpg._n_updates = header["updates"]["ppo"], header["updates"]["ddpg"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise FileFormatError(path, [str(error)]) from error
        if self.env is not None and header["env_random"] is not None:
            self.env.set_random_state(header["env_random"])
            self._last_obs = np.zeros((self.n_envs, self.interface.layout.features), dtype=np.float32)
