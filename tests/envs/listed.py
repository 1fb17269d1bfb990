"""Every legal choice of a layer, listed the slow way."""

import numpy as np

from envs.problem import Problem
from envs.table import Alternatives
from plan.space import ACTIVATION_BITS


def every_alternative(problem: Problem, layer: int) -> Alternatives:
    """Returns all of them, rankings that another beats included; inherited activation bits stand at the start's."""
    space = problem.space
    bits = space.activation_bits_legal[layer].copy()
    if space.deciders.reader[layer] != layer:
        bits[:] = np.arange(len(bits)) == space.start[layer, ACTIVATION_BITS]
    pairs = space.weight_bits_legal[layer][:, None] & bits
    choices = np.argwhere(space.legal[layer][..., None, None] & pairs).astype(np.int16)
    return Alternatives(choices, problem.table.differences(layer, choices))
