"""A trained agent that only acts, loaded without what training needs: its networks, and the best plans it met."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.agent_file import read_agent_file, restore_networks
from agent.hyperparameters import Hyperparameters
from agent.interface import Interface
from agent.learners import Learners, make_learners
from agent.random_stream import RandomStream
from plan.errors import FileFormatError
from plan.space import Choices


@dataclass(frozen=True, eq=False)
class Actor:
    """Learners without optimisers, the shapes they were made for, and the plans of `Elite`, int16 (n, L, 4)."""

    learners: Learners
    interface: Interface
    elite: Choices


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
        with RandomStream(0):
            learners = make_learners(interface, hyper, trains=False)
        restore_networks(learners, content.tensors)
        elite = np.asarray(content.arrays["elite_choices"], dtype=np.int16)
    except (KeyError, TypeError, RuntimeError) as error:
        raise FileFormatError(str(path), [f"not a whole agent: {error}"]) from error
    return Actor(learners, interface, elite)
