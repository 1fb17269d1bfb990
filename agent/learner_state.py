"""The state of both learners as arrays, which `agent_file` writes: networks, optimisers and replayed transitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from agent.agent_file import OF_REPLAY, REPLAYED
from agent.learners import Learners


def tensors_of(learners: Learners) -> dict[str, NDArray[Any]]:
    """Returns copies of all network parameters and optimiser states by name."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, network in _networks(learners).items():
        tensors |= {f"{name}/{key}": value.numpy().copy() for key, value in network.state_dict().items()}
    for name, optimizer in _optimizers(learners).items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{key}": value.numpy().copy() for key, value in state.items()}
    return tensors


def restore_tensors(learners: Learners, tensors: dict[str, NDArray[Any]]) -> None:
    """Puts back what `tensors_of` returned.

    Raises:
        RuntimeError: names or shapes that do not fit the networks.
    """
    restore_networks(learners, tensors)
    for name, optimizer in _optimizers(learners).items():
        states: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in _under(tensors, f"{name}/").items():
            index, _, field = key.partition("/")
            states.setdefault(int(index), {})[field] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})


def restore_networks(learners: Learners, tensors: dict[str, NDArray[Any]]) -> None:
    """Puts back the parameters of the networks alone, for learners that only act.

    Raises:
        RuntimeError: names or shapes that do not fit the networks.
    """
    for name, network in _networks(learners).items():
        network.load_state_dict(_under(tensors, f"{name}/"))


def replay_of(learners: Learners) -> dict[str, NDArray[Any]]:
    """Returns the replayed transitions stored so far, and where the next goes."""
    buffer = learners.ddpg.replay_buffer
    if buffer is None:
        return {}
    used = buffer.buffer_size if buffer.full else min(buffer.pos + 1, buffer.buffer_size)
    arrays = {f"{OF_REPLAY}{name}": getattr(buffer, name)[:used] for name in REPLAYED}
    return {**arrays, f"{OF_REPLAY}position": np.array([buffer.pos, buffer.full], dtype=np.int64)}


def restore_replay(learners: Learners, arrays: dict[str, NDArray[Any]]) -> None:
    """Puts back what `replay_of` returned, unless the buffer has another shape (another number of envs)."""
    buffer = learners.ddpg.replay_buffer
    if buffer is None or arrays[f"{OF_REPLAY}rewards"].shape[1:] != buffer.rewards.shape[1:]:
        return
    for name in REPLAYED:
        stored = arrays[f"{OF_REPLAY}{name}"]
        getattr(buffer, name)[: len(stored)] = stored
    position, full = arrays[f"{OF_REPLAY}position"]
    buffer.pos, buffer.full = int(position), bool(full)


def _networks(learners: Learners) -> dict[str, nn.Module]:
    return {"ppo": learners.ppo.policy, "ddpg": learners.ddpg.policy}


def _optimizers(learners: Learners) -> dict[str, torch.optim.Optimizer]:
    return {
        "ppo.optimizer": learners.ppo.policy.optimizer,
        "ddpg.actor.optimizer": learners.ddpg.actor.optimizer,
        "ddpg.critic.optimizer": learners.ddpg.critic.optimizer,
    }


def _under(tensors: dict[str, NDArray[Any]], prefix: str) -> dict[str, torch.Tensor]:
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return {name: torch.from_numpy(np.array(value)) for name, value in own.items()}
