"""One rollout for both learners: whole lockstep episodes, stored for PPO and, once complete, for DDPG."""

from __future__ import annotations

from dataclasses import dataclass

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
    ends: list[Outcome] = []
    buffer = learners.ppo.rollout_buffer
    buffer.reset()
    noise = None if hyper.freeze_ddpg else Noise(hyper.explored, hyper.density_noise, hyper.bits_noise)
    values = np.empty((buffer.buffer_size, env.num_envs, 3), dtype=np.float32)
    methods = np.empty((buffer.buffer_size, env.num_envs), dtype=np.int64)
    observations, starts, total = env.reset(), np.ones(env.num_envs, dtype=np.bool_), 0.0
    gains = env.gains()
    for step in range(buffer.buffer_size):
        masks = env.action_masks()
        decision = learners.decide(observations, masks, deterministic=hyper.freeze_ppo, noise=noise)
        following, rewards, ended, infos = env.act(decision.methods, decision.values)
        callback.model.num_timesteps += env.num_envs
        callback.update_locals({"rewards": rewards, "dones": ended, "infos": infos})
        if not callback.on_step():
            return None
        buffer.add(
            observations,
            decision.drawn,
            scaled(rewards, gains, hyper),
            starts,
            decision.state_values,
            decision.log_probabilities,
            action_masks=learners.masks(masks),
        )
        values[step], methods[step] = decision.values, decision.methods
        if ended.any() and env.outcome is not None:
            ends.append(env.outcome)
            gains = env.gains()
        observations, starts, total = following, ended, total + float(rewards.sum())
    buffer.compute_returns_and_advantage(torch.zeros(env.num_envs), starts)
    _replay(learners, methods, values)
    decisions = buffer.buffer_size * env.num_envs
    return Summary(total * env.layers / decisions, decisions, tuple(ends))


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
