"""What an agent must know of the env that it was made for, so that it can be rebuilt without one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from agent.hints import HintLayout
from plan.errors import MismatchError

if TYPE_CHECKING:
    from agent.sb3_vec import CompressionVecEnv


@dataclass(frozen=True)
class Interface:
    """Shapes of observations, actions and episodes: B envs in lockstep, L layers."""

    layout: HintLayout
    num_envs: int
    layers: int

    @classmethod
    def of(cls, env: CompressionVecEnv) -> Interface:
        """Returns the interface of an env."""
        return cls(HintLayout.of(env.core.observer), env.num_envs, env.layers)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Interface:
        """Returns the interface that `to_json` wrote."""
        return cls(HintLayout(**content["layout"]), content["num_envs"], content["layers"])

    @property
    def observation_space(self) -> spaces.Box:
        """Observations of the env, (F,)."""
        return self._box(self.layout.features)

    @property
    def conditioned_space(self) -> spaces.Box:
        """Observations with a method's one-hot code behind them, (F + M,)."""
        return self._box(self.layout.features + self.layout.methods)

    @property
    def method_space(self) -> spaces.Discrete:
        """The discrete part of an action."""
        return spaces.Discrete(self.layout.methods)

    @property
    def values_space(self) -> spaces.Box:
        """The continuous part of an action."""
        return spaces.Box(0.0, 1.0, (3,), dtype=np.float32)

    @property
    def action_space(self) -> spaces.Dict:
        """An action of the env."""
        return spaces.Dict({"method": self.method_space, "values": self.values_space})

    def _box(self, size: int) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (size,), dtype=np.float32)

    def check_same_shapes(self, other: Interface) -> None:
        """Checks that an agent made for this interface can act in another env.

        Raises:
            MismatchError: the observations are laid out differently, as on hardware with other methods.
        """
        if self.layout != other.layout:
            raise MismatchError(
                f"this agent chooses among {self.layout.methods} methods, the problem has {other.layout.methods}; "
                "use the hardware that the agent was trained for"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns the interface as JSON values."""
        return asdict(self)
