"""A trained agent that only acts, without torch: its networks as arrays, and the best plans it met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.agent_file import read_agent_file
from agent.decide import Decider
from agent.hints import EDGE, HintLayout
from agent.hyperparameters import Hyperparameters
from agent.interface import Interface
from plan.errors import FileFormatError
from plan.space import Choices

FloatArray = NDArray[np.float32]
METHOD_LAYERS = ("ppo/mlp_extractor.policy_net.0", "ppo/mlp_extractor.policy_net.2", "ppo/action_net")
VALUES_LAYERS = ("ddpg/actor.mu.0", "ddpg/actor.mu.2", "ddpg/actor.mu.4")


@dataclass(frozen=True, eq=False)
class Actor:
    """What decides, the shapes it was made for, and the plans of `Elite`, int16 (n, L, 4)."""

    decider: Decider
    interface: Interface
    elite: Choices


@dataclass(frozen=True, eq=False)
class Picked:
    """Methods int64 (B,) and values float32 (B, 3) in [0, 1]."""

    methods: NDArray[np.int64]
    values: FloatArray


@dataclass(frozen=True)
class Dense:
    """A layer of a network: weight (out, in), bias (out,)."""

    weight: FloatArray
    bias: FloatArray

    def __call__(self, inputs: FloatArray) -> FloatArray:
        """Returns outputs (B, out) for inputs (B, in)."""
        return inputs @ self.weight.T + self.bias


@dataclass(frozen=True, eq=False)
class ActingNetworks:
    """The networks of `MethodPolicy` and `ValuesActor` as arrays; equal to `Learners.decide` but for float rounding.

    method, values: three layers each; masked, warm: as the agent was trained
    """

    layout: HintLayout
    method: Sequence[Dense]
    values: Sequence[Dense]
    masked: bool
    warm: bool

    def decide(self, observations: FloatArray, masks: NDArray[np.bool_], *, deterministic: bool) -> Picked:
        """Returns the most likely method and its values for every observation (B, F) under masks (B, M).

        Raises:
            ValueError: drawn methods are asked for, which only an agent that trains gives.
        """
        if not deterministic:
            raise ValueError("an agent that only acts draws no methods")
        first, second, head = self.method
        hidden = np.tanh(second(np.tanh(first(observations))))
        logits = head(np.concatenate((hidden, self.layout.scores_of(observations)), axis=1))
        likely = np.where(masks, logits, -np.inf).argmax(1) if self.masked else logits.argmax(1)
        methods = np.where(masks[np.arange(len(likely)), likely], likely, 0)
        values = np.asarray((self._actions(observations, methods) + 1) / 2, dtype=np.float32)
        return Picked(methods, values)

    def _actions(self, observations: FloatArray, methods: NDArray[np.int64]) -> FloatArray:
        codes = np.eye(self.layout.methods, dtype=np.float32)[methods]
        first, second, last = self.values
        conditioned = np.concatenate((observations, codes), axis=1)
        offset = last(np.tanh(second(np.tanh(first(conditioned)))))
        if not self.warm:
            return np.tanh(offset)
        hinted = self.layout.actions_of(conditioned)
        actions: FloatArray = np.tanh(np.arctanh(hinted.clip(-EDGE, EDGE)) + offset)
        return actions


def load_actor(path: Path) -> Actor:
    """Returns the agent of a file that `CompositeAgent.save` wrote, ready to decide.

    Raises:
        MissingFileError: no such file.
        FileFormatError: not a file that `save` wrote.
    """
    content = read_agent_file(path, replay=False)
    try:
        interface = Interface.from_json(content.header["interface"])
        hyper = Hyperparameters(**content.header["hyperparameters"])
        layout = interface.layout
        method = _layers(content.tensors, METHOD_LAYERS, layout.features, layout.methods, aside=layout.methods)
        values = _layers(content.tensors, VALUES_LAYERS, layout.features + layout.methods, 3)
        elite = np.asarray(content.arrays["elite_choices"], dtype=np.int16)
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(str(path), [f"not a whole agent: {error}"]) from error
    return Actor(ActingNetworks(layout, method, values, hyper.masked, hyper.warm_start), interface, elite)


def _layers(
    tensors: Mapping[str, NDArray[np.generic]], names: Sequence[str], inputs: int, outputs: int, aside: int = 0
) -> tuple[Dense, ...]:
    """Returns the layers of a network; `aside` inputs reach the last one past the others.

    Raises:
        KeyError: a layer is missing.
        ValueError: shapes that do not fit.
    """
    found = tuple(
        Dense(np.asarray(tensors[f"{name}.weight"], np.float32), np.asarray(tensors[f"{name}.bias"], np.float32))
        for name in names
    )
    first, second, last = (layer.weight.shape for layer in found)
    expected = [(first[0], inputs), (second[0], first[0]), (outputs, second[0] + aside)]
    if [first, second, last] != expected or any(len(layer.bias) != len(layer.weight) for layer in found):
        raise ValueError(f"layers {', '.join(names)} have weights {first}, {second}, {last}, {expected} are needed")
    return found
