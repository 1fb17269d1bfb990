"""One rollout for both learners: whole lockstep episodes, stored for PPO and, once complete, for DDPG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from agent.hyperparameters import Hyperparameters
from agent.learners import Learners, Noise
from agent.sb3_vec import CompressionVecEnv
from envs.episodes import Outcome

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Summary:
    """What a rollout brought: the mean reward of an episode as the env gave it, the decisions made, the plans."""

    episode_reward: float
    decisions: int
    outcomes: tuple[Outcome, ...]


def collect(
    env: CompressionVecEnv, learners: Learners, hyper: Hyperparameters, callback: BaseCallback
) -> Summary | None:
    """Plays a rollout from fresh episodes, fills both buffers and returns a summary.

    Returns None when the callback asks to stop; DDPG's buffer is then untouched.
    """
    buffer = learners.ppo.rollout_buffer
    buffer.reset()
    rollout = _Rollout(env, learners, hyper)
    for _ in range(buffer.buffer_size):
        told = rollout.step()
        callback.model.num_timesteps += env.num_envs
        callback.update_locals(told)
        if not callback.on_step():
            return None
    buffer.compute_returns_and_advantage(torch.zeros(env.num_envs), rollout.starts)
    _replay(learners, np.stack(rollout.methods), np.stack(rollout.values))
    decisions = buffer.buffer_size * env.num_envs
    return Summary(rollout.reward * env.layers / decisions, decisions, tuple(rollout.outcomes))


class _Rollout:
    """A rollout as far as it was played, stored for PPO step by step.

    starts bool (B,) tells where episodes begin, reward is summed over everything; methods (B,) and values (B, 3) stand
    per step.
    """

    def __init__(self, env: CompressionVecEnv, learners: Learners, hyper: Hyperparameters) -> None:
        self.env, self.learners, self.hyper = env, learners, hyper
        self.noise = None if hyper.freeze_ddpg else Noise(hyper.explored, hyper.density_noise, hyper.bits_noise)
        self.observations, self.starts = env.reset(), np.ones(env.num_envs, dtype=np.bool_)
        self.gains, self.reward = env.gains(), 0.0
        self.outcomes: list[Outcome] = []
        self.methods: list[NDArray[np.int64]] = []
        self.values: list[FloatArray] = []

    def step(self) -> dict[str, Any]:
        """Takes one step in every env and returns what callbacks are told of it."""
        masks = self.env.action_masks()
        decision = self.learners.decide(self.observations, masks, deterministic=self.hyper.freeze_ppo, noise=self.noise)
        following, rewards, ended, infos = self.env.act(decision.methods, decision.values)
        self.learners.ppo.rollout_buffer.add(
            self.observations,
            decision.drawn,
            scaled(rewards, self.gains, self.hyper),
            self.starts,
            decision.state_values,
            decision.log_probabilities,
            action_masks=self.learners.masks(masks),
        )
        self.methods.append(decision.methods)
        self.values.append(decision.values)
        if ended.any() and self.env.outcome is not None:
            self.outcomes.append(self.env.outcome)
            self.gains = self.env.gains()
        self.observations, self.starts = following, ended
        self.reward += float(rewards.sum())
        return {"rewards": rewards, "dones": ended, "infos": infos}


def scaled(rewards: FloatArray, gains: NDArray[np.float64], hyper: Hyperparameters) -> FloatArray:
    """Returns rewards in shares of what the hints earn at each env's rate, clipped below against hopeless choices.

    An episode that follows the hints sums to about `reward_scale`, whatever its rate.
    """
    share = rewards * (hyper.reward_scale / gains)
    return np.maximum(share, -hyper.reward_clip).astype(np.float32)


def _replay(learners: Learners, methods: NDArray[np.int64], values: FloatArray) -> None:
    """Copies a complete rollout from PPO's buffer into DDPG's, with methods (T, B) as part of the observations."""
    source, target = learners.ppo.rollout_buffer, learners.ddpg.replay_buffer
    if target is None:
        raise RuntimeError("the model was not set up")
    codes = np.eye(learners.layout.methods, dtype=np.float32)[methods]
    conditioned = np.concatenate([source.observations, codes], axis=2)
    ends = np.concatenate([source.episode_starts[1:], np.ones((1, source.n_envs), dtype=np.float32)])
    following = np.concatenate([conditioned[1:], conditioned[:1]])
    for step in range(source.buffer_size):
        target.add(conditioned[step], following[step], 2 * values[step] - 1, source.rewards[step], ends[step], [])
