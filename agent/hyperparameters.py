"""What the composite agent's learning depends on besides its problem and its seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Hyperparameters:
    """Settings of both learners.

    Attributes:
        hidden: width of the two hidden layers of every network.
        rollout_decisions: layer decisions between two updates, rounded to whole episodes of all envs.
        reward_scale: rewards are multiplied by scale x layers, then clipped to +-`reward_clip`.
        gamma, gae_lambda: of PPO. Episodes have a fixed length, rewards are dense.
        epochs, minibatch, learning_rate, entropy, clip_range, target_kl: of PPO.
        values_gamma, values_learning_rate (the critic's), actor_learning_rate, tau, batch, replay_decisions: of DDPG.
        decisions_per_update: layer decisions collected for one gradient step of DDPG.
        actor_starts: gradient steps that DDPG's critic takes before its actor moves.
        anchor: pull of DDPG's actor towards the hinted values, unless the start is cold.
        explored: share of the decisions whose values are explored; the others follow the actor, so that one explored
            layer can be told from another.
        density_noise, bits_noise: standard deviations of that exploration, in units of [-1, 1]. A bin of the bits is
            wider than one of the densities.
        warm_start: begin at the hints of the additive table.
        sharpness: how strongly the first method policy follows the hints.
        masked: PPO draws legal methods alone; without, an illegal draw is carried out as dense.
        freeze_ppo, freeze_ddpg: hold that learner at its first policy.
    """

    hidden: int = 64
    rollout_decisions: int = 6912
    reward_scale: float = 20.0
    reward_clip: float = 5.0
    gamma: float = 1.0
    gae_lambda: float = 0.9
    epochs: int = 4
    minibatch: int = 1024
    learning_rate: float = 3e-4
    entropy: float = 0.0
    clip_range: float = 0.2
    target_kl: float = 0.03
    values_gamma: float = 0.0
    values_learning_rate: float = 1e-3
    actor_learning_rate: float = 1e-4
    tau: float = 0.02
    batch: int = 256
    replay_decisions: int = 32768
    decisions_per_update: int = 128
    actor_starts: int = 400
    anchor: float = 3.0
    explored: float = 0.3
    density_noise: float = 0.12
    bits_noise: float = 0.25
    warm_start: bool = True
    sharpness: float = 10.0
    masked: bool = True
    freeze_ppo: bool = False
    freeze_ddpg: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as JSON values."""
        return asdict(self)
